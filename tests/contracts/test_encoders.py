"""Every encoder of the registry at full size: filled from its publisher's format, it gives its publisher's vectors.

No weights are downloaded: independent implementations (transformers, torchvision, open_clip) are built from their
published configurations with random weights, saved under the names of the publisher's file, and loaded as a user's file
is. An encoder without an implementation here is filled with its own model's random weights.
"""

import dataclasses
import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pydicom
import pytest
import safetensors.torch
import torch
import torchvision
import transformers
from open_clip import get_model_config
from open_clip.model import CustomTextCLIP
from random_weights import filled

from medcbir.cli.options import DEFAULT_ENCODER
from medcbir.encoders import DEFAULT, SPECS, EncoderSpec, load_encoder, prepare
from medcbir.encoders.models import build_model
from medcbir.pixels import open_image

Tensors = dict[str, torch.Tensor]
Model = TypeVar("Model", bound=torch.nn.Module)
Reference = Callable[[torch.Tensor], torch.Tensor]
"""Normalised pixels (n, 3, size, size) -> features (n, dim), by an implementation that is not ours."""

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
PYDICOM_DATA = Path(importlib.util.find_spec("data_store").origin).parent / "data"
IMAGES = (
    PYDICOM / "CT_small.dcm",
    PYDICOM_DATA / "RG1_UNCR.dcm",  # 1955 x 1841, 15 bits, MONOCHROME1
    PYDICOM / "examples_palette.dcm",  # 350 x 800, colour
    PYDICOM / "MR_small.dcm",
    PYDICOM / "examples_overlay.dcm",
    PYDICOM / "examples_rgb_color.dcm",
    PYDICOM / "SC_rgb_rle_16bit.dcm",
    PYDICOM / "image_dfl.dcm",
    PYDICOM_DATA / "MR-SIEMENS-DICOM-WithOverlays.dcm",
    PYDICOM_DATA / "OBXXXX1A.dcm",
)
"""Ten real images of five modalities: grey and colour, 8 to 16 bits, 64 to 1,955 pixels, upright and wide."""

COSINE = 1 - 1e-6
DINOV2 = 0.9999
"""Of an encoder whose positions are resampled, as its own code does it: recent versions of transformers leave out an
offset of 0.1."""
MEDSIGLIP_LAYERS = 3
EPS = 1e-6
"""Of ViT's and MAE's layer norms in their authors' code; transformers has 1e-12."""


@pytest.fixture(autouse=True)
def quiet_transformers() -> Iterator[None]:
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@lru_cache
def real_images() -> list[np.ndarray]:
    return [open_image(path).frame(0) for path in IMAGES]


def random_model(build: Callable[[], Model]) -> Model:
    """With positions so large that one in another place is noticed."""
    model = filled(build)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "pos_embed" in name or "position_embedding" in name:
                tensor.div_(20 * tensor.abs().max())
    return model


