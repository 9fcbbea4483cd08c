"""What a model sees of real images, against the publisher's own processor, value by value.

The processors of transformers run on Pillow, as all did when the encoders were published; today's default, on tensors,
differs from them by more than we do. What some publishers do otherwise is in docs/encoders.md.
"""

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
import transformers
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

from medcbir.encoders import SPECS, EncoderSpec, prepare
from medcbir.pixels import open_image

Processor = Callable[[Image.Image], torch.Tensor]
"""RGB image -> normalised pixels (3, size, size)."""

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
PYDICOM_DATA = Path(importlib.util.find_spec("data_store").origin).parent / "data"
IMAGES = (
    PYDICOM / "CT_small.dcm",  # 128 x 128, 16 bits, signed
    PYDICOM / "MR_small.dcm",  # 64 x 64, 16 bits
    PYDICOM / "examples_overlay.dcm",  # 300 x 484, 12 bits
    PYDICOM / "examples_palette.dcm",  # 350 x 800, colour
    PYDICOM / "examples_rgb_color.dcm",  # 240 x 320, colour
    PYDICOM / "image_dfl.dcm",  # 512 x 512, 8 bits
    PYDICOM_DATA / "RG1_UNCR.dcm",  # 1955 x 1841, 15 bits, MONOCHROME1
    PYDICOM_DATA / "OBXXXX1A.dcm",  # 600 x 800, colour
)


@lru_cache
def real_images() -> list[np.ndarray]:
    images = [open_image(path).frame(0) for path in IMAGES]
    return [*images, images[-1][:518, :525]]  # whose margins are odd: centring rounds them one way or the other


def from_transformers(processor: type, **options: object) -> Processor:
    configured = processor(**options)
    return lambda image: torch.as_tensor(np.asarray(configured(image)["pixel_values"][0]))


def from_open_clip(**options: object) -> Processor:
    return image_transform_v2(PreprocessCfg(**options), is_train=False)


def squashed(size: int, resample: int, mean: tuple[float, ...], std: tuple[float, ...], kind: type) -> Processor:
    return from_transformers(
        kind, size={"height": size, "width": size}, resample=resample, image_mean=list(mean), image_std=list(std)
    )


def cropped(shortest: int, size: int, mean: tuple[float, ...], std: tuple[float, ...], kind: type) -> Processor:
    return from_transformers(
        kind,
        size={"shortest_edge": shortest},
        crop_size={"height": size, "width": size},
        resample=Image.Resampling.BICUBIC,
        image_mean=list(mean),
        image_std=list(std),
    )


HALF = (0.5,) * 3
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BILINEAR = Image.Resampling.BILINEAR

PROCESSORS: dict[str, Callable[[], Processor]] = {
    "resnet50": lambda: ResNet50_Weights.IMAGENET1K_V1.transforms(),
    "vit_class_token": lambda: squashed(224, BILINEAR, HALF, HALF, transformers.ViTImageProcessorPil),
    "sam": lambda: from_transformers(transformers.SamImageProcessorPil),
    "medsam": lambda: from_transformers(transformers.SamImageProcessorPil),
    "clip": lambda: from_open_clip(**only_pixels("ViT-L-14", "openai")),
    "medclip": lambda: cropped(224, 224, (0.5862785803,) * 3, (0.2795008897,) * 3, transformers.CLIPImageProcessorPil),
    "biomedclip": lambda: from_open_clip(size=224),
    "mae": lambda: squashed(224, BILINEAR, *IMAGENET, transformers.ViTImageProcessorPil),
    "dinov2": lambda: cropped(256, 224, *IMAGENET, transformers.BitImageProcessorPil),
    "rad_dino": lambda: cropped(518, 518, (0.5307,) * 3, (0.2583,) * 3, transformers.BitImageProcessorPil),
    "medsiglip": lambda: squashed(448, BILINEAR, HALF, HALF, transformers.SiglipImageProcessorPil),
    "siglip2": lambda: squashed(224, BILINEAR, HALF, HALF, transformers.SiglipImageProcessorPil),
    "pe_core": lambda: from_open_clip(**only_pixels("PE-Core-B-16", "meta")),
    "dinov3": lambda: v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((256, 256), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*IMAGENET),
        ]
    ),
}

LEVELS = {"sam": 0.5, "medsam": 0.5, "dinov3": 1.0}
"""Grey levels of 255 by which a pixel may differ: SAM's margin is the mean colour, which 8 bits round; DINOv3's own
transform resizes tensors instead of Pillow images, which rounds otherwise. All others are exact."""


def only_pixels(name: str, tag: str) -> dict[str, object]:
    config = get_pretrained_cfg(name, tag)
    return {"size": 224} | {
        key: config[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in config
    }


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_model_sees_what_its_publishers_processor_shows_it(name):
    spec, processor = SPECS[name], PROCESSORS[name]()
    differences = [grey_levels_apart(image, spec, processor) for image in real_images()]
    assert max(differences) <= LEVELS.get(name, 0) + 1e-3, differences


def grey_levels_apart(image: np.ndarray, spec: EncoderSpec, processor: Processor) -> float:
    """The largest difference of a pixel, in levels of 255, after taking the publisher's normalisation back by ours.

    So a difference of mean or standard deviation counts as well.
    """
    mean, std = (np.array(values, np.float64)[:, None, None] for values in (spec.pixels.mean, spec.pixels.std))
    theirs = processor(Image.fromarray(image).convert("RGB")).double().numpy()
    ours = prepare(image, spec.pixels).transpose(2, 0, 1)
    assert theirs.shape == ours.shape
    return float(np.abs((theirs * std + mean) * 255 - ours).max())
