"""Finding a checkpoint and telling which one it is; the recipe that follows from it."""

import dataclasses
import functools
import hashlib
import http.server
import json
import os
import threading

import pytest

from medcbir.encoders import (
    Checkpoint,
    fetch_checkpoint,
    find_checkpoint,
    get_spec,
    recipe_of,
    recipe_sha256,
    sha256_file,
    with_checkpoint,
)
from medcbir.encoders.key_maps import same_names
from medcbir.errors import EncoderError

LITE = get_spec("efficientnet_lite0")


@pytest.fixture
def spec():
    """An encoder whose checkpoint `small.bin` belongs into the weights directory."""
    checkpoint = Checkpoint("small.bin", source="https://example.org/small.bin", keys=same_names)
    return dataclasses.replace(LITE, title="Small", checkpoint=checkpoint)


def test_the_default_comes_with_its_package_and_is_the_expected_file(tmp_path):
    path = find_checkpoint(LITE, tmp_path)
    assert path.name == "efficientnet-lite0-57934424.pth"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == LITE.checkpoint.sha256


def test_a_checkpoint_is_found_in_the_weights_directory(spec, tmp_path):
    (tmp_path / "small.bin").write_bytes(b"weights")
    assert find_checkpoint(spec, tmp_path) == tmp_path / "small.bin"


def test_a_missing_checkpoint_is_one_line_with_file_directory_and_source(spec, tmp_path):
    with pytest.raises(EncoderError) as error:
        find_checkpoint(spec, tmp_path)
    assert str(error.value) == (
        f"checkpoint not found: Small expects small.bin in {tmp_path}; "
        "get it from https://example.org/small.bin, or set MEDCBIR_WEIGHTS_DIR; "
        "`medcbir encoders verify efficientnet_lite0 --allow-download` fetches it"
    )


def test_a_missing_checkpoint_names_the_digest_expected(spec, tmp_path):
    known = dataclasses.replace(spec, checkpoint=dataclasses.replace(spec.checkpoint, sha256="ab" * 32))
    with pytest.raises(EncoderError, match=rf"expects small.bin \(sha256 {'ab' * 32}\) in"):
        find_checkpoint(known, tmp_path)


def test_a_missing_package_is_named(spec, tmp_path):
    absent = dataclasses.replace(spec.checkpoint, package="no_such_package_of_weights", source="weights==1")
    with pytest.raises(EncoderError, match="in the package no_such_package_of_weights; install weights==1"):
        find_checkpoint(dataclasses.replace(spec, checkpoint=absent), tmp_path)


def test_a_changed_file_gets_a_new_digest_within_one_process(tmp_path):
    file = tmp_path / "small.bin"
    file.write_bytes(b"one")
    assert sha256_file(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert sha256_file(file) == hashlib.sha256(b"two").hexdigest()


def test_the_recipe_is_json_and_names_what_shapes_a_vector(tmp_path):
    recipe = recipe_of(LITE, tmp_path)
    assert json.loads(json.dumps(recipe)) == recipe
    assert recipe["architecture"] == "tf_efficientnet_lite0"
    assert recipe["checkpoint"]["file"] == "efficientnet-lite0-57934424.pth"
    assert recipe["checkpoint"]["sha256"] == LITE.checkpoint.sha256
    assert recipe["pixels"] == {
        "size": 224,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "interpolation": "bicubic",
        "crop": 0.875,
        "resize": "shortest",
    }
    assert (recipe["output"], recipe["precision"], recipe["dim"]) == ("pooled", "float32", 1280)


def test_another_checkpoint_precision_or_crop_is_another_recipe(spec, tmp_path):
    (tmp_path / "small.bin").write_bytes(b"one")
    digests = [recipe_sha256(recipe_of(spec, tmp_path))]
    digests.append(recipe_sha256(recipe_of(spec, tmp_path, precision="bfloat16")))
    cropped = dataclasses.replace(spec, pixels=dataclasses.replace(spec.pixels, crop=0.9))
    digests.append(recipe_sha256(recipe_of(cropped, tmp_path)))
    (tmp_path / "small.bin").write_bytes(b"another")
    digests.append(recipe_sha256(recipe_of(spec, tmp_path)))
    assert len(set(digests)) == 4
    assert {len(digest) for digest in digests} == {32}


def test_the_digest_does_not_depend_on_the_order_of_keys():
    assert recipe_sha256({"a": 1, "b": 2}) == recipe_sha256({"b": 2, "a": 1})


def test_a_file_that_is_not_the_expected_one_has_no_recipe(spec, tmp_path):
    (tmp_path / "small.bin").write_bytes(b"other")
    known = dataclasses.replace(spec, checkpoint=dataclasses.replace(spec.checkpoint, sha256="ab" * 32))
    with pytest.raises(EncoderError, match=r"checkpoint differs: .*small.bin has sha256 .* expects abab"):
        recipe_of(known, tmp_path)


def hub(spec, source="https://huggingface.co/someone/model"):
    return dataclasses.replace(
        spec,
        name="small",
        checkpoint=dataclasses.replace(spec.checkpoint, file="model-x/model.safetensors", source=source),
    )


def test_a_folder_of_the_encoder_s_name_may_hold_its_file_or_any_single_one(spec, tmp_path):
    named = hub(spec)
    (tmp_path / "small").mkdir()
    alone = tmp_path / "small" / "renamed.pth"
    alone.write_bytes(b"1")
    assert find_checkpoint(named, tmp_path) == alone
    (tmp_path / "small" / "other.pt").write_bytes(b"2")
    with pytest.raises(
        EncoderError, match=r"checkpoint not found: .* several in .*small: leave one, or name it model\."
    ):
        find_checkpoint(named, tmp_path)
    (tmp_path / "small" / "pytorch_model.bin").write_bytes(b"3")
    assert find_checkpoint(named, tmp_path).name == "pytorch_model.bin"


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
@pytest.mark.parametrize("revision", ["main", "abc"])
def test_hugging_faces_cache_is_read_at_the_revision_asked_for(spec, tmp_path, monkeypatch, variable, revision):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "hf"))
    repository = tmp_path / "hf" / ("hub" if variable == "HF_HOME" else "") / "models--someone--model"
    file = repository / "snapshots" / "abc" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"1")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    source = "https://huggingface.co/someone/model" + (f"/tree/{revision}" if revision != "main" else "")
    assert find_checkpoint(hub(spec, source), tmp_path / "weights") == file


