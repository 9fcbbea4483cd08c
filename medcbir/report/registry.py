"""The registry's entry of an encoder that is stored in the database: medcbir's, a user's own, or a package's."""

import re
from contextlib import suppress
from pathlib import Path

from medcbir.encoders import EncoderSpec, find_spec
from medcbir.errors import EncoderError

_RECIPE = re.compile(r"_([0-9a-f]{8})$")
"""Ends the name of an encoder of another recipe: the first digits of that recipe's digest."""


def name_of(stored_name: str) -> str:
    """The name that was asked for when it was encoded."""
    return _RECIPE.sub("", stored_name)


def spec_of(stored_name: str, folder: Path | None = None) -> EncoderSpec | None:
    """The entry of a stored encoder, whose name may carry its recipe's digest; None if there is none.

    `folder` has a user's own. One that has become unreadable is as good as none: what is stored stays what it is.
    """
    for name in dict.fromkeys((stored_name, name_of(stored_name))):
        with suppress(EncoderError):
            if (spec := find_spec(name, folder)) is not None:
                return spec
    return None


def title_of(stored_name: str, spec: EncoderSpec | None) -> str:
    """What readers call a stored encoder of this entry."""
    if spec is None:
        return stored_name
    title = spec.title if spec.precision == "float32" else f"{spec.title} in {spec.precision}"
    recipe = None if stored_name == spec.name else _RECIPE.search(stored_name)
    return title if recipe is None else f"{title} ({recipe[1]})"
