"""An encoder of a user's own, `tiny`: timm's smallest ViT with random weights, for plumbing."""

from pathlib import Path

import safetensors.torch
import timm
import torch

DESCRIBED = """
architecture = "test_vit"
dim = 64
checkpoint = "tiny.safetensors"
output = "class_token"
pixels = {size = 160, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5]}
"""


def write(folder: Path, seed: int) -> None:
    """Write tiny.toml and tiny.safetensors, whose weights are drawn by `seed`."""
    (folder / "tiny.toml").write_text(DESCRIBED)
    torch.manual_seed(seed)
    model = timm.create_model("test_vit", num_classes=0, global_pool="token")
    safetensors.torch.save_file(model.state_dict(), folder / "tiny.safetensors")
