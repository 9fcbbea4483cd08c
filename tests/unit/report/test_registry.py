"""What a report calls an encoder that is stored: medcbir's, a user's own, one of a package, in any precision."""

import importlib

import pytest

from medcbir.encoders import SPECS
from medcbir.report.registry import spec_of, title_of

OWN = """
architecture = "test_vit"
dim = 64
checkpoint = "mine.safetensors"
output = "class_token"
title = "Mine"
licence = "CC0"
seen = ["mimic"]
pixels = {size = 160, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.toml").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize(
    ("stored", "title"),
    [
        ("vit", SPECS["vit"].title),
        ("vit_0123abcd", f"{SPECS['vit'].title} (0123abcd)"),
        ("vit_class_token", SPECS["vit_class_token"].title),
        ("vit_bf16", f"{SPECS['vit'].title} in bfloat16"),
        ("vit_bf16_0123abcd", f"{SPECS['vit'].title} in bfloat16 (0123abcd)"),
        ("mine", "Mine"),
        ("mine_bf16", "Mine in bfloat16"),
        ("mine_0123abcd", "Mine (0123abcd)"),
        ("theirs", "theirs"),
        ("theirs_0123abcd", "theirs_0123abcd"),
    ],
)
def test_an_encoder_has_the_title_of_its_entry(folder, stored, title):
    assert title_of(stored, spec_of(stored, folder)) == title


def test_a_users_own_has_its_licence_and_what_it_has_seen(folder):
    spec = spec_of("mine_0123abcd", folder)
    assert (spec.licence, spec.seen) == ("CC0", ("mimic",))
    assert spec_of("mine") is None


def test_a_file_that_has_become_unreadable_leaves_the_name(folder):
    (folder / "mine.toml").write_text("architecture = ")
    assert title_of("mine", spec_of("mine", folder)) == "mine"


def test_an_encoder_of_a_package_has_its_title(tmp_path, monkeypatch):
    (tmp_path / "offering.py").write_text(
        "import dataclasses\nfrom medcbir.encoders import SPECS\n"
        "good = dataclasses.replace(SPECS['vit'], name='good', title='Good', origin='offering')\n"
    )
    info = tmp_path / "offering-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[medcbir.encoders]\ngood = offering:good\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert title_of("good", spec_of("good")) == "Good"
