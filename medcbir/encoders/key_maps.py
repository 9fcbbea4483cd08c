"""From the names in a publisher's file to the library's names, one small function per format.

Each takes the published tensors and the model's own state dict, and returns the published tensors under the model's
names. What a function leaves out, its docstring names; whatever else remains, the loader compares with what the model
wants, name by name and shape by shape.
"""

import re
from typing import TYPE_CHECKING

from medcbir.encoders.spec import StateDict
from medcbir.errors import EncoderError

if TYPE_CHECKING:
    from torch import Tensor

_HEADS = ("fc.", "head.", "classifier.")

_QUERY_KEY_VALUE = ("attention.query", "attention.key", "attention.value")

_SWIN_NAMES = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.norm.", "patch_embed.norm."),
    ("encoder.layers.", "layers."),
    ("attention.self.relative", "attn.relative"),
    ("attention.self.", "attention."),
    ("attention.output.dense.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("layernorm.", "norm."),
)

_DINOV2_NAMES = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("encoder.layer.", "blocks."),
    ("attention.attention.", "attention."),
    ("attention.output.dense.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("layernorm.", "norm."),
)

_SIGLIP_NAMES = (
    ("embeddings.patch_embedding.", "patch_embed.proj."),
    ("embeddings.position_embedding.weight", "pos_embed"),
    ("encoder.layers.", "blocks."),
    ("self_attn.out_proj.", "attn.proj."),
    ("layer_norm1.", "norm1."),
    ("layer_norm2.", "norm2."),
    ("post_layernorm.", "norm."),
    ("head.probe", "attn_pool.latent"),
    ("head.attention.out_proj.", "attn_pool.proj."),
    ("head.layernorm.", "attn_pool.norm."),
    ("head.mlp.", "attn_pool.mlp."),
)

_SIGLIP_TEXT_NAMES = (
    ("embeddings.token_embedding.", "token_embedding."),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("encoder.layers.", "transformer.resblocks."),
    ("self_attn.out_proj.", "attn.out_proj."),
    ("layer_norm1.", "ln_1."),
    ("layer_norm2.", "ln_2."),
    ("mlp.fc1.", "mlp.c_fc."),
    ("mlp.fc2.", "mlp.c_proj."),
    ("final_layer_norm.", "ln_final."),
    ("head.", "text_projection."),
)

_ATTENTION_NAMES = (("attn.qkv.", "attn.in_proj_"),)


def same_names(published: StateDict, wanted: StateDict) -> StateDict:
    """The library's own names; a classifier that the model was built without is left out."""
    headless = not any(name.startswith(_HEADS) for name in wanted)
    return {name: tensor for name, tensor in published.items() if not (headless and name.startswith(_HEADS))}


def efficientnet_lite(published: StateDict, wanted: StateDict) -> StateDict:
    """EfficientNet-PyTorch's Lite names: the same tensors in the same order, checked by kind and shape.

    The classifier (`_fc`) is left out.
    """
    tensors = {name: tensor for name, tensor in published.items() if not name.startswith("_fc.")}
    return _in_order(tensors, wanted)


def segment_anything(published: StateDict, wanted: StateDict) -> StateDict:
    """SAM's image encoder; the prompt encoder and the mask decoder are left out."""
    encoder = _below("image_encoder.", published)
    return {name.replace(".mlp.lin", ".mlp.fc"): tensor for name, tensor in encoder.items()}


def open_clip_visual(published: StateDict, wanted: StateDict) -> StateDict:
    """open_clip's image tower; the text tower and the temperature are left out."""
    return _below("visual.", published)


def open_clip_timm(published: StateDict, wanted: StateDict) -> StateDict:
    """open_clip's image tower where timm supplies the trunk; the text tower and the temperature are left out."""
    tower = _below("visual.", published)
    return {name.replace("head.proj.", "projection."): tensor for name, tensor in tower.items()}


def open_clip_trunk(published: StateDict, wanted: StateDict) -> StateDict:
    """open_clip's image tower where timm supplies it whole, projection included; the text tower is left out."""
    return _below("visual.trunk.", published)