def saved(model: transformers.PreTrainedModel) -> Tensors:
    """The tensors under the names that transformers gives them in a file, which are not always those in memory."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        return safetensors.torch.load((Path(directory) / "model.safetensors").read_bytes())


def renamed(state: Tensors, *pairs: tuple[str, str]) -> Tensors:
    """Every left side, a regular expression, replaced by its right side, in order."""
    out = {}
    for name, tensor in state.items():
        new = name
        for pattern, replacement in pairs:
            new = re.sub(pattern, replacement, new)
        out[new] = tensor
    return out


def joined(state: Tensors, parts: tuple[str, str, str], joint: str) -> Tensors:
    """Query, key and value in one tensor."""
    out = {name: tensor for name, tensor in state.items() if not any(part in name for part in parts)}
    for name in state:
        if parts[0] in name:
            out[name.replace(parts[0], joint)] = torch.cat([state[name.replace(parts[0], part)] for part in parts])
    return out


def below(prefix: str, state: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in state.items()}


def meta_vit(state: Tensors) -> Tensors:
    """Hugging Face's ViT, ViT-MAE and DINOv2 under the names of timm's and Meta's files."""
    parts = tuple(f"attention.attention.{part}." for part in ("query", "key", "value"))
    return renamed(
        joined(state, parts, "attn.qkv."),
        (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
        (r"^embeddings\.position_embeddings", "pos_embed"),
        (r"^embeddings\.", ""),
        (r"^encoder\.layer", "blocks"),
        (r"attention\.output\.dense", "attn.proj"),
        (r"intermediate\.dense", "mlp.fc1"),
        (r"output\.dense", "mlp.fc2"),
        (r"layernorm_before", "norm1"),
        (r"layernorm_after", "norm2"),
        (r"^layernorm", "norm"),
        (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    )


def torchvision_resnet50() -> tuple[Tensors, Reference]:
    model = random_model(torchvision.models.resnet50)
    with torch.no_grad():  # else the largest logit of random weights takes all the probability
        model.fc.weight.div_(200)
    return model.state_dict(), model


def resnet50_probabilities() -> tuple[Tensors, Reference]:
    state, model = torchvision_resnet50()
    return state, lambda pixels: model(pixels).softmax(dim=1)


def radimagenet() -> tuple[Tensors, Reference]:
    """All of torchvision's children but the classifier in a `Sequential`, as RadImageNet's own example builds it."""
    backbone = torch.nn.Sequential(*list(random_model(torchvision.models.resnet50).children())[:9])
    return below("backbone.", backbone.state_dict()), lambda pixels: backbone(pixels).flatten(1)


def vit() -> tuple[Tensors, Reference]:
    model = random_model(
        lambda: transformers.ViTModel(transformers.ViTConfig(layer_norm_eps=EPS), add_pooling_layer=False)
    )
    head = {"head.weight": torch.zeros(21843, 768), "head.bias": torch.zeros(21843)}
    return meta_vit(saved(model)) | head, lambda pixels: model(pixels).last_hidden_state[:, 0]


def mae() -> tuple[Tensors, Reference]:
    model = random_model(
        lambda: transformers.ViTMAEModel(transformers.ViTMAEConfig(mask_ratio=0.0, layer_norm_eps=EPS))
    )
    return {"model": meta_vit(saved(model))}, lambda pixels: model(pixels).last_hidden_state[:, 0]


def sam() -> tuple[Tensors, Reference]:
    model = random_model(lambda: transformers.SamVisionModel(transformers.SamVisionConfig()))
    state = renamed(
        model.state_dict(),
        (r"^vision_encoder\.", "image_encoder."),
        (r"\.layers\.", ".blocks."),
        (r"patch_embed\.projection", "patch_embed.proj"),
        (r"neck\.conv(\d)", lambda conv: f"neck.{2 * int(conv[1]) - 2}"),
        (r"neck\.layer_norm(\d)", lambda norm: f"neck.{2 * int(norm[1]) - 1}"),
        (r"layer_norm(\d)", r"norm\1"),
    )
    decoder = {"mask_decoder.iou_token.weight": torch.zeros(1, 256)}
    return state | decoder, lambda pixels: model(pixels).last_hidden_state.mean(dim=(2, 3))


def clip() -> tuple[Tensors, Reference]:
    """ViT-L/14 of OpenAI under open_clip's names."""
    config = transformers.CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
        projection_dim=768,
    )  # fmt: skip
    model = random_model(lambda: transformers.CLIPVisionModelWithProjection(config))
    tower = renamed(
        joined(model.state_dict(), ("self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."), "attn.in_proj_"),
        (r"^vision_model\.", ""),
        (r"^embeddings\.class_embedding", "class_embedding"),
        (r"^embeddings\.patch_embedding", "conv1"),
        (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
        (r"^encoder\.layers", "transformer.resblocks"),
        (r"self_attn\.", "attn."),
        (r"layer_norm(\d)", r"ln_\1"),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
        (r"^pre_layrnorm", "ln_pre"),
        (r"^post_layernorm", "ln_post"),
    )
    tower["proj"] = tower.pop("visual_projection.weight").T
    text = {"logit_scale": torch.zeros(()), "token_embedding.weight": torch.zeros(2, 2)}
    return below("visual.", tower) | text, lambda pixels: model(pixels).image_embeds


def medclip() -> tuple[Tensors, Reference]:
    swin = random_model(lambda: transformers.SwinModel(transformers.SwinConfig()))
    head = random_model(lambda: torch.nn.Linear(768, 512, bias=False))
    state = below("vision_model.model.", saved(swin)) | {"vision_model.projection_head.weight": head.weight.detach()}
    index = "vision_model.model.encoder.layers.0.blocks.0.attention.self.relative_position_index"
    text = {"logit_scale": torch.zeros(()), "text_model.projection_head.weight": torch.zeros(512, 768)}
    return state | text | {index: torch.zeros(49, 49).long()}, lambda pixels: head(swin(pixels).pooler_output)


def open_clip_with_timm(embed_dim: int, vision: dict[str, object]) -> tuple[Tensors, Reference]:
    text = {"context_length": 1, "vocab_size": 1, "width": 64, "heads": 1, "layers": 1}
    model = random_model(lambda: CustomTextCLIP(embed_dim, vision, text))
    return model.state_dict(), model.encode_image


def biomedclip() -> tuple[Tensors, Reference]:
    vision = {"timm_model_name": "vit_base_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
    return open_clip_with_timm(512, vision)


def pe_core() -> tuple[Tensors, Reference]:
    config = get_model_config("PE-Core-B-16")
    return open_clip_with_timm(config["embed_dim"], config["vision_cfg"])


def hugging_face_dinov2() -> tuple[Tensors, Reference]:
    """DINOv2 ViT-B/14 as pretrained: positions of 37 x 37 patches."""
    model = random_model(lambda: transformers.Dinov2Model(transformers.Dinov2Config(image_size=518, patch_size=14)))
    return saved(model), lambda pixels: model(pixels).pooler_output


def dinov2() -> tuple[Tensors, Reference]:
    state, reference = hugging_face_dinov2()
    return meta_vit(state), reference


def dinov3() -> tuple[Tensors, Reference]:
    """Without biases of query, key and value, which are zero in the published weights and absent from timm's files."""
    config = transformers.DINOv3ViTConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, num_register_tokens=4,
        query_bias=False, key_bias=False, value_bias=False,
    )  # fmt: skip
    model = random_model(lambda: transformers.DINOv3ViTModel(config))
    state = renamed(
        joined(saved(model), ("attention.q_proj.", "attention.k_proj.", "attention.v_proj."), "attn.qkv."),
        (r"^embeddings\.patch_embeddings", "patch_embed.proj"),
        (r"^embeddings\.register_tokens", "reg_token"),
        (r"^embeddings\.", ""),
        (r"^layer\.", "blocks."),
        (r"attention\.o_proj", "attn.proj"),
        (r"mlp\.up_proj", "mlp.fc1"),
        (r"mlp\.down_proj", "mlp.fc2"),
        (r"layer_scale(\d)\.lambda1", r"gamma_\1"),
    )
    del state["mask_token"]
    return state, lambda pixels: model(pixels).pooler_output


def siglip(config: transformers.SiglipVisionConfig) -> tuple[Tensors, Reference]:
    model = random_model(lambda: transformers.SiglipVisionModel(config))
    text = {"logit_bias": torch.zeros(1), "text_model.head.weight": torch.zeros(2, 2)}
    return below("vision_model.", model.state_dict()) | text, lambda pixels: model(pixels).pooler_output


def siglip2() -> tuple[Tensors, Reference]:
    return siglip(transformers.SiglipVisionConfig())


def medsiglip_config(layers: int) -> transformers.SiglipVisionConfig:
    return transformers.SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=layers, num_attention_heads=16,
        image_size=448, patch_size=14,
    )  # fmt: skip


def medsiglip() -> tuple[Tensors, Reference]:
    """Its full width at its full resolution, but few layers: all 27 would take minutes."""
    return siglip(medsiglip_config(MEDSIGLIP_LAYERS))


def xmir() -> tuple[Tensors, Reference]:
    model = random_model(torchvision.models.densenet121)
    state = {f"densenet121.0.{name}": tensor for name, tensor in model.features.state_dict().items()}
    return {"state_dict": state}, lambda pixels: torch.relu(model.features(pixels)).mean(dim=(2, 3))


def xrv_densenet121() -> tuple[Tensors, Reference]:
    """One channel and eighteen findings; colour counts as the mean of its channels."""

    def build() -> torch.nn.Module:
        model = torchvision.models.densenet121(num_classes=18)
        model.features.conv0 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        return model

    model = random_model(build)
    state = model.state_dict() | {"op_threshs": torch.zeros(18)}
    return state, lambda pixels: torch.relu(model.features(pixels.mean(dim=1, keepdim=True))).mean(dim=(2, 3))


PUBLISHED: dict[str, Callable[[], tuple[Tensors, Reference]]] = {
    "resnet50": resnet50_probabilities,
    "resnet50_logits": torchvision_resnet50,
    "vit": vit,
    "sam": sam,
    "clip": clip,
    "medclip": medclip,
    "biomedclip": biomedclip,
    "mae": mae,
    "dinov2": dinov2,
    "xmir": xmir,
    "rad_dino": hugging_face_dinov2,
    "medsiglip": medsiglip,
    "radimagenet": radimagenet,
    "xrv_densenet121": xrv_densenet121,
    "dinov3": dinov3,
    "siglip2": siglip2,
    "pe_core": pe_core,
}


def model_of(spec: EncoderSpec) -> tuple[object, ...]:
    """What encoders must share to be the same model with other weights or pixels; the wrapper `model` is MAE's own."""
    return spec.library, spec.architecture, str(spec.output), repr(spec.options), spec.checkpoint.keys, spec.pixels.size


FIRST = {model_of(spec): spec.name for spec in reversed(SPECS.values()) if spec.name != "mae"}
DISTINCT = [name for name, spec in SPECS.items() if FIRST[model_of(spec)] == name or name in PUBLISHED]


def write(state: Tensors, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    else:
        torch.save(state, file)


def test_every_encoder_is_one_of_the_models_tested_here():
    assert {FIRST[model_of(spec)] for spec in SPECS.values()} <= set(DISTINCT)
    assert set(PUBLISHED) <= set(DISTINCT) <= set(SPECS)


@pytest.mark.parametrize("name", DISTINCT)
def test_an_encoder_gives_the_unit_vectors_of_its_publishers_model(name, tmp_path):
    spec = SPECS[name]
    if name == "medsiglip":
        spec = dataclasses.replace(spec, options={**spec.options, "depth": MEDSIGLIP_LAYERS})
    slow = spec.pixels.size > 224 or name == "clip"
    images = real_images()[: 3 if slow else None]
    batch = np.stack([prepare(image, spec.pixels) for image in images])
    expected = None
    if spec.checkpoint.package is None:
        if name in PUBLISHED:
            state, reference = PUBLISHED[name]()
        else:
            state, reference = filled(lambda: build_model(spec)).state_dict(), None
        if reference is not None:
            expected = features(reference, batch, spec)
        write(state, tmp_path / spec.checkpoint.file)
        del state, reference
        spec = dataclasses.replace(spec, checkpoint=dataclasses.replace(spec.checkpoint, sha256=None))

    encoder = load_encoder(spec, weights_dir=tmp_path, device="cpu")
    (tmp_path / spec.checkpoint.file).unlink(missing_ok=True)  # pytest keeps what is left: gigabytes
    vectors = encoder.encode(batch)

    assert vectors.shape == (len(batch), spec.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    if not slow:  # a slow one's images pass one by one in any case
        once, again = encoder.encode(batch[1:2]), encoder.encode(batch[1:2])
        np.testing.assert_array_equal(once, again)
        np.testing.assert_allclose(once[0], vectors[1], atol=1e-5)
    assert encoder.recipe["dim"] == spec.dim
    if expected is not None:
        assert_same_directions(vectors, expected, DINOV2 if name == "dinov2" else COSINE)


def test_medsiglip_has_all_of_its_publishers_layers():
    spec = SPECS["medsiglip"]
    with torch.device("meta"):
        wanted = build_model(spec).state_dict()
        published = transformers.SiglipVisionModel(medsiglip_config(27)).state_dict()
        found = spec.checkpoint.keys(below("vision_model.", published), wanted)
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in wanted.items()
    }


def features(reference: Reference, batch: np.ndarray, spec: EncoderSpec) -> np.ndarray:
    """Unit vectors float64 (n, dim) by the other implementation."""
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (spec.pixels.mean, spec.pixels.std))
    with torch.inference_mode():
        pixels = (torch.tensor(batch).permute(0, 3, 1, 2) / 255 - mean) / std
        rows = torch.cat([reference(few) for few in pixels.split(2)]).double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def assert_same_directions(vectors: np.ndarray, expected: np.ndarray, cosine: float) -> None:
    """Cosine to the other implementation's vectors, and to their differences from each other.

    Random weights can make all vectors nearly alike; what tells images apart must agree too, not only what they share.
    """
    cosines = np.einsum("nd,nd->n", vectors.astype(np.float64), expected)
    centred, other = vectors.astype(np.float64) - expected.mean(axis=0), expected - expected.mean(axis=0)
    told_apart = np.einsum("nd,nd->n", centred, other) / np.linalg.norm(centred, axis=1) / np.linalg.norm(other, axis=1)
    assert cosines.min() >= cosine
    assert told_apart.min() >= cosine


@pytest.mark.parametrize("name", SPECS)
def test_every_encoder_is_in_the_documentation(name):
    page = Path(__file__).parents[2] / "docs" / "encoders.md"
    assert f"| `{name}` |" in page.read_text()


def test_the_commands_default_encoder_is_the_registry_s():
    assert DEFAULT_ENCODER == DEFAULT
