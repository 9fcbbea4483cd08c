import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medcbir.errors import NotAnImageError, UnreadableImageError
from medcbir.pixels import open_image, pixel_sha256

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_a_16_bit_png_keeps_all_its_greys(tmp_path):
    shown = open_image(saved(tmp_path, Image.fromarray(RAMP))).frame(0)
    wanted = RAMP.astype(np.float64) / 65535 * 255
    assert np.abs(shown - wanted).max() <= 0.5 + 1e-9
    assert len(np.unique(shown)) == 256


def test_a_12_bit_image_in_16_bits_is_stretched_over_its_own_range(tmp_path):
    pixels = (RAMP // 16 + 100).astype(np.uint16)
    for name in ("image.png", "image.tif"):
        shown = open_image(saved(tmp_path, Image.fromarray(pixels), name)).frame(0)
        assert (shown.min(), shown.max()) == (0, 255)


def test_16_bits_that_hold_8_bit_values_stay_as_they_are(tmp_path):
    pixels = (RAMP % 200).astype(np.uint16)
    assert np.array_equal(open_image(saved(tmp_path, Image.fromarray(pixels))).frame(0), pixels)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_deep_tiffs_are_scaled_not_clipped(tmp_path, dtype):
    pixels = np.linspace(-500, 3000, 4096).astype(dtype).reshape(64, 64)
    shown = open_image(saved(tmp_path, Image.fromarray(pixels), "deep.tif")).frame(0)
    wanted = (pixels.astype(np.float64) - pixels.min()) / np.ptp(pixels.astype(np.float64)) * 255
    assert np.abs(shown - wanted).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("value", [0, 300, 65535])
def test_a_constant_deep_image_is_one_grey(tmp_path, value):
    shown = open_image(saved(tmp_path, Image.fromarray(np.full((9, 9), value, np.uint16)))).frame(0)
    assert set(shown.ravel().tolist()) == {0}


def test_a_tiff_whose_white_is_zero_is_inverted(tmp_path):
    file = saved(tmp_path, Image.fromarray(RAMP), "white.tif", tiffinfo={262: 0})
    with Image.open(file) as written:
        assert written.tag_v2[262] == 0
    shown = open_image(file).frame(0)
    assert (shown[0, 0], shown[-1, -1]) == (255, 0)


@pytest.mark.parametrize(("mode", "shape"), [("L", (5, 7)), ("1", (5, 7)), ("RGB", (5, 7, 3)), ("P", (5, 7, 3))])
def test_plain_modes_show_white_as_white(tmp_path, mode, shape):
    shown = open_image(saved(tmp_path, Image.new("RGB", (7, 5), "white").convert(mode))).frame(0)
    assert shown.shape == shape
    assert (shown == 255).all()


def test_cmyk_becomes_rgb(tmp_path):
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    shown = open_image(saved(tmp_path, red, "ink.tif")).frame(0)
    assert shown[0, 0].tolist() == [255, 0, 0]


def test_transparency_lies_on_black(tmp_path):
    rgba = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    rgba.putpixel((1, 0), (200, 100, 50, 0))
    assert open_image(saved(tmp_path, rgba)).frame(0).tolist() == [[[200, 100, 50], [0, 0, 0]]]
    grey = Image.new("LA", (2, 1), (200, 255))
    grey.putpixel((1, 0), (200, 0))
    assert open_image(saved(tmp_path, grey)).frame(0).tolist() == [[200, 0]]


def test_the_exif_orientation_is_applied(tmp_path):
    image = Image.new("L", (30, 10), 0)
    image.paste(255, (0, 0, 15, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    shown = open_image(saved(tmp_path, image, "photo.png", exif=exif)).frame(0)
    assert shown.shape == (30, 10)
    assert shown[:15].all()
    assert not shown[15:].any()


def test_pages_of_a_tiff_are_frames(tmp_path):
    pages = [Image.new("L", (4 + page, 4), 40 * page) for page in range(4)]
    image = open_image(saved(tmp_path, pages[0], "pages.tif", save_all=True, append_images=pages[1:]))
    assert image.n_frames == 4
    assert [frame.shape for frame in image.frames()] == [(4, 4), (4, 5), (4, 6), (4, 7)]
    assert [int(image.frame(page)[0, 0]) for page in (3, 0, 2)] == [120, 0, 80]


def test_content_counts_not_the_name(tmp_path):
    file = saved(tmp_path, Image.new("L", (4, 4), 9))
    assert open_image(file.rename(tmp_path / "image.dcm")).frame(0)[0, 0] == 9


@pytest.mark.parametrize(
    ("name", "content", "error", "reason"),
    [
        ("notes.txt", b"no image at all", NotAnImageError, "no image"),
        ("notes.png", b"no image at all", UnreadableImageError, "is named .png and holds no image"),
        ("nothing.png", b"", UnreadableImageError, "is empty"),
        ("nothing", b"", NotAnImageError, "is empty"),
        ("start", b"\x89PNG\r\n\x1a\n" + bytes(9), UnreadableImageError, "damaged image"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", NotAnImageError, "no image"),
    ],
)
def test_what_is_no_image_says_so(tmp_path, name, content, error, reason):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(error, match=reason):
        open_image(file)


def test_a_vanished_file_is_unreadable(tmp_path):
    with pytest.raises(UnreadableImageError, match="No such file"):
        open_image(tmp_path / "gone.png")


@pytest.mark.parametrize("name", ["noise.png", "noise.jpg", "noise.tif", "noise.bmp", "noise.webp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused_not_filled_up(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = saved(tmp_path, Image.fromarray(noise), name)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableImageError):
        open_image(file).frame(0)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    file = saved(tmp_path, Image.new("1", (20_000, 20_000)))
    with pytest.raises(UnreadableImageError, match="20000 x 20000 pixels, more than the limit"):
        open_image(file)
    with pytest.raises(UnreadableImageError, match="limit of 100"):
        open_image(saved(tmp_path, Image.new("L", (11, 10)), "small.png"), max_pixels=100)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_raises_anything_but_a_reason(tmp_path, data):
    name = data.draw(st.sampled_from(["a.png", "a.tif", "a.gif", "a.jpg"]))
    file = saved(tmp_path, Image.fromarray(RAMP.astype(np.uint8)), name)
    content = bytearray(file.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=20)):
        content[at] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    reason = ""
    try:
        shown = open_image(file, max_pixels=1_000_000).frame(0)
    except (UnreadableImageError, NotAnImageError) as error:
        reason = str(error)
        assert reason
    else:
        assert shown.dtype == np.uint8
    assert str(tmp_path) not in reason


def test_equal_images_have_equal_digests_whatever_their_file(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4), dtype=np.uint8)
    digests = {
        pixel_sha256(open_image(saved(tmp_path, Image.fromarray(pixels), name)).frame(0))
        for name in ("a.png", "a.tif", "a.bmp")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 32
    assert pixel_sha256(pixels) != pixel_sha256(pixels.reshape(4, 6))
    assert pixel_sha256(pixels) == pixel_sha256(np.asfortranarray(pixels))
