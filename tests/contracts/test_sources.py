"""What every source promises; a new one is tested here by being found."""

import pkgutil
from collections.abc import Iterator

import pytest

import medcbir.sources
from medcbir.errors import InputError
from medcbir.sources import Options, Source, find_source, sources

EVERY = pytest.mark.parametrize("source", sources().values(), ids=lambda source: source.name)


def test_every_module_is_a_source_and_every_name_is_its_own():
    modules = [module.name for module in pkgutil.iter_modules(medcbir.sources.__path__) if module.name[0] != "_"]
    assert len(sources()) == len(modules) >= 4
    assert {"csv", "dicom", "folder", "published"} <= set(sources())


@EVERY
def test_a_source_has_a_name_for_the_command_line_and_a_title(source):
    assert isinstance(source, Source)
    assert source.name == source.name.lower().strip()
    assert source.name != "auto"
    assert source.title
    assert "\n" not in source.title


@EVERY
def test_a_source_looks_at_any_path_without_failing(source, tmp_path):
    (tmp_path / "file").write_bytes(b"\0\xff\n")
    for path in (tmp_path, tmp_path / "file"):
        assert source.recognises(path) in (True, False)


@EVERY
def test_a_source_given_a_strange_file_yields_or_says_why_not(source, tmp_path):
    path = tmp_path / "strange.txt"
    path.write_text("nothing of use\n")
    try:
        stream = source.records(path, Options())
    except InputError as error:
        told = str(error)
    else:
        assert isinstance(stream, Iterator)
        told = "".join(item.uri for item in stream)
    assert "strange.txt" in told


def test_a_source_can_be_asked_for_by_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    for name, source in sources().items():
        assert find_source(tmp_path, name) is source


def test_auto_recognises_manifests_and_falls_back_to_the_folder(tmp_path):
    for name, header, expected in (
        ("a.csv", "uri,split", "csv"),
        ("b.csv", "filepath,dataset,split,modality,anatomic_region,CT/abd/cyst", "published"),
        ("c.csv", "something,else", "csv"),
        ("d.png", "", "folder"),
    ):
        (tmp_path / name).write_text(f"{header}\n")
        assert find_source(tmp_path / name).name == expected
    assert find_source(tmp_path).name == "folder"


def test_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_source(tmp_path / "nowhere")
    with pytest.raises(InputError, match="empty folder"):
        find_source(tmp_path)
    with pytest.raises(InputError, match="unknown dataset layout 'imagenet'; known are auto, csv"):
        find_source(tmp_path, "imagenet")
