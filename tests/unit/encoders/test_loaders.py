"""Loading safely and strictly, and encoding: numbers are checked against timm itself."""

import argparse
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_transform

from medcbir.encoders import Checkpoint, Pixels, Projection, find_checkpoint, get_spec, load_encoder, prepare
from medcbir.encoders.checkpoints import read_state_dict
from medcbir.encoders.key_maps import same_names
from medcbir.encoders.loaders import Encoder
from medcbir.encoders.models import build_model
from medcbir.errors import EncoderError, VectorError

LITE = get_spec("efficientnet_lite0")
HALF = (0.5, 0.5, 0.5)


DESCRIBED = """
title = "Tiny"
architecture = "test_vit"
dim = 64
checkpoint = "tiny.safetensors"
output = "class_token"
pixels = {size = 160, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5]}
"""


@pytest.fixture(params=["medcbir's own", "a user's file"])
def tiny(request, tmp_path):
    """timm's smallest ViT (64 dimensions, 160 pixels), with weights expected in `tiny.safetensors`."""
    if request.param == "a user's file":
        (tmp_path / "tiny.toml").write_text(DESCRIBED)
        return get_spec("tiny", tmp_path)
    return dataclasses.replace(
        LITE,
        name="tiny",
        title="Tiny",
        architecture="test_vit",
        dim=64,
        checkpoint=Checkpoint("tiny.safetensors", source="nowhere", keys=same_names),
        pixels=Pixels(160, HALF, HALF),
        output="class_token",
    )


@pytest.fixture
def weights(tiny, tmp_path):
    """A directory with random weights for `tiny`."""
    torch.manual_seed(1)
    safetensors.torch.save_file(build_model(tiny).state_dict(), tmp_path / "tiny.safetensors")
    return tmp_path


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    return load_encoder(LITE, weights_dir=tmp_path_factory.mktemp("none"), device="cpu")


def expecting(spec, file):
    """The encoder with its weights expected in another file."""
    return dataclasses.replace(spec, checkpoint=dataclasses.replace(spec.checkpoint, file=file))


def random_batch(n, size):
    return np.random.default_rng(3).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def ours_to_timm(name):
    """EfficientNet-Lite0 as published -> timm's names, written from the two naming schemes, not from the order."""
    blocks = [1, 2, 2, 3, 3, 4, 1]
    position = [(stage, index) for stage, repeats in enumerate(blocks) for index in range(repeats)]
    name = name.replace("_conv_stem", "conv_stem").replace("_conv_head", "conv_head")
    if not name.startswith("_blocks."):
        return name.replace("_bn0", "bn1").replace("_bn1", "bn2")
    _, number, rest = name.split(".", 2)
    stage, index = position[int(number)]
    if stage == 0:
        names = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    else:
        names = {
            "_expand_conv": "conv_pw",
            "_bn0": "bn1",
            "_depthwise_conv": "conv_dw",
            "_bn1": "bn2",
            "_project_conv": "conv_pwl",
            "_bn2": "bn3",
        }
    layer, kind = rest.split(".")
    return f"blocks.{stage}.{index}.{names[layer]}.{kind}"


def test_the_default_encoder_is_timms_model_with_the_published_weights(lite):
    published = read_state_dict(find_checkpoint(LITE, Path()))
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    model.load_state_dict({ours_to_timm(k): v for k, v in published.items() if not k.startswith("_fc.")}, strict=True)
    image = np.random.default_rng(5).integers(0, 256, (300, 420), dtype=np.uint8)
    transform = create_transform((3, 224, 224), interpolation="bicubic", crop_pct=0.875, mean=HALF, std=HALF)
    with torch.inference_mode():
        expected = model(transform(Image.fromarray(image).convert("RGB"))[None])[0].double().numpy()

    vector = lite.encode(prepare(image, LITE.pixels)[None])[0]

    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=2e-6)


def test_vectors_are_float32_of_unit_norm_and_the_same_in_any_batch(lite):
    batch = random_batch(11, 224)
    vectors = lite.encode(batch)
    assert vectors.dtype == np.float32
    assert vectors.shape == (11, 1280)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors, lite.encode(batch))
    alone = np.concatenate([lite.encode(image[None]) for image in batch])
    np.testing.assert_allclose(vectors, alone, atol=1e-6)


