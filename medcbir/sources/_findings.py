"""From the findings that a publisher names to an image's labels, or to the reason why it has none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from medcbir.labels import publisher_labels
from medcbir.sources._table import RowError
from medcbir.types import Label

_MARKS = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1, "": 0}


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of an image: its `labels`, and the `attributes` that say what else its publisher wrote.

    Attributes are `unknown` (names that the table of labels lacks), `uncertain` (findings that may or may not be
    there) and `findings` (what was found, of an image whose labels are withheld).
    """

    labels: tuple[Label, ...] = ()
    attributes: Mapping[str, list[str]] = field(default_factory=dict)


@lru_cache(maxsize=65536)  # a dataset repeats few combinations
def read_findings(
    dataset: str, positive: tuple[str, ...], uncertain: tuple[str, ...] = (), *, uncertain_excludes: bool = False
) -> Findings:
    """The labels behind a publisher's names of what is there (`positive`) and of what may be (`uncertain`)."""
    known = publisher_labels(dataset)
    return settle(
        [label for name in positive if (label := known.get(name)) is not None],
        [name for name in positive if name not in known],
        [name for name in uncertain if name not in known or known[name] is not None],
        uncertain_excludes=uncertain_excludes,
    )


def settle(
    labels: list[Label], unknown: list[str], uncertain: Sequence[str] = (), *, uncertain_excludes: bool = False
) -> Findings:
    """The findings of an image, each once.

    It has no label where one of its names is unknown, since the others could then pass for its only finding; with
    `uncertain_excludes` also where something uncertain stands beside a single finding.
    """
    labels = list(dict.fromkeys(labels))
    withheld = bool(unknown) or (uncertain_excludes and bool(uncertain) and len(labels) == 1)
    told = {
        "unknown": list(dict.fromkeys(unknown)),
        "uncertain": list(uncertain),
        "findings": [label.name for label in labels] if withheld else [],
    }
    return Findings(() if withheld else tuple(labels), {name: names for name, names in told.items() if names})


def read_marks(dataset: str, names: tuple[str, ...], marks: list[str], *, uncertain_excludes: bool = False) -> Findings:
    """The findings of a row of 1, 0, -1 (uncertain) and empty cells, as CheXpert's labeller writes them."""
    try:
        values = [_MARKS[mark.strip()] for mark in marks]
    except KeyError as wrong:
        position = next(at for at, mark in enumerate(marks) if mark.strip() == wrong.args[0])
        raise RowError(names[position], f"{wrong.args[0][:20]!r} is none of 1, 0, -1 and empty") from None
    positive = tuple(name for name, value in zip(names, values, strict=True) if value > 0)
    uncertain = tuple(name for name, value in zip(names, values, strict=True) if value < 0)
    return read_findings(dataset, positive, uncertain, uncertain_excludes=uncertain_excludes)
