"""The registry as data."""

import re
import subprocess
import sys

import pytest

from medcbir.encoders import DEFAULT, SPECS, get_spec
from medcbir.errors import EncoderError


def test_a_typing_mistake_gets_the_nearest_name():
    with pytest.raises(EncoderError, match=r"unknown encoder 'eficientnet_lite': did you mean efficientnet_lite0\?"):
        get_spec("eficientnet_lite")


def test_an_unknown_name_gets_the_whole_list():
    with pytest.raises(EncoderError) as error:
        get_spec("zzz")
    assert all(name in str(error.value) for name in SPECS)


def test_the_default_is_registered():
    assert get_spec(DEFAULT).checkpoint.package is not None


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
def test_every_entry_can_be_an_encoder_row(spec):
    assert re.fullmatch(r"[a-z][a-z0-9_.-]{0,49}", spec.name)
    assert 1 <= spec.dim <= 16_000, "pgvector's vector holds no more dimensions"
    assert 0 < spec.pixels.crop <= 1
    assert spec.licence
    assert spec.trained_on
    assert spec.checkpoint.source
    assert spec.seen is None or set(spec.seen) <= set(spec.trained_on)
    assert re.fullmatch(r"[0-9a-f]{64}", spec.checkpoint.sha256 or "0" * 64)
    hash(spec)


def test_importing_the_room_imports_no_torch():
    code = "import sys, medcbir.encoders as e; e.get_spec(e.DEFAULT); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "medcbir.encoders.specs" in modules
    assert not {"torch", "torchvision", "timm", "open_clip", "psycopg", "sqlalchemy"} & set(modules)


def test_the_room_exports_nothing_else():
    import medcbir.encoders

    with pytest.raises(AttributeError, match="no attribute 'decoder'"):
        _ = medcbir.encoders.decoder
