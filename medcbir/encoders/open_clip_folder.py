"""A model as open_clip publishes it: a folder with open_clip_config.json, a checkpoint and perhaps a tokenizer.

open_clip itself asks the hub for the text tower of such a model even where only its images are wanted; here nothing is
asked of anyone.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcbir.encoders import key_maps
from medcbir.encoders.spec import Checkpoint, EncoderSpec, Pixels, TextPooling, TextTower, Tokenizer
from medcbir.errors import EncoderError

_CONFIG = "open_clip_config.json"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # open_clip's own defaults
_POOLING: dict[str, TextPooling] = {"cls_last_hidden_state_pooler": "class_token"}


def read_folder(folder: Path, *, sha256: str | None = None, **about: Any) -> EncoderSpec:
    """The spec of the model in `folder`; `about` has what open_clip's configuration does not tell, by its name.

    `EncoderError` names the file and what is wrong with it. A text tower comes along where it is open_clip's own with
    CLIP's tokenizer, or BERT.
    """
    file = folder / _CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EncoderError(f"{about['origin']}: architecture: cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise EncoderError(f"{file} is no JSON: {error}") from None
    model = _table(config, "model_cfg", file)
    vision = {**_table(model, "vision_cfg", file), "timm_model_pretrained": False}
    dim = model.get("embed_dim")
    if not isinstance(dim, int) or not 0 < dim <= 16_000:
        raise EncoderError(f"{file}: model_cfg.embed_dim must be a number from 1 to 16000, not {dim!r}")
    if not re.fullmatch(r"[\w.-]*", str(vision.get("timm_model_name") or "")):
        raise EncoderError(f"{file}: model_cfg.vision_cfg.timm_model_name is no architecture of timm")
    towers = {"embed_dim": dim, "vision_cfg": vision, "quick_gelu": bool(model.get("quick_gelu"))}
    return EncoderSpec(
        architecture=str(vision.get("timm_model_name") or "open_clip"),
        library="open_clip",
        dim=dim,
        checkpoint=Checkpoint(
            str(folder / "open_clip_model.safetensors"),
            source=f"where {folder} is from",
            keys=key_maps.open_clip_visual,
            sha256=sha256,
        ),
        pixels=_pixels(vision, config.get("preprocess_cfg") or {}, file),
        output="projected",
        text=_text_tower(folder, dim, towers, model.get("text_cfg") or {}),
        config=towers,
        **about,
    )


def _table(parent: Any, name: str, file: Path) -> dict[str, Any]:
    found = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(found, dict):
        raise EncoderError(f"{file} has no {name}, so it is not open_clip's")
    return found


def _pixels(vision: Mapping[str, Any], processing: Mapping[str, Any], file: Path) -> Pixels:
    size = vision.get("image_size", 224)
    size = size[0] if isinstance(size, list) and len(set(size)) == 1 else size
    resize = processing.get("resize_mode", "shortest")
    interpolation = processing.get("interpolation", "bicubic")
    if (
        not isinstance(size, int)
        or resize not in {"shortest", "squash"}
        or interpolation not in {"bicubic", "bilinear"}
    ):
        raise EncoderError(
            f"{file}: images of {size!r} pixels, resized by {resize!r} and {interpolation!r}: what can be done is one "
            "number of pixels, 'shortest' or 'squash', and 'bicubic' or 'bilinear'"
        )
    mean, std = (tuple(map(float, processing.get(name, usual))) for name, usual in (("mean", _MEAN), ("std", _STD)))
    if len(mean) != 3 or len(std) != 3:
        raise EncoderError(f"{file}: preprocess_cfg.mean and std must have three numbers each")
    return Pixels(size, mean, std, interpolation, resize=resize)


def _text_tower(folder: Path, dim: int, towers: Mapping[str, Any], text: Mapping[str, Any]) -> TextTower | None:
    """None where nothing here can read that tower's words."""
    length = text.get("context_length", 77)
    if "hf_model_name" in text:
        pooling = _POOLING.get(text.get("hf_pooler_type", "mean_pooler"))
        width = 768
        projections = {"mlp": ((width + dim) // 2, dim), "linear": (dim,)}
        projection = projections.get(text.get("hf_proj_type", "mlp"))
        if pooling is None or projection is None:
            return None
        file = folder / "tokenizer.json"
        return TextTower(
            "bert",
            keys=key_maps.open_clip_bert,
            pooling=pooling,
            projection=projection,
            tokenizer=Tokenizer(
                length,
                file=str(file if file.exists() or not (folder / "vocab.txt").exists() else folder / "vocab.txt"),
                source=f"https://huggingface.co/{text.get('hf_tokenizer_name', text['hf_model_name'])}",
                begin="[CLS]",
                end="[SEP]",
                pad="[PAD]",
            ),
        )
    if not text or "hf_tokenizer_name" in text or "tokenizer_kwargs" in text:
        return None
    return TextTower(
        "open_clip",
        keys=key_maps.open_clip_text,
        tokenizer=Tokenizer(length),
        config={**towers, "text_cfg": dict(text)},
    )
