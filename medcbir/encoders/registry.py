"""Which encoders there are, by name: those that medcbir brings along, a user's own, and those of installed packages."""

import difflib
from dataclasses import replace
from pathlib import Path

from medcbir.encoders.spec import BFLOAT16_SUFFIX, EncoderSpec, Precision, TextTower
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
    if (point := own.offered().get(name)) is not None:
        return own.load_offered(point)
    exact = find_spec(name.removesuffix(BFLOAT16_SUFFIX), folder) if name.endswith(BFLOAT16_SUFFIX) else None
    return None if exact is None else of_precision(exact, "bfloat16")


def of_precision(spec: EncoderSpec, precision: Precision) -> EncoderSpec:
    """The encoder that differs from `spec` in its precision alone, and so in its name: `NAME` or `NAME_bf16`."""
    suffix = BFLOAT16_SUFFIX if precision == "bfloat16" else ""
    return replace(spec, name=spec.unsuffixed + suffix, precision=precision)


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
