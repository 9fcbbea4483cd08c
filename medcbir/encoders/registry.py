"""Which encoders there are, by name: those that medcbir brings along, a user's own, and those of installed packages."""

import difflib
from pathlib import Path

from medcbir.encoders.spec import EncoderSpec, TextTower
from medcbir.encoders.specs import SPECS
from medcbir.errors import EncoderError


def all_specs(folder: Path | None = None) -> dict[str, EncoderSpec]:
    """Every encoder by name: medcbir's, then those of `folder` (a user's files NAME.toml) and of packages.

    Raises `EncoderError` for a file or package that describes none, or one whose name is taken.
    """
    return {name: get_spec(name, folder) for name in _names(folder)}


def get_spec(name: str, folder: Path | None = None) -> EncoderSpec:
    """The encoder called `name`; `EncoderError` with the nearest names, or all of them, where there is none."""
    found = find_spec(name, folder)
    if found is not None:
        return found
    names = _names(folder)
    near = difflib.get_close_matches(name, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(names))}"
    raise EncoderError(f"unknown encoder {name!r}: {hint}")


def find_spec(name: str, folder: Path | None = None) -> EncoderSpec | None:
    """The encoder called `name`, None where there is none. Of the others nothing is read."""
    from medcbir.encoders import own

    file = None if folder is None or "/" in name else folder / f"{name}.toml"
    described = file is not None and file.is_file()
    if name in SPECS:
        if described:
            raise EncoderError(f"{file}: {name} is an encoder of medcbir's own: give the file another name")
        return SPECS[name]
    if described and file is not None:
        return own.read_own(file)
    point = own.offered().get(name)
    return None if point is None else own.load_offered(point)


def _names(folder: Path | None) -> list[str]:
    from medcbir.encoders import own

    files = [] if folder is None else sorted(file.stem for file in folder.glob("*.toml"))
    return list(dict.fromkeys([*SPECS, *files, *sorted(own.offered())]))


def text_tower(spec: EncoderSpec) -> TextTower:
    """The text tower of `spec`; `EncoderError` with the encoders that have one, where it has none."""
    if spec.text is None:
        able = ", ".join(name for name, each in SPECS.items() if each.text is not None)
        raise EncoderError(f"{spec.title} has no text tower, so it cannot be asked in words; encoders that can: {able}")
    return spec.text
