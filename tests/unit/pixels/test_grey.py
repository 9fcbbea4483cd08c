import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medcbir.pixels.grey import Linear, Lookup, Rendition, Window, render, to_eight_bits


def by_the_standard(x: float, centre: float, width: float, function: str) -> float:
    """PS3.3 C.11.2.1.2.1 and C.11.2.1.3, for an output from 0 to 255, one value at a time."""
    if function == "LINEAR":
        if x <= centre - 0.5 - (width - 1) / 2:
            return 0.0
        if x > centre - 0.5 + (width - 1) / 2:
            return 255.0
        return ((x - (centre - 0.5)) / (width - 1) + 0.5) * 255
    if function == "LINEAR_EXACT":
        if x <= centre - width / 2:
            return 0.0
        if x > centre + width / 2:
            return 255.0
        return ((x - centre) / width + 0.5) * 255
    return 255 / (1 + math.exp(-4 * (x - centre) / width))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (0.5, 3.25), (-2.0, 100.0)])
def test_rescale_and_window_are_those_of_the_standard(function, slope, intercept):
    stored = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
    shown = render(stored, Rendition(Linear(slope, intercept), Window(40, 400, function)))
    wanted = [by_the_standard(float(x) * slope + intercept, 40, 400, function) for x in stored.ravel()]
    assert shown.dtype == np.uint8
    assert np.abs(shown.ravel() - np.array(wanted)).max() <= 0.5 + 1e-9
    assert (shown.min(), shown.max()) == (0, 255)


def test_a_linear_window_of_width_1_is_a_threshold():
    shown = render(np.array([[99, 100, 101]], np.int16), Rendition(voi=Window(100.5, 1, "LINEAR")))
    assert shown.tolist() == [[0, 0, 255]]


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32]),
        st.tuples(st.integers(1, 20), st.integers(1, 20)),
    ),
    st.floats(-5000, 5000),
    st.floats(1.5, 5000),
)
def test_table_and_direct_arithmetic_agree(stored, centre, width):
    rendition = Rendition(Linear(0.5, 10), Window(centre, width, "LINEAR"))
    direct = render(stored.astype(np.float64), rendition)
    assert np.array_equal(render(stored, rendition), direct)
    many = np.tile(stored, (1, 200))  # more pixels than values, so that a table is used wherever the range is small
    assert np.array_equal(render(many, rendition), np.tile(direct, (1, 200)))


def test_extreme_signed_values_do_not_overflow():
    stored = np.array([-32768, 0, 32767], np.int16).repeat(30000).reshape(300, 300)
    shown = render(stored, Rendition(full_range=(-32768, 32767)))
    assert sorted(set(shown.ravel().tolist())) == [0, 128, 255]


def test_monochrome1_is_the_negative():
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    shown = render(stored, Rendition(full_range=(0, 255), inverted=True))
    assert np.array_equal(shown, 255 - stored)


def test_without_a_window_the_bulk_of_the_frame_fills_the_grey_scale():
    stored = np.linspace(1000, 2000, 10000).astype(np.uint16)
    stored[0] = 65535  # one hot pixel must not leave the rest black
    shown = render(stored.reshape(100, 100), Rendition())
    assert shown[0, 0] == 255
    assert 126 <= shown[50, 50] <= 130


def test_padding_is_black_and_does_not_widen_the_window():
    stored = np.linspace(0, 1000, 10000).astype(np.int16).reshape(100, 100)
    stored[:40] = -2000
    for inverted in (False, True):
        shown = render(stored, Rendition(padding=(-2000, -2000), inverted=inverted))
        assert not shown[:40].any()
        assert np.ptp(shown[40:].astype(int)) == 255


def test_values_that_are_not_finite_are_black():
    stored = np.array([[0.0, 0.5, 1.0], [math.nan, math.inf, -math.inf]], np.float32)
    assert render(stored, Rendition()).tolist() == [[0, 128, 255], [0, 0, 0]]


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_frame_is_one_grey(value):
    assert set(render(np.full((8, 8), value, np.uint16), Rendition()).ravel().tolist()) == {0}


def test_a_lookup_extends_its_ends():
    lookup = Lookup(10, np.array([5.0, 6.0, 7.0]))
    assert lookup(np.array([-3.0, 10, 11, 12, 99])).tolist() == [5, 5, 6, 7, 7]


@pytest.mark.parametrize("bits", [1, 5, 10, 12, 16, 32])
def test_depths_scale_to_the_whole_of_eight_bits(bits):
    values = np.array([0, 2**bits - 1], np.uint32)
    assert to_eight_bits(values, bits).tolist() == [0, 255]
