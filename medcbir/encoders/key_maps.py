"""From the names in a publisher's file to the library's names, one small function per format.

Each takes the published tensors and the model's own state dict, and returns the published tensors under the model's
names. What a function leaves out, its docstring names; whatever else remains, the loader compares with what the model
wants, name by name and shape by shape.
"""

import re

from medcbir.encoders.spec import StateDict
from medcbir.errors import EncoderError

_HEADS = ("fc.", "head.", "classifier.")

_SWIN_NAMES = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.norm.", "patch_embed.norm."),
    ("encoder.layers.", "layers."),
    ("attention.self.", "attn."),
    ("attention.output.dense.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("layernorm.", "norm."),
)


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


def medclip_swin(published: StateDict, wanted: StateDict) -> StateDict:
    """MedCLIP's image tower: Hugging Face's Swin and a linear projection.

    Hugging Face keeps query, key and value apart and downsamples at the end of a stage, timm fuses them and downsamples
    at the start of the next. The text tower, the temperature and the index buffers are left out.
    """
    import torch

    tower = _below("vision_model.", published)
    swin = {_swin_name(name): tensor for name, tensor in _below("model.", tower).items()}
    mapped = {f"projection.{name}": tensor for name, tensor in _below("projection_head.", tower).items()}
    for name, tensor in swin.items():
        if ".query." in name:
            fused = torch.cat([swin[name.replace(".query.", f".{part}.")] for part in ("query", "key", "value")])
            mapped["trunk." + name.replace(".query.", ".qkv.")] = fused
        elif not re.search(r"\.(key|value)\.|relative_position_index$", name):
            mapped[f"trunk.{name}"] = tensor
    return mapped


def dinov2(published: StateDict, wanted: StateDict) -> StateDict:
    """DINOv2's names, which are timm's; positions are resampled to the model's grid as DINOv2 itself does at that size.

    That is bicubic without antialiasing, with its offset of 0.1 on the grid. The mask token is left out.
    """
    import torch

    mapped = {name: tensor for name, tensor in published.items() if name != "mask_token"}
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


def _below(prefix: str, state: StateDict) -> StateDict:
    """The tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _swin_name(name: str) -> str:
    """timm's name for one of Hugging Face's Swin."""
    for theirs, ours in _SWIN_NAMES:
        name = name.replace(theirs, ours)
    return re.sub(r"(\d+)\.downsample", lambda stage: f"{int(stage[1]) + 1}.downsample", name)


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
