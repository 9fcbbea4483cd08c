"""Encoders that medcbir does not bring along: described by a user in a file NAME.toml, or offered by a package.

A file is data and nothing else. It names an architecture of timm or open_clip, a checkpoint, and what goes in and comes
out; or a folder in which open_clip's own configuration says all that. See docs/encoders.md.
"""

import inspect
import re
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from medcbir.encoders import key_maps
from medcbir.encoders.open_clip_folder import read_folder
from medcbir.encoders.spec import (
    Checkpoint,
    Domain,
    EncoderSpec,
    Interpolation,
    Library,
    Output,
    Pixels,
    Projection,
    Resize,
)
from medcbir.errors import EncoderError

GROUP = "medcbir.encoders"
"""The group of entry points: each is called like its encoder and gives an `EncoderSpec`."""

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,49}")
_FOLDER = "local-dir:"
_KEY_MAPS = {
    name: each
    for name, each in inspect.getmembers(key_maps, inspect.isfunction)
    if each.__module__ == key_maps.__name__ and not name.startswith("_") and not name.endswith(("_text", "_bert"))
}
_NOT_OPTIONS = ("pretrained", "checkpoint_path", "cache_dir", "num_classes")
"""Arguments of timm and open_clip (or what theirs begin with) that fetch or open files, or contradict the output."""

Positive = Annotated[float, Field(gt=0)]
Table = TypeVar("Table", bound="_Table")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Pixels(_Table):
    size: int = Field(gt=0, le=4096)
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    interpolation: Interpolation = "bicubic"
    crop: float = Field(default=1.0, gt=0, le=1)
    resize: Resize = "shortest"


class _Projection(_Table):
    inputs: int = Field(gt=0)
    outputs: int = Field(gt=0)
    bias: bool = False


class _About(_Table):
    """What may be said of any encoder, and all that is said of one in an open_clip folder."""

    architecture: str
    title: str | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    domain: Domain = "medical"
    trained_on: tuple[str, ...] = ()
    seen: tuple[str, ...] | None = None
    licence: str = "not stated"
    note: str = ""


class _Model(_About):
    architecture: str = Field(pattern=r"^[\w.-]+$")
    library: Library = "timm"
    dim: int = Field(gt=0, le=16_000)
    checkpoint: str
    keys: str = "same_names"
    pixels: _Pixels
    output: Output | _Projection
    options: dict[str, Any] = {}

    @field_validator("keys")
    @classmethod
    def _known(cls, keys: str) -> str:
        if keys not in _KEY_MAPS:
            raise ValueError(f"must be one of {', '.join(_KEY_MAPS)}")
        return keys

    @field_validator("options")
    @classmethod
    def _harmless(cls, options: dict[str, Any]) -> dict[str, Any]:
        if refused := [name for name in options if name.removeprefix("timm_model_").startswith(_NOT_OPTIONS)]:
            raise ValueError(f"{refused[0]} is not allowed here: weights come from `checkpoint` alone")
        return options

    @model_validator(mode="after")
    def _consistent(self) -> "_Model":
        if isinstance(self.output, _Projection) and self.output.outputs != self.dim:
            raise ValueError(f"output.outputs is {self.output.outputs} and dim {self.dim}: they must be the same")
        if self.library == "open_clip" and self.output != "projected":
            raise ValueError('output must be "projected" where library is "open_clip"')
        return self


def read_own(file: Path) -> EncoderSpec:
    """The encoder that NAME.toml describes; `EncoderError` names the file, the key and what is allowed there."""
    if not _NAME.fullmatch(file.stem):
        raise EncoderError(
            f"{file}: the file's name becomes the encoder's, so it must be a lower-case letter and up to 49 more "
            "lower-case letters, digits, '_', '.' or '-', and then .toml"
        )
    try:
        described = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EncoderError(f"cannot read the encoder {file}: {error}") from None
    architecture = described.get("architecture")
    if isinstance(architecture, str) and architecture.startswith(_FOLDER):
        about = _checked(_About, described, file)
        folder = (file.parent / Path(architecture.removeprefix(_FOLDER)).expanduser()).resolve()
        return read_folder(folder, sha256=about.sha256, **_told(about, file))
    model = _checked(_Model, described, file)
    return EncoderSpec(
        architecture=model.architecture,
        library=model.library,
        dim=model.dim,
        checkpoint=Checkpoint(
            str(Path(model.checkpoint).expanduser()),
            source=f"where its makers offer it, or name another file in {file}",
            keys=_KEY_MAPS[model.keys],
            sha256=model.sha256,
        ),
        pixels=Pixels(**model.pixels.model_dump()),
        output=model.output if isinstance(model.output, str) else Projection(**model.output.model_dump()),
        options=model.options,
        **_told(model, file),
    )


def _checked(table: type[Table], described: dict[str, Any], file: Path) -> Table:
    try:
        return table.model_validate(described)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        if isinstance(described.get("output"), dict):  # then its names are no alternatives
            faults = [fault for fault in faults if not any(str(part).startswith("literal[") for part in fault["loc"])]
        first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
        # pydantic names the alternatives of `output` as well, which are no key of the file
        key = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("literal[", "_")))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            allowed = _Pixels if first["loc"][0] == "pixels" and len(first["loc"]) > 1 else table
            message = f"no such key; there are {', '.join(allowed.model_fields)}"
        raise EncoderError(f"{file}: {f'{key}: ' if key else ''}{message[:1].lower()}{message[1:]}") from None


def _told(about: _About, file: Path) -> dict[str, Any]:
    return {
        "name": file.stem,
        "title": about.title or file.stem,
        "origin": str(file),
        **about.model_dump(include={"domain", "trained_on", "seen", "licence", "note"}),
    }


def offered() -> dict[str, EntryPoint]:
    """The encoders that installed packages offer, by name, none of them imported yet."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load_offered(point: EntryPoint) -> EncoderSpec:
    """The spec that a package offers; `EncoderError` where it cannot be imported or is none of that name."""
    package = f"entry point {point.name} of package {point.dist.name if point.dist else '?'}"
    try:
        spec = point.load()
    except Exception as error:  # whatever foreign code raises
        raise EncoderError(f"{package} cannot be imported: {type(error).__name__}: {error}") from None
    if not isinstance(spec, EncoderSpec) or spec.name != point.name or not _NAME.fullmatch(spec.name):
        raise EncoderError(f"{package} must give an EncoderSpec of the name {point.name}, not {spec!r:.80}")
    return spec
