"""The architectures of timm, open_clip and transformers, built with random weights from a spec."""

import difflib
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import open_clip
import timm
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from medcbir.encoders.spec import EncoderSpec, Output, Projection, TextTower
from medcbir.errors import EncoderError

_HEADS: dict[Output, dict[str, Any]] = {
    "pooled": {"num_classes": 0},
    "class_token": {"num_classes": 0, "global_pool": "token"},
    "neck_mean": {"num_classes": 0, "global_pool": "avg"},
}
"""Arguments of timm's constructor for each output; what is not here keeps the classifier."""

_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 64, "heads": 1, "layers": 1}
_NO_IMAGES = {"image_size": 1, "patch_size": 1, "width": 64, "layers": 1}
"""The smallest towers that open_clip builds, where only the other one is used."""


_DRAWING = {"normal_", "uniform_", "trunc_normal_", "erfinv_"}


class NothingDrawn(TorchFunctionMode):
    """While it is entered, models are built with zeros where random numbers would be drawn, for a checkpoint to fill.

    That saves most of the time which building takes.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Zeros also lie within the limits of those that draw again until all numbers do."""
        if getattr(func, "__name__", "") in _DRAWING:
            tensor: torch.Tensor = args[0] if args else kwargs["tensor"]
            tensor.detach().zero_()
            return tensor
        return func(*args, **(kwargs or {}))


def build_model(spec: EncoderSpec) -> nn.Module:
    """The image tower of `spec`: (n, 3, size, size) float32 -> (n, dim), before any softmax.

    Raises `EncoderError` where an encoder that medcbir does not bring along asks for what its library does not have.
    """
    try:
        return _image_tower(spec)
    except (RuntimeError, TypeError, ValueError, AssertionError, AttributeError) as error:
        if spec.origin is None:
            raise
        raise EncoderError(
            f"{spec.origin}: {spec.library} cannot build {spec.architecture}"
            f"{f' with {dict(spec.options)}' if spec.options else ''}: {' '.join(str(error).split())}"
        ) from None


def _image_tower(spec: EncoderSpec) -> nn.Module:
    if spec.library == "open_clip":
        config = _open_clip_config(spec)
        vision = {**config["vision_cfg"], **spec.options}
        clip = open_clip.CLIP(config["embed_dim"], vision, _NO_TEXT, quick_gelu=config.get("quick_gelu", False))
        visual: nn.Module = clip.visual
        return visual
    if not timm.is_model(spec.architecture):
        raise _unknown(spec.architecture, timm.list_models())
    head = _HEADS.get(spec.output, {"num_classes": spec.dim}) if isinstance(spec.output, str) else {"num_classes": 0}
    model: nn.Module = timm.create_model(spec.architecture, **{**head, **spec.options})
    if isinstance(spec.output, Projection):
        projection = nn.Linear(spec.output.inputs, spec.output.outputs, bias=spec.output.bias)
        return nn.Sequential(OrderedDict(trunk=model, projection=projection))
    return model


def build_text_model(tower: TextTower) -> nn.Module:
    """The text tower: token numbers (n, length) int64 -> (n, dim). `EncoderError` where BERT is not installed."""
    if tower.architecture == "bert":
        return BertTower(tower)
    config = _open_clip_config(tower)
    words = {**config["text_cfg"], **tower.options}
    clip = open_clip.CustomTextCLIP(config["embed_dim"], _NO_IMAGES, words, quick_gelu=config.get("quick_gelu", False))
    text: nn.Module = clip.text
    return text


def _open_clip_config(wanted: EncoderSpec | TextTower) -> Mapping[str, Any]:
    config: Mapping[str, Any] | None = wanted.config or open_clip.get_model_config(wanted.architecture)
    if config is None:
        raise _unknown(wanted.architecture, open_clip.list_models())
    return config


def _unknown(name: str, names: list[str]) -> ValueError:
    near = ", ".join(difflib.get_close_matches(name, names))
    return ValueError(f"it has none of that name{f'; near are {near}' if near else ''}")


class BertTower(nn.Module):
    """BERT, pooled and projected as `tower` says; the number 0 is padding, which is not attended to."""

    def __init__(self, tower: TextTower) -> None:
        try:
            import transformers
        except ImportError:
            raise EncoderError(
                "this text tower is BERT, which needs the package transformers: install medcbir[text]"
            ) from None
        super().__init__()
        config = transformers.BertConfig(**tower.options)
        self.transformer = transformers.BertModel(config, add_pooling_layer=False)
        self.pooling = tower.pooling
        widths = (config.hidden_size, *tower.projection)
        layers = [nn.Linear(*pair, bias=False) for pair in pairwise(widths)]
        between = [layer for linear in layers for layer in (linear, nn.GELU())][:-1]
        self.proj = between[0] if len(between) == 1 else nn.Sequential(*between)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors (n, width) of token numbers (n, length)."""
        out = self.transformer(tokens, attention_mask=(tokens != 0).long(), output_hidden_states=True)
        if self.pooling == "class_token":
            pooled = out.last_hidden_state[:, 0]
        else:  # MedCLIP's: over all tokens, of the layers 1, 2 and last
            layers = [out.hidden_states[layer] for layer in (1, 2, -1)]
            pooled = torch.stack(layers).mean(dim=(0, 2))
        vectors: torch.Tensor = self.proj(pooled)
        return vectors
