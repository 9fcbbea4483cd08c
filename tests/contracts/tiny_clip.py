"""A model as open_clip publishes it, but tiny: a folder with its configuration and random weights, for plumbing."""

import json
from pathlib import Path

import open_clip
import torch
from random_weights import filled

CONFIG = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 160,
        },
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
        "custom_text": True,
    },
    "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
}


def write(folder: Path) -> None:
    """Write open_clip_config.json and open_clip_pytorch_model.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    model = {name: part for name, part in CONFIG["model_cfg"].items() if name != "custom_text"}
    torch.save(filled(lambda: open_clip.CustomTextCLIP(**model)).state_dict(), folder / "open_clip_pytorch_model.bin")
