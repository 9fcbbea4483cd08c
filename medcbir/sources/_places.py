"""What the place of a file says about its image: folders named as labels, or a template that the user gives."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from medcbir.errors import InputError
from medcbir.labels import canonical_modality, canonical_split, label, written_region
from medcbir.types import Label, Split

_RADIOLOGY = {"XR", "CT", "MR", "US", "MG", "PT", "NM", "XA", "RF"}  # /opt/images holds no tomographies
_FIELDS = ("split", "dataset", "patient", "study", "modality", "region", "finding")


@dataclass(frozen=True, slots=True)
class Place:
    """What a path tells; None is not told."""

    split: Split | None = None
    dataset: str | None = None
    patient: str | None = None
    study: str | None = None
    modality: str | None = None
    region: str | None = None
    labels: tuple[Label, ...] = ()


Reader = Callable[[tuple[str, ...]], Place]
"""From a path's components below the root, the file name last, to what they tell."""


def by_folder_names(above: tuple[str, ...]) -> Reader:
    """Read `[split/...]modality/region[/finding]` from the folders' names.

    The first folder below the root that is named as a modality counts. Without one, the root's own path, `above`, may
    end with modality, region and finding. A split stands anywhere between root and modality, or directly above these.
    The file's name is never part of a label.
    """
    starts = [at for at in range(max(0, len(above) - 3), len(above)) if canonical_modality(above[at]) in _RADIOLOGY]

    @lru_cache(maxsize=1024)  # neighbours share their folders
    def read(folders: tuple[str, ...]) -> Place:
        below = next((at for at, name in enumerate(folders) if canonical_modality(name)), None)
        if below is not None:
            before, named = above[-1:] + folders[:below], folders[below:]
        elif starts:
            before, named = above[: starts[-1]][-1:], above[starts[-1] :] + folders
        else:
            before, named = above[-1:] + folders, ()
        splits = [name for name in before if canonical_split(name)]
        return _place({"split": "".join(splits[-1:])} | dict(zip(_FIELDS[4:], named, strict=False)))

    return lambda components: read(components[:-1])


def by_template(template: str) -> Reader:
    """Read fields from a template such as `{split}/{modality}/{region}/{finding}/{patient}_*`.

    It is matched from the root on, component by component; `*` is any text within one, and what follows the last is
    free. A path that does not match tells nothing. Raises `InputError` for a template that makes no sense.
    """
    pattern = re.compile(_pattern(template) + r"(?:/.*)?", re.DOTALL)

    def read(components: tuple[str, ...]) -> Place:
        match = pattern.fullmatch("/".join(components))
        fields = match.groupdict() if match else {}
        if "split" in fields and canonical_split(fields["split"]) is None:
            return Place()
        return _place(fields)

    return read


def _pattern(template: str) -> str:
    if not template.strip("/ "):
        raise InputError("--label-from: the template is empty")
    pattern = ""
    seen = set()
    for literal, star, field in re.findall(r"([^{}*]+)|(\*)|(\{[^{}]*\}|[{}])", template.strip("/")):
        if field:
            name = field[1:-1]
            if not (field[0] == "{" and field[-1] == "}"):
                raise InputError(f"--label-from: a brace without its partner in {template!r}")
            if name not in _FIELDS:
                raise InputError(f"--label-from: unknown field {{{name}}}; fields are {', '.join(_FIELDS)}")
            if name in seen:
                raise InputError(f"--label-from: field {{{name}}} stands twice")
            seen.add(name)
            pattern += f"(?P<{name}>[^/]+?)"
        else:
            pattern += "[^/]*" if star else re.escape(literal)
    return pattern


def _place(fields: dict[str, str]) -> Place:
    modality, region = fields.get("modality"), fields.get("region")
    named = label(modality, region, fields.get("finding")) if modality and region else None
    return Place(
        split=canonical_split(fields.get("split", "")),
        dataset=fields.get("dataset"),
        patient=fields.get("patient"),
        study=fields.get("study"),
        modality=modality and (canonical_modality(modality) or modality),
        region=region and written_region(region),
        labels=(named,) if named else (),
    )
