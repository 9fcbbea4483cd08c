"""`prepare` against timm's evaluation transform and torchvision, value for value."""

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from medcbir.encoders import Pixels, get_spec, prepare
from medcbir.errors import UnreadableImageError

HALF = (0.5, 0.5, 0.5)
SHAPES = [
    (512, 512),
    (500, 500),
    (1024, 768),
    (300, 451),
    (451, 300),
    (224, 224),
    (100, 97),
    (64, 1000),
    (256, 256),
    (257, 256),
]


def random_image(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "rgb"])
@pytest.mark.parametrize(
    ("size", "crop", "interpolation", "resize"),
    [
        (224, 0.875, "bicubic", "shortest"),
        (224, 0.9, "bilinear", "shortest"),
        (160, 1.0, "bicubic", "shortest"),
        (224, 0.875, "bilinear", "squash"),
    ],
)
def test_prepare_gives_the_values_of_timms_evaluation_transform(shape, colour, size, crop, interpolation, resize):
    image = random_image((*shape, 3) if colour else shape)
    transform = create_transform(
        (3, size, size),
        interpolation=interpolation,
        crop_pct=crop,
        crop_mode="squash" if resize == "squash" else "center",
        normalize=False,
    )
    expected = transform(Image.fromarray(image).convert("RGB")).permute(1, 2, 0).numpy()

    prepared = prepare(image, Pixels(size, HALF, HALF, interpolation=interpolation, crop=crop, resize=resize))

    assert prepared.dtype == np.uint8
    assert prepared.shape == (size, size, 3)
    np.testing.assert_array_equal(prepared, expected)


def test_grey_is_replicated_over_the_channels():
    prepared = prepare(random_image((80, 90)), Pixels(64, HALF, HALF))
    np.testing.assert_array_equal(prepared[..., 0], prepared[..., 1])
    np.testing.assert_array_equal(prepared[..., 0], prepared[..., 2])


@pytest.mark.parametrize("shape", [(512, 384), (384, 512), (1500, 900), (3, 4000), (1024, 1024)])
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "rgb"])
def test_longest_fits_the_whole_image_and_fills_with_the_mean_colour(shape, colour):
    image = random_image((*shape, 3) if colour else shape)
    scale = 1024 / max(shape)
    height, width = (max(1, int(side * scale + 0.5)) for side in shape)
    expected = Image.fromarray(image).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)

    mean = (0.485, 0.456, 0.406)
    prepared = prepare(image, Pixels(1024, mean, HALF, interpolation="bilinear", resize="longest"))

    np.testing.assert_array_equal(prepared[:height, :width], np.asarray(expected))
    rest = np.concatenate([prepared[height:].reshape(-1, 3), prepared[:, width:].reshape(-1, 3)])
    assert rest.size == 0 or (rest == (124, 116, 104)).all()


def test_a_strip_too_narrow_to_be_resized_is_refused():
    strip = np.zeros((3, 4000), np.uint8)
    with pytest.raises(UnreadableImageError, match="4000 x 3 pixels, too narrow"):
        prepare(strip, get_spec("efficientnet_lite0").pixels)
