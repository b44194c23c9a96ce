"""Reading recordings: geometry, formats, crops, and the errors for files that do not fit."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikevrt.config import DataConfig
from spikevrt.data.spikes.geometry import SpikeGeometry, geometry_for
from spikevrt.data.spikes.recording import SpikeFile, write_packed
from spikevrt.errors import UserError

H, W, N = 6, 16, 10


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 2, (N, H, W), dtype=np.uint8)


@pytest.fixture
def packed(tmp_path, frames):
    path = tmp_path / "a.dat"
    write_packed(path, frames)
    return path


def test_packed_files_are_one_bit_a_pixel_upside_down(packed, frames):
    assert packed.stat().st_size == N * H * W // 8
    assert packed.read_bytes()[0] == sum(int(bit) << i for i, bit in enumerate(frames[0, -1, :8]))


@pytest.mark.parametrize("crop", [None, (1, 3, 4, 9)])
@pytest.mark.parametrize("format", ["packed", "uint8"])
@pytest.mark.parametrize("flip", [True, False])
def test_frames_and_voxels_come_back(tmp_path, frames, format, flip, crop):
    path = tmp_path / "b.dat"
    if format == "packed":
        write_packed(path, frames, flip)
    else:
        path.write_bytes((frames[:, ::-1] if flip else frames).tobytes())
    file = SpikeFile(path, SpikeGeometry(H, W, format, flip))
    top, left, h, w = crop or (0, 0, H, W)
    part = frames[:, top : top + h, left : left + w]
    assert file.frames == N
    np.testing.assert_array_equal(file.read(crop), part)
    np.testing.assert_array_equal(file.read(crop, start=3, count=4), part[3:7])
    np.testing.assert_array_equal(file.voxels(5, crop), part.reshape(5, 2, h, w).sum(1))


@st.composite
def recordings(draw):
    """Geometry, frames, bins, crop."""
    h, w = draw(st.integers(1, 40)), draw(st.integers(1, 90))
    drop = (draw(st.integers(0, 9)), draw(st.integers(0, 9)))
    h *= 8 // np.gcd(h * (w + sum(drop)), 8)
    top, left = draw(st.integers(0, h - 1)), draw(st.integers(0, w - 1))
    crop = (top, left, draw(st.integers(1, h - top)), draw(st.integers(1, w - left)))
    geometry = SpikeGeometry(int(h), w, "packed", draw(st.booleans()), drop)
    return geometry, draw(st.integers(1, 60)), draw(st.integers(1, 40)), crop, draw(st.integers(0, 999))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recordings())
@pytest.mark.filterwarnings("ignore:.*leave empty bins")
def test_packed_read_and_counted_equal_the_definition(tmp_path, recording):
    geometry, n, bins, (top, left, h, w), seed = recording
    random = np.random.default_rng(seed)
    stored = random.integers(0, 2, (n, geometry.height, geometry.stored_width), dtype=np.uint8)
    path = tmp_path / "any.dat"
    write_packed(path, stored, geometry.flip)
    file = SpikeFile(path, geometry)
    part = stored[:, :, geometry.drop[0] :][:, top : top + h, left : left + w]
    np.testing.assert_array_equal(file.read((top, left, h, w)), part)
    wanted = np.zeros((bins, h, w), np.int64)
    for t in range(n):
        wanted[t * bins // n] += part[t]
    np.testing.assert_array_equal(file.voxels(bins, (top, left, h, w)), wanted)


def test_time_offset_leaves_frames_out(packed, frames):
    file = SpikeFile(packed, SpikeGeometry(H, W))
    np.testing.assert_array_equal(file.voxels(1, time_offset=4)[0], frames[4:].sum(0))
    np.testing.assert_array_equal(file.voxels(1, time_offset=-4)[0], frames[:-4].sum(0))
    with pytest.raises(UserError, match=r"none left by DATA\.SPIKE_TIME_OFFSET = 10"):
        file.voxels(1, time_offset=N)


def test_fewer_frames_than_bins_warn(packed):
    with pytest.warns(UserWarning, match="10 spike frames for 11 bins"):
        SpikeFile(packed, SpikeGeometry(H, W)).voxels(N + 1)


def test_a_truncated_file_is_named_with_what_would_fit(tmp_path):
    path = tmp_path / "cut.dat"
    path.write_bytes(bytes(28_800 * 2))
    with pytest.raises(UserError, match=r"cut\.dat: 57600 bytes are not a whole number of 250x400.*360x640 \(2 fr"):
        SpikeFile(path, SpikeGeometry(250, 400))
    path.write_bytes(b"")
    with pytest.raises(UserError, match="0 bytes"):
        SpikeFile(path, SpikeGeometry(250, 400))
    with pytest.raises(UserError, match=r"none\.dat: no such spike file"):
        SpikeFile(tmp_path / "none.dat", SpikeGeometry(250, 400))


def test_packed_bytes_read_as_uint8_are_refused(tmp_path):
    path = tmp_path / "looks.dat"
    path.write_bytes(bytes([0, 255] * (360 * 640 // 2)))
    with pytest.raises(UserError, match=r"looks bit-packed; set DATA\.SPIKE_FORMAT=packed.*360x640 \(8 frames\)"):
        SpikeFile(path, SpikeGeometry(360, 640, "uint8")).voxels(1)


def test_geometry_from_the_configuration_wins_over_the_file(tmp_path):
    (tmp_path / "config.yaml").write_text("filename: x\nspike_w: 400\nspike_h: 250\n")
    assert str(geometry_for(tmp_path, DataConfig())) == "250x400 packed"
    wins = geometry_for(tmp_path, DataConfig(spike_height=360, spike_width=640, spike_format="uint8", spike_flip=False))
    assert wins == SpikeGeometry(360, 640, "uint8", False)


@pytest.mark.parametrize("text", ["spike_h: 250", "spike_h: two\nspike_w: 4", "- 1", "a: ["])
def test_a_damaged_geometry_file_is_named(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: must hold spike_h and spike_w"):
        geometry_for(tmp_path, DataConfig())


def test_unknown_geometry_says_where_to_give_it(tmp_path):
    with pytest.raises(UserError, match=r"geometry is unknown; set DATA\.SPIKE_HEIGHT and DATA\.SPIKE_WIDTH"):
        geometry_for(tmp_path, DataConfig())


def test_geometry_of_broken_bytes_is_refused():
    with pytest.raises(UserError, match="15 bits are not whole bytes"):
        SpikeGeometry(3, 5)