def test_a_former_checkpoint_is_found_by_its_content(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    named, weights = hub(spec), tmp_path / "weights"
    (weights / "model-x").mkdir(parents=True)
    (weights / "model-x" / "model.safetensors").write_bytes(b"at hand")
    former = weights / "model-x" / "before.pth"
    former.write_bytes(b"former")
    cached = tmp_path / "hf" / "models--someone--model" / "snapshots" / "old" / "model.safetensors"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cached")
    (weights / "model-x" / "notes.txt").write_bytes(b"notes")

    def of(content):
        return with_checkpoint(named, weights, hashlib.sha256(content).hexdigest())

    assert of(b"at hand") == named
    assert find_checkpoint(of(b"former"), weights) == former
    assert find_checkpoint(of(b"cached"), weights) == cached
    assert recipe_of(of(b"former"), weights)["checkpoint"]["sha256"] == hashlib.sha256(b"former").hexdigest()
    assert of(b"notes") is of(b"gone") is None
    (weights / "model-x" / "model.safetensors").unlink()
    assert find_checkpoint(of(b"former"), weights) == former


@pytest.fixture
def web(tmp_path):
    """A folder served on loopback, and its address."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_download_from_the_hub_is_kept_under_its_place(spec, tmp_path, monkeypatch, web):
    folder, address = web
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    served = folder / "someone" / "model" / "resolve" / "v1" / "model.safetensors"
    served.parent.mkdir(parents=True)
    served.write_bytes(b"weights")
    source = "https://huggingface.co/someone/model/tree/v1"
    file = fetch_checkpoint(hub(spec, source), tmp_path / "weights")
    assert file == tmp_path / "weights" / "model-x" / "model.safetensors"
    assert file.read_bytes() == b"weights"
    served.unlink()
    assert fetch_checkpoint(hub(spec, source), tmp_path / "weights") == file


def test_a_download_of_other_content_or_of_nothing_leaves_no_file(spec, tmp_path, web):
    folder, address = web
    weights = tmp_path / "weights"
    direct = dataclasses.replace(spec.checkpoint, source=f"{address}/small.bin", sha256="ab" * 32)
    with pytest.raises(EncoderError, match=r"HTTP 404"):
        fetch_checkpoint(dataclasses.replace(spec, checkpoint=direct), weights)
    (folder / "small.bin").write_bytes(b"weights")
    with pytest.raises(EncoderError, match=r"download refused: .* expects abab"):
        fetch_checkpoint(dataclasses.replace(spec, checkpoint=direct), weights)
    assert list(weights.iterdir()) == []
    right = dataclasses.replace(direct, sha256=hashlib.sha256(b"weights").hexdigest())
    assert fetch_checkpoint(dataclasses.replace(spec, checkpoint=right), weights).read_bytes() == b"weights"


def test_the_content_of_another_encoders_checkpoint_is_named(tmp_path):
    medsam, lite = get_spec("medsam"), find_checkpoint(LITE, tmp_path)
    (tmp_path / medsam.checkpoint.file).write_bytes(lite.read_bytes())
    with pytest.raises(EncoderError, match=r"checkpoint differs: .*that is EfficientNet-Lite0's checkpoint"):
        recipe_of(medsam, tmp_path)
