"""Voxels against their definition: bin(t) = floor(t * K / n), row 0 on top."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikevrt_kernels.voxelize import frames_per_bin, unpack_frames, voxelize
from spikevrt_kernels.voxelize.reference import bin_edges, bin_of_frame, voxelize_reference


def defined(frames: np.ndarray, bins: int) -> np.ndarray:
    n = len(frames)
    counts = np.zeros((bins, *frames.shape[1:]), np.int64)
    for t in range(n):
        counts[t * bins // n] += frames[t]
    return counts


def stored(frames: np.ndarray, packed: bool, flip: bool) -> np.ndarray:
    rows = frames[:, ::-1] if flip else frames
    flat = rows.reshape(len(frames), -1)
    return np.packbits(flat, axis=1, bitorder="little") if packed else np.ascontiguousarray(flat)


@st.composite
def cases(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9)) * 8
    if draw(st.booleans()):
        height, width = width, height  # rows that start inside a byte
    n, bins = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    crop = (top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))
    return (n, height, width), bins, crop, draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 2**31))


@st.composite
def wide_cases(draw):
    """Blocks of 256 pixels, rows that start at any bit, and every number of counter planes."""
    width = draw(st.integers(1, 700))
    height = draw(st.integers(1, 3)) * 8 // np.gcd(width, 8)
    left, right = draw(st.integers(0, width - 1)), draw(st.integers(0, 20))
    drop = (left, min(right, width - left - 1))
    visible = width - sum(drop)
    x = draw(st.integers(0, visible - 1))
    crop = (draw(st.integers(0, height - 1)), x, 1, draw(st.integers(1, visible - x)))
    n = draw(st.one_of(st.integers(1, 40), st.integers(1, 300)))
    return (n, int(height), width), draw(st.integers(1, 12)), drop, crop, draw(st.booleans()), draw(st.integers(0, 99))


@settings(max_examples=150, deadline=None)
@given(wide_cases())
def test_rows_of_any_width_with_columns_to_drop(case):
    shape, bins, drop, crop, flip, seed = case
    frames = np.random.default_rng(seed).integers(0, 2, shape, dtype=np.uint8)
    top, left, h, w = crop
    wanted = defined(frames[:, :, drop[0] : shape[2] - drop[1]], bins)[:, top : top + h, left : left + w]
    for packed in (True, False):
        counts = voxelize(stored(frames, packed, flip), *shape[1:], bins, packed, flip, crop, drop)
        np.testing.assert_array_equal(counts, wanted)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "uint8"])
@pytest.mark.parametrize("frames", [3, 5, 20, 511, 530], ids=lambda n: f"n{n}")
def test_bins_of_any_length_are_counted(frames, packed):
    """511 frames in two bins: one of 256, whose counts take two bytes, and one of 255."""
    bins, spikes = 2 if frames > 100 else 4, np.random.default_rng(1).random((frames, 4, 330)) < 0.9
    counts = voxelize(stored(spikes.astype(np.uint8), packed, True), 4, 330, bins, packed)
    assert counts.dtype == (np.uint16 if frames > 500 else np.uint8)
    np.testing.assert_array_equal(counts, defined(spikes, bins))


def test_bytes_above_one_are_refused_inside_the_crop_alone():
    frames = np.zeros((6, 2, 8), np.uint8)
    frames[4, 0, 5] = 2
    with pytest.raises(ValueError, match="bytes above 1"):
        voxelize(stored(frames, False, True), 2, 8, 3, packed=False)
    assert voxelize(stored(frames, False, True), 2, 8, 3, packed=False, crop=(1, 0, 1, 8)).sum() == 0


@given(st.integers(0, 400), st.integers(1, 50))
def test_bins_start_where_the_definition_says(frames, bins):
    edges = bin_edges(frames, bins)
    assert (np.diff(edges) == frames_per_bin(frames, bins)).all()
    assert (np.repeat(np.arange(bins), np.diff(edges)) == bin_of_frame(frames, bins)).all()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_counts_equal_the_definition(case):
    shape, bins, (top, left, h, w), packed, flip, seed = case
    frames = np.random.default_rng(seed).integers(0, 2, shape, dtype=np.uint8)
    counts = voxelize(stored(frames, packed, flip), *shape[1:], bins, packed, flip, (top, left, h, w))
    wanted = defined(frames, bins)[:, top : top + h, left : left + w]
    np.testing.assert_array_equal(counts, wanted)
    np.testing.assert_array_equal(voxelize_reference(frames, bins, (top, left, h, w)), wanted)
    if packed:
        np.testing.assert_array_equal(unpack_frames(stored(frames, True, flip), *shape[1:], flip), frames)
    assert frames_per_bin(len(frames), bins).sum() == len(frames)


def test_fewer_frames_than_bins_leave_bins_empty():
    frames = np.ones((3, 1, 8), np.uint8)
    counts = voxelize(stored(frames, True, False), 1, 8, 5, flip=False)
    assert counts[:, 0, 0].tolist() == [1, 1, 0, 1, 0]
    assert frames_per_bin(3, 5).tolist() == [1, 1, 0, 1, 0]


@pytest.mark.parametrize(("frames", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_a_bin_of_many_frames_does_not_overflow(frames, dtype):
    counts = voxelize(np.full((frames, 1), 255, np.uint8), 1, 8, 1)
    assert counts.dtype == dtype
    assert (counts == frames).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bins": 0}, "bins = 0"),
        ({"height": 3}, "do not hold 3x8"),
        ({"crop": (0, 0, 3, 8)}, "outside"),
        ({"crop": (0, -1, 1, 2)}, "outside"),
        ({"drop": (4, 4)}, "leaves none of 8"),
        ({"drop": (4, 0), "crop": (0, 0, 2, 5)}, "outside a 2x4 frame"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    arguments = {"height": 2, "width": 8, "bins": 2} | change
    with pytest.raises(ValueError, match=message):
        voxelize(np.zeros((4, 2), np.uint8), **arguments)
