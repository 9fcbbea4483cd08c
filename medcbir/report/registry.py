"""The registry's entry of an encoder that is stored in the database."""

from medcbir.encoders import SPECS, EncoderSpec


def spec_of(stored_name: str) -> EncoderSpec | None:
    """The entry of a stored encoder, whose name may carry its recipe's digest; None if there is none."""
    return next((spec for name, spec in SPECS.items() if stored_name in (name, f"{name}_{stored_name[-8:]}")), None)


def name_of(stored_name: str) -> str:
    """The registry's name of a stored encoder, its own where the registry has none."""
    spec = spec_of(stored_name)
    return stored_name if spec is None else spec.name


def title_of(stored_name: str) -> str:
    """What readers call a stored encoder."""
    spec = spec_of(stored_name)
    if spec is None:
        return stored_name
    return spec.title if stored_name == spec.name else f"{spec.title} ({stored_name[-8:]})"