def test_no_images_give_no_vectors(lite):
    assert lite.encode(random_batch(0, 224)).shape == (0, 1280)


def test_bfloat16_stays_close_to_float32(lite, tmp_path):
    low = load_encoder(LITE, weights_dir=tmp_path, device="cpu", precision="bfloat16")
    batch = random_batch(3, 224)
    similarity = (lite.encode(batch) * low.encode(batch)).sum(axis=1)
    assert similarity.min() > 0.97
    assert low.recipe["precision"] == "bfloat16"


def test_an_encoder_knows_its_recipe_device_and_libraries(lite):
    assert lite.recipe["checkpoint"]["sha256"] == LITE.checkpoint.sha256
    assert lite.device == "cpu"
    assert lite.versions["torch"] == torch.__version__.partition("+")[0]
    assert set(lite.versions) == {"torch", "timm", "open_clip_torch", "pillow"}


@pytest.mark.parametrize("batch", [np.zeros((1, 224, 224, 3), np.float32), np.zeros((1, 160, 160, 3), np.uint8)])
def test_a_batch_of_another_type_or_size_is_refused(lite, batch):
    with pytest.raises(VectorError, match=r"encodes uint8 \(n, 224, 224, 3\)"):
        lite.encode(batch)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_zero_or_non_finite_output_is_an_error(tiny, value):
    class Constant(torch.nn.Module):
        def forward(self, pixels):
            out = torch.ones(len(pixels), 64)
            out[1:] = value
            return out

    encoder = Encoder(tiny, Constant(), torch.device("cpu"), "float32", {})
    with pytest.raises(VectorError, match=r"tiny: zero or non-finite vector for images \[1 2\]"):
        encoder.encode(random_batch(3, 160))


def test_probabilities_are_the_softmax_of_the_logits(tiny, weights):
    shared = {"architecture": "test_vit", "dim": 1000}
    specs = [dataclasses.replace(tiny, output=output, **shared) for output in ("logits", "probabilities")]
    safetensors.torch.save_file(build_model(specs[0]).state_dict(), weights / "tiny.safetensors")
    batch = random_batch(2, 160)
    model = build_model(specs[0]).eval()
    model.load_state_dict(safetensors.torch.load_file(weights / "tiny.safetensors"))
    with torch.inference_mode():
        expected = model(torch.tensor(batch).permute(0, 3, 1, 2) / 127.5 - 1).softmax(dim=1).numpy()
    vectors = load_encoder(specs[1], weights_dir=weights, device="cpu").encode(batch)
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


def test_a_projection_follows_the_pooled_features(tiny, weights):
    spec = dataclasses.replace(tiny, dim=16, output=Projection(64, 16))
    model = build_model(spec)
    safetensors.torch.save_file(model.state_dict(), weights / "tiny.safetensors")
    vectors = load_encoder(spec, weights_dir=weights, device="cpu").encode(random_batch(2, 160))
    assert vectors.shape == (2, 16)
    assert "projection.bias" not in model.state_dict()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_torch_file_loads_as_its_safetensors_does(tiny, weights, wrapper, prefix):
    state = safetensors.torch.load_file(weights / "tiny.safetensors")
    state = {prefix + name: tensor for name, tensor in state.items()}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, weights / "tiny.pth")
    pth = expecting(tiny, "tiny.pth")
    batch = random_batch(2, 160)
    first, second = (load_encoder(s, weights_dir=weights, device="cpu").encode(batch) for s in (tiny, pth))
    np.testing.assert_array_equal(first, second)


