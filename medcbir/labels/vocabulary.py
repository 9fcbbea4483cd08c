"""Reading and applying `vocabulary.toml`."""

import re
import tomllib
from functools import cache, lru_cache
from importlib.resources import files
from typing import cast

from medcbir.errors import InputError
from medcbir.types import Label, Split

_IGNORED = re.compile(r"[\s_]+")
_IGNORED_IN_TERMS = re.compile(r"[\s_-]+")
_BLANKS = re.compile(r"\s+")


def label_key(name: str) -> str:
    """What two spellings of one label share: no case, no spaces, no underscores."""
    return _IGNORED.sub("", name).casefold()


@lru_cache(maxsize=4096)
def canonical_modality(word: str) -> str | None:
    """The stored name of a modality, say XR for 'DX' or 'X-ray'; None where it is unknown."""
    return _spellings()["modalities"].get(_term(word))


@lru_cache(maxsize=4096)
def coded_modality(code: str) -> str | None:
    """As `canonical_modality`, of a term in a DICOM header, where short and retired ones have a meaning too."""
    return _spellings()["modality_codes"].get(_term(code)) or canonical_modality(code)


@lru_cache(maxsize=4096)
def coded_view(code: str) -> str | None:
    """The view that a SNOMED code means, as DICOM's View Position writes it; None where it is unknown."""
    return _spellings()["views"].get(_term(code))


@lru_cache(maxsize=4096)
def canonical_region(word: str) -> str | None:
    """The stored name of a region, say chest for 'THORAX'; None where it is unknown."""
    return _spellings()["regions"].get(_term(word))


@lru_cache(maxsize=4096)
def written_region(word: str) -> str:
    """A region as a person wrote it, in the vocabulary's spelling if only case or spacing differ.

    Unlike `canonical_region` it merges no two words: whoever sorted images into patella and knee meant two classes.
    """
    tidy = _tidy(word)
    known = canonical_region(tidy)
    return known if known is not None and label_key(known) == label_key(tidy) else tidy


@lru_cache(maxsize=4096)
def canonical_split(word: str) -> Split | None:
    """train, val or test for 'training', 'validate' and their like; None where it is none of them."""
    return cast("Split | None", _spellings()["splits"].get(_term(word)))


@lru_cache(maxsize=65536)
def label(modality: str, region: str, finding: str | None = None) -> Label:
    """The label of an image; without a finding, or with one that means normal, it tells anatomy alone.

    The modality becomes canonical where it is known; region and finding keep their words, with single spaces.
    Raises `InputError` where modality or region is empty.
    """
    modality, region, finding = _tidy(modality), _tidy(region), _tidy(finding or "")
    if not modality or not region:
        raise InputError("a label needs a modality and a region: MODALITY/region or MODALITY/region/finding")
    normal = not finding or _term(finding) in _spellings()["findings"]
    return Label(
        canonical_modality(modality) or modality,
        written_region(region),
        finding or None,
        "anatomy" if normal else "pathology",
    )


def parse_label(name: str) -> Label:
    """The label written as `CT/chest/nodule` or `US/kidney`; a finding may itself hold slashes.

    Raises `InputError` for anything else.
    """
    parts = name.split("/", 2)
    if len(parts) < 2:
        raise InputError(f"not a label: {name!r}; write MODALITY/region or MODALITY/region/finding")
    return label(*parts)


def _tidy(words: str) -> str:
    return _BLANKS.sub(" ", words).strip()


def _term(word: str) -> str:
    return _IGNORED_IN_TERMS.sub("", word).casefold()


@cache
def _spellings() -> dict[str, dict[str, str]]:
    """Per table of the vocabulary, every spelling's name."""
    text = files(__package__).joinpath("vocabulary.toml").read_text(encoding="utf-8")
    return {
        table: {_term(spelling): name for name, others in names.items() for spelling in (name, *others)}
        for table, names in tomllib.loads(text).items()
    }