def siglip(published: StateDict, wanted: StateDict) -> StateDict:
    """Hugging Face's SigLIP (also SigLIP 2 of fixed resolution): the image tower, whose head is timm's attention pool.

    Queries, keys and values of a block are fused; the head's joint projection is taken apart, since timm's latent query
    has one of its own. The text tower and the temperature are left out.
    """
    tower = _below("vision_model.", published)
    mapped = _renamed({name: tensor for name, tensor in tower.items() if ".in_proj_" not in name}, _SIGLIP_NAMES)
    mapped = _fused(mapped, ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"))
    mapped["pos_embed"] = mapped["pos_embed"][None]
    width = mapped["attn_pool.latent"].shape[-1]
    for kind in ("weight", "bias"):
        joint = tower[f"head.attention.in_proj_{kind}"]
        mapped[f"attn_pool.q.{kind}"], mapped[f"attn_pool.kv.{kind}"] = joint[:width], joint[width:]
    return mapped


def siglip_text(published: StateDict, wanted: StateDict) -> StateDict:
    """Hugging Face's SigLIP (also SigLIP 2): the text tower, under open_clip's names."""
    tower = _renamed(_below("text_model.", published), _SIGLIP_TEXT_NAMES)
    mapped = _fused(tower, ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"))
    return _renamed({name: tensor for name, tensor in mapped.items() if "position_ids" not in name}, _ATTENTION_NAMES)


def open_clip_text(published: StateDict, wanted: StateDict) -> StateDict:
    """open_clip's text tower, which has a prefix or the top to itself; image tower and temperature are left out."""
    prefixed = _below("text.", published)
    return prefixed or {
        name: tensor for name, tensor in published.items() if not name.startswith(("visual.", "logit_"))
    }


def open_clip_bert(published: StateDict, wanted: StateDict) -> StateDict:
    """open_clip's text tower where transformers supplies BERT; its position numbers are left out."""
    return {name: tensor for name, tensor in _below("text.", published).items() if "position_ids" not in name}


def medclip_text(published: StateDict, wanted: StateDict) -> StateDict:
    """MedCLIP's text tower: Hugging Face's BERT, whose pooler and position numbers are left out, and a linear layer."""
    tower = _renamed(_below("text_model.", published), (("model.", "transformer."), ("projection_head.", "proj.")))
    return {name: tensor for name, tensor in tower.items() if ".pooler." not in name and "position_ids" not in name}


def medclip_swin(published: StateDict, wanted: StateDict) -> StateDict:
    """MedCLIP's image tower: Hugging Face's Swin and a linear projection.

    Hugging Face keeps query, key and value apart and downsamples at the end of a stage, timm fuses them and downsamples
    at the start of the next. The text tower, the temperature and the index buffers are left out.
    """
    tower = _below("vision_model.", published)
    projection = {f"projection.{name}": tensor for name, tensor in _below("projection_head.", tower).items()}
    swin = {
        re.sub(r"(\d+)\.downsample", lambda stage: f"{int(stage[1]) + 1}.downsample", name): tensor
        for name, tensor in _renamed(_below("model.", tower), _SWIN_NAMES).items()
        if not name.endswith("relative_position_index")
    }
    return projection | {f"trunk.{name}": tensor for name, tensor in _fused(swin, _QUERY_KEY_VALUE).items()}


def dinov2(published: StateDict, wanted: StateDict) -> StateDict:
    """DINOv2's names, which are timm's; positions are resampled to the model's grid as DINOv2 itself does at that size.

    That is bicubic without antialiasing, with its offset of 0.1 on the grid. Hugging Face's names for the model are
    understood as well. The mask token is left out.
    """
    import torch

    mapped = {name: tensor for name, tensor in published.items() if not name.endswith("mask_token")}
    if "embeddings.cls_token" in mapped:
        mapped = _fused(_renamed(mapped, _DINOV2_NAMES), _QUERY_KEY_VALUE)
    positions = mapped["pos_embed"]
    side, target = (round((count - 1) ** 0.5) for count in (positions.shape[1], wanted["pos_embed"].shape[1]))
    if side != target:
        grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        resampled = torch.nn.functional.interpolate(grid, scale_factor=(target + 0.1) / side, mode="bicubic")
        mapped["pos_embed"] = torch.cat([positions[:, :1], resampled.flatten(2).transpose(1, 2)], dim=1)
    return mapped


def xmir_densenet(published: StateDict, wanted: StateDict) -> StateDict:
    """torchvision's DenseNet, as such or as X-MIR wraps its features; a classifier is left out."""
    plain = {re.sub(r"^densenet121\.0\.", "features.", name): tensor for name, tensor in published.items()}
    return same_names(plain, wanted)


def xrv_densenet(published: StateDict, wanted: StateDict) -> StateDict:
    """TorchXRayVision's DenseNet, whose single channel becomes the mean of three; its thresholds are left out.

    A third of the first convolution's weights on each of three equal channels is what one channel gives.
    """
    mapped = dict(same_names(published, wanted))
    mapped.pop("op_threshs", None)
    mapped["features.conv0.weight"] = mapped["features.conv0.weight"].repeat(1, 3, 1, 1) / 3
    return mapped


def radimagenet_resnet(published: StateDict, wanted: StateDict) -> StateDict:
    """RadImageNet's ResNet: torchvision's children in a `Sequential`, hence numbers for names."""
    children = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    return {
        re.sub(r"^\d+", lambda number: children.get(number[0], number[0]), name): tensor
        for name, tensor in _below("backbone.", published).items()
    }


def _below(prefix: str, state: StateDict) -> StateDict:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _renamed(state: StateDict, names: tuple[tuple[str, str], ...]) -> dict[str, "Tensor"]:
    """The tensors with every left side of `names` in their names replaced by its right side, in that order."""
    renamed = {}
    for name, tensor in state.items():
        for theirs, ours in names:
            name = name.replace(theirs, ours)
        renamed[name] = tensor
    return renamed


def _fused(state: StateDict, parts: tuple[str, str, str]) -> dict[str, "Tensor"]:
    """The tensors with query, key and value, called `parts`, joined under `attn.qkv`."""
    import torch

    query = parts[0]
    fused = {}
    for name, tensor in state.items():
        if f"{query}." in name:
            fused[name.replace(query, "attn.qkv")] = torch.cat([state[name.replace(query, part)] for part in parts])
        elif not any(f"{part}." in name for part in parts):
            fused[name] = tensor
    return fused


def _in_order(published: StateDict, wanted: StateDict) -> StateDict:
    """Pair two state dicts by position; a pair must agree in shape and kind (weight, bias, running_mean, ...)."""
    if len(published) != len(wanted):
        raise EncoderError(f"the checkpoint holds {len(published)} tensors where {len(wanted)} are expected")
    for (theirs, tensor), (ours, place) in zip(published.items(), wanted.items(), strict=True):
        if theirs.rpartition(".")[2] != ours.rpartition(".")[2] or tensor.shape != place.shape:
            raise EncoderError(
                f"the checkpoint has {theirs} {tuple(tensor.shape)} where {ours} {tuple(place.shape)} is expected"
            )
    return dict(zip(wanted, published.values(), strict=True))