def test_missing_unexpected_and_misshapen_tensors_are_listed(tiny, weights):
    state = safetensors.torch.load_file(weights / "tiny.safetensors")
    del state["cls_token"]
    state["extra"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(3)
    safetensors.torch.save_file(state, weights / "tiny.safetensors")
    with pytest.raises(EncoderError) as error:
        load_encoder(tiny, weights_dir=weights, device="cpu")
    assert "1 missing (cls_token); 1 unexpected (extra); 1 of another shape (norm.weight)" in str(error.value)


def test_a_checkpoint_of_another_order_does_not_pass_for_efficientnet_lite(tmp_path):
    state = dict(reversed(read_state_dict(find_checkpoint(LITE, Path())).items()))
    torch.save(state, tmp_path / "lite.pth")
    spec = dataclasses.replace(
        LITE, checkpoint=dataclasses.replace(LITE.checkpoint, file="lite.pth", package=None, sha256=None)
    )
    with pytest.raises(EncoderError, match=r"has .* where conv_stem.weight \(32, 3, 3, 3\) is expected"):
        load_encoder(spec, weights_dir=tmp_path, device="cpu")


class Payload:
    """Unpickling this writes a file: what a malicious checkpoint would do."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("name", ["evil.pth", "evil.bin", "evil.safetensors"])
def test_a_pickle_with_code_is_refused_and_does_not_run(tiny, tmp_path, name):
    target = tmp_path / "ran"
    torch.save({"weight": Payload(target)}, tmp_path / name)
    with pytest.raises(EncoderError, match=r"checkpoint (refused|unreadable)"):
        load_encoder(expecting(tiny, name), weights_dir=tmp_path, device="cpu")
    (tmp_path / name).write_bytes(pickle.dumps(Payload(target), protocol=2))
    with pytest.raises(EncoderError, match=r"checkpoint (refused|unreadable)"):
        load_encoder(expecting(tiny, name), weights_dir=tmp_path, device="cpu")
    assert not target.exists()


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "get it again"),
        (b"\n<!DOCTYPE html><html>not found</html>", "is a web page: download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab", "is a pointer of Git LFS: .*`git lfs pull`"),
        (b"PK\x03\x04", "get it again"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_an_error_of_one_line(tiny, tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EncoderError, match=rf"checkpoint (refused|unreadable): .*{name}.* {told}") as error:
        load_encoder(expecting(tiny, name), weights_dir=tmp_path, device="cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tiny.pth", "tiny.safetensors"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_an_error_of_one_line(tiny, weights, name, kept):
    torch.save(safetensors.torch.load_file(weights / "tiny.safetensors"), weights / "tiny.pth")
    whole = (weights / name).read_bytes()
    (weights / name).write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(EncoderError, match=rf"checkpoint (refused|unreadable): .*{name}") as error:
        load_encoder(expecting(tiny, name), weights_dir=weights, device="cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 3, "net": {}}, r"holds no state dict \(names and tensors alone\), but epoch, net: save that"),
        ([1, 2], r"holds no state dict \(names and tensors alone\): save that of the model"),
        (
            {"model": {}, "args": argparse.Namespace(lr=1)},
            "holds argparse.Namespace beside tensors, which could run code",
        ),
    ],
)
def test_a_file_of_something_else_is_refused_with_what_it_holds(tiny, tmp_path, content, told):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(EncoderError, match=told):
        load_encoder(expecting(tiny, "other.pth"), weights_dir=tmp_path, device="cpu")


def test_a_prefix_of_all_names_is_told(tiny, weights):
    state = safetensors.torch.load_file(weights / "tiny.safetensors")
    torch.save({f"net.backbone.{name}": tensor for name, tensor in state.items()}, weights / "tiny.pth")
    with pytest.raises(EncoderError, match=r"the names in the file begin with net\.backbone\.: save them without"):
        load_encoder(expecting(tiny, "tiny.pth"), weights_dir=weights, device="cpu")


def test_an_absent_device_is_an_error_that_lists_those_present(tiny, weights):
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(EncoderError, match=f"no device '{absent}' here: use auto or .*cpu"):
        load_encoder(tiny, weights_dir=weights, device=absent)


def test_another_encoders_checkpoint_is_recognised(tiny, tmp_path):
    torch.save(torchvision.models.densenet121().state_dict(), tmp_path / "tiny.pth")
    with pytest.raises(EncoderError, match=r"missing .*; this looks like the checkpoint of X-MIR"):
        load_encoder(expecting(tiny, "tiny.pth"), weights_dir=tmp_path, device="cpu")


def test_a_torchscript_program_is_refused_with_the_file_to_use_instead(tiny, tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "ViT-L-14.pt"))
    with pytest.raises(EncoderError, match=r"is a TorchScript program, .* open_clip_model.safetensors of https://"):
        load_encoder(expecting(tiny, "ViT-L-14.pt"), weights_dir=tmp_path, device="cpu")
