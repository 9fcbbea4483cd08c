"""Every encoder of the registry, at full size, from random weights in its publisher's format.

What is published is written here from independent implementations (torchvision, open_clip, timm) or by renaming timm's
tensors the other way round, so that a checkpoint that a user downloads is read as what it is.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from open_clip.model import CustomTextCLIP

from medcbir.cli.options import DEFAULT_ENCODER
from medcbir.encoders import DEFAULT, SPECS, EncoderSpec, load_encoder, prepare
from medcbir.encoders.loaders import build_model

Tensors = dict[str, torch.Tensor]


def torchvision_model(name: str) -> Tensors:
    return getattr(torchvision.models, name)().state_dict()


def with_classifier(spec: EncoderSpec) -> Tensors:
    """timm's own file, which holds the classifier as well."""
    return timm.create_model(spec.architecture, num_classes=10).state_dict()


def segment_anything(spec: EncoderSpec) -> Tensors:
    encoder = {
        "image_encoder." + re.sub(r"mlp\.fc", "mlp.lin", name): tensor
        for name, tensor in build_model(spec).state_dict().items()
    }
    return {**encoder, "mask_decoder.iou_token.weight": torch.zeros(1, 256)}


def openai_clip(spec: EncoderSpec) -> Tensors:
    tower = {f"visual.{name}": tensor for name, tensor in build_model(spec).state_dict().items()}
    return {**tower, "logit_scale": torch.zeros(()), "token_embedding.weight": torch.zeros(2, 2)}


def biomedclip(spec: EncoderSpec) -> Tensors:
    vision = {"timm_model_name": spec.architecture, "timm_pool": "", "timm_proj": "linear", "image_size": 224}
    text = {"context_length": 1, "vocab_size": 1, "width": 64, "heads": 1, "layers": 1}
    return CustomTextCLIP(512, vision, text).state_dict()


def medclip(spec: EncoderSpec) -> Tensors:
    """Hugging Face's names for timm's Swin, with query, key and value apart."""
    published = {"logit_scale": torch.zeros(()), "text_model.projection_head.bias": torch.zeros(512)}
    for name, tensor in build_model(spec).state_dict().items():
        if name.startswith("projection."):
            published[f"vision_model.projection_head.{name.removeprefix('projection.')}"] = tensor
            continue
        theirs = name.removeprefix("trunk.").replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        theirs = theirs.replace("patch_embed.norm", "embeddings.norm").replace("mlp.fc1", "intermediate.dense")
        theirs = theirs.replace("mlp.fc2", "output.dense").replace("attn.proj", "attention.output.dense")
        theirs = theirs.replace("norm1", "layernorm_before").replace("norm2", "layernorm_after")
        theirs = theirs.replace("attn.", "attention.self.")
        theirs = re.sub(r"^norm\.", "layernorm.", re.sub(r"^layers", "encoder.layers", theirs))
        theirs = re.sub(r"(\d)\.downsample", lambda stage: f"{int(stage[1]) - 1}.downsample", theirs)
        parts = ("query", "key", "value") if "qkv" in theirs else ("",)
        for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
            published["vision_model.model." + theirs.replace("qkv", part)] = piece
    index = "vision_model.model.encoder.layers.0.blocks.0.attention.self.relative_position_index"
    return {**published, index: torch.zeros(49, 49, dtype=torch.int64)}


def dinov2(spec: EncoderSpec) -> Tensors:
    """As released: positions of 37 x 37 patches, and the mask token."""
    full = timm.create_model(spec.architecture, num_classes=0, img_size=518).state_dict()
    return {**full, "mask_token": torch.zeros(1, 768)}


PUBLISHED = {
    "resnet50": lambda spec: torchvision_model("resnet50"),
    "resnet50_logits": lambda spec: torchvision_model("resnet50"),
    "vit": with_classifier,
    "sam": segment_anything,
    "medsam": segment_anything,
    "clip": openai_clip,
    "medclip": medclip,
    "biomedclip": biomedclip,
    "dinov2": dinov2,
    "xmir": lambda spec: torchvision_model("densenet121"),
}
"""What each publisher's file holds; an encoder that is not named here reads its own model's names."""


def publish(spec: EncoderSpec, directory: Path) -> EncoderSpec:
    """Write random weights as the publisher would, and expect that file instead of the real one."""
    if spec.checkpoint.package is not None:
        return spec
    torch.manual_seed(0)
    state = PUBLISHED.get(spec.name, lambda spec: build_model(spec).state_dict())(spec)
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    file = directory / spec.checkpoint.file
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save(state, file)
    return dataclasses.replace(spec, checkpoint=dataclasses.replace(spec.checkpoint, sha256=None))


@pytest.mark.parametrize("name", SPECS)
def test_an_encoder_gives_unit_vectors_that_do_not_depend_on_the_batch(name, tmp_path):
    spec = publish(SPECS[name], tmp_path)
    encoder = load_encoder(spec, weights_dir=tmp_path, device="cpu")
    (tmp_path / spec.checkpoint.file).unlink(missing_ok=True)  # pytest keeps what is left: a gigabyte for CLIP
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((300, 260), (200, 380, 3))]
    if spec.pixels.size > 224:  # SAM's pass takes ten seconds an image, and a CPU takes one at a time anyway
        images = images[:1]
    batch = np.stack([prepare(image, spec.pixels) for image in images])

    vectors = encoder.encode(batch)

    assert vectors.shape == (len(images), spec.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    if len(images) > 1:
        np.testing.assert_allclose(encoder.encode(batch[1:])[0], vectors[1], atol=1e-5)
        assert np.abs(vectors[0] - vectors[1]).max() > 1e-6, "two images, two vectors"
    assert encoder.recipe["dim"] == spec.dim


@pytest.mark.parametrize("name", SPECS)
def test_every_encoder_is_in_the_documentation(name):
    page = Path(__file__).parents[2] / "docs" / "encoders.md"
    assert f"| `{name}` |" in page.read_text()


def test_the_commands_default_encoder_is_the_registry_s():
    assert DEFAULT_ENCODER == DEFAULT
