import sys

import numpy as np
import pytest

from medcbir.errors import UnreadableImageError
from medcbir.pixels import open_image

nibabel = pytest.importorskip("nibabel")


def volume() -> np.ndarray:
    """(right, anterior, superior) = (6, 5, 4): right brighter than left, right anterior brightest, slices distinct."""
    voxels = np.full((6, 5, 4), 10, np.int16)
    voxels[3:] = 100
    voxels[5, 4] = 200
    return voxels + np.arange(4, dtype=np.int16)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SLA"])
def test_slices_are_shown_as_a_radiologist_expects_whatever_the_storage(tmp_path, suffix, axes):
    canonical = nibabel.Nifti1Image(volume(), np.diag([1.0, 2.0, 3.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes)
    )
    path = tmp_path / f"volume{suffix}"
    nibabel.save(canonical.as_reoriented(turn), path)
    image = open_image(path)
    assert image.n_frames == 4
    first = image.frame(0)
    assert first.shape == (5, 6)
    assert first[0, 0] > 250  # the patient's right is left, anterior is up
    assert first[4, 0] > first[4, 5]
    corners = [int(frame[4, 0]) for frame in image.frames()]
    assert corners == sorted(corners)  # from foot to head, in one window
    assert corners[0] < corners[-1]


def test_scaled_and_later_volumes_are_read(tmp_path):
    series = np.stack([volume(), volume() * 3], axis=-1)
    image = nibabel.Nifti1Image(series, np.eye(4))
    image.header.set_slope_inter(2.0, -7.0)
    path = tmp_path / "series.nii"
    nibabel.save(image, path)
    opened = open_image(path)
    assert opened.n_frames == 8
    assert opened.frame(4)[0, 0] > 250


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_volume_is_refused(tmp_path, suffix):
    path = tmp_path / f"volume{suffix}"
    noise = np.random.default_rng(0).integers(0, 9999, (16, 16, 16)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UnreadableImageError, match="cut short or damaged"):
        open_image(path).frame(15)


def test_the_limit_holds_for_the_volume(tmp_path):
    path = tmp_path / "volume.nii"
    nibabel.save(nibabel.Nifti1Image(volume(), np.eye(4)), path)
    assert open_image(path, max_pixels=120).n_frames == 4
    with pytest.raises(UnreadableImageError, match="limit of 119"):
        open_image(path, max_pixels=119)


def test_without_nibabel_the_reason_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "volume.nii"
    nibabel.save(nibabel.Nifti1Image(volume(), np.eye(4)), path)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UnreadableImageError, match=r"pip install \"medcbir\[demo\]\""):
        open_image(path)
