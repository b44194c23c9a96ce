"""Recordings other than one packed file per frame: arrays, dropped columns, one recording for a whole clip."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from spikevrt.config import DataConfig, RecordingConfig
from spikevrt.data.clips.clip import find_clips
from spikevrt.data.clips.dataset import ClipDataset
from spikevrt.data.clips.voxel_cache import VoxelCache
from spikevrt.data.files.images import write_png
from spikevrt.data.spikes.exposures import clock_exposures
from spikevrt.data.spikes.geometry import SpikeGeometry, geometry_for
from spikevrt.data.spikes.recording import SpikeFile, write_packed
from spikevrt.errors import UserError
from spikevrt.restoration.sources import recording_source

H, W, FRAMES = 24, 32, 5


@pytest.fixture
def spikes():
    return np.random.default_rng(0).integers(0, 2, (50, H, W), dtype=np.uint8)


@pytest.fixture
def continuous(tmp_path, spikes):
    """A clip of 5 frames over one recording of 50 spike frames."""
    clip = tmp_path / "train" / "clip"
    for i in range(FRAMES):
        for folder in ("blur", "sharp"):
            write_png(clip / folder / f"{i:06}.png", np.zeros((2 * H, 2 * W, 3), np.uint8))
    write_packed(clip / "spike" / "recording.dat", spikes)
    (clip / "spike" / "config.yaml").write_text(f"filename: recording.dat\nspike_h: {H}\nspike_w: {W}\n")
    recording = RecordingConfig("continuous", spike_rate=20_000, frame_rate=2000, length=8)
    return DataConfig(root=str(tmp_path), clip_len=2, crop_size=40, k=4, recording=recording)


def test_columns_to_drop(tmp_path, spikes):
    path = tmp_path / "a.dat"
    write_packed(path, np.pad(spikes, ((0, 0), (0, 0), (3, 5)), constant_values=1))
    geometry = SpikeGeometry(H, W, drop=(3, 5))
    assert geometry.frame_bytes == H * (W + 8) // 8
    file = SpikeFile(path, geometry)
    np.testing.assert_array_equal(file.read(), spikes)
    np.testing.assert_array_equal(file.voxels(5, (2, 4, 6, 7))[0], spikes[:10, 2:8, 4:11].sum(0))
    data = DataConfig(spike_height=H, spike_width=W + 8, spike_drop_columns=(3, 5))
    assert geometry_for(tmp_path, data) == geometry


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_arrays_know_their_size(tmp_path, spikes, dtype, compressed):
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "a.npz", spk=spikes.astype(dtype), other=np.zeros(3))
    geometry = geometry_for(tmp_path, DataConfig(spike_flip=False))
    assert str(geometry) == f"{H}x{W} uint8"
    file = SpikeFile(tmp_path / "a.npz", geometry)
    np.testing.assert_array_equal(file.read(start=3, count=9), spikes[3:12])
    np.testing.assert_array_equal(file.voxels(1, time_offset=4)[0], spikes[4:].sum(0))


ARRAYS = {
    "other names": ({"a": np.zeros((2, 8, 8), np.uint8), "b": np.zeros(1)}, "holds the arrays a, b"),
    "two axes": ({"spk": np.zeros((8, 8), np.uint8)}, r"holds uint8 of shape \(8, 8\)"),
    "floats": ({"spk": np.zeros((2, 8, 8))}, r"holds float64 of shape"),
    "Fortran": ({"spk": np.asfortranarray(np.zeros((2, 8, 9), np.uint8))}, "Fortran order"),
    "another size": ({"spk": np.zeros((2, 8, 9), np.uint8)}, r"holds 2 frames of 8x9 uint8, not of 8x8 uint8"),
    "values": ({"spk": np.full((2, 8, 8), 3, np.uint8)}, "holds values above 1"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_of_another_kind_are_named(tmp_path, case):
    arrays, message = ARRAYS[case]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        SpikeFile(tmp_path / "a.npz", SpikeGeometry(8, 8, "uint8")).voxels(1)


def test_clocks_that_are_no_multiples_do_not_drift():
    exposures = clock_exposures(1000, 20_000 / 24, None)
    assert exposures[0] == slice(0, 833)
    assert all(a.stop == b.start for a, b in pairwise(exposures))
    assert exposures[-1].stop == round(1000 * 20_000 / 24)


def test_one_recording_serves_a_whole_clip(continuous, spikes):
    dataset = ClipDataset(continuous, "train", augment=False, use_spike=True)
    counts = dataset[1]["counts"]  # frames 1 and 2: spike frames 10..17 and 20..27
    for i, start in enumerate((10, 20)):
        np.testing.assert_array_equal(counts[i].numpy(), spikes[start : start + 8].reshape(4, 2, H, W).sum(1))
    clip = find_clips(continuous, "train")[0]
    source = recording_source(clip.folder / "blur", clip.folder / "spike", continuous)
    np.testing.assert_array_equal(list(source)[2].voxels(continuous)[0].numpy(), counts[1].numpy())
    assert VoxelCache(clip.folder, clip.spikes, continuous).build(workers=2) == FRAMES
    shifted = replace(continuous, spike_time_offset=2)
    moved = ClipDataset(shifted, "train", augment=False, use_spike=True)[0]["counts"][0]
    np.testing.assert_array_equal(moved.numpy(), spikes[2:10].reshape(4, 2, H, W).sum(1))


def test_every_frame_has_an_exposure_of_its_own(continuous, spikes):
    clip = find_clips(continuous, "train")[0]
    VoxelCache(clip.folder, clip.spikes, continuous).build()
    lines = [
        f"{i:06},{start},{length}" for i, (start, length) in enumerate([(0, 4), (2, 12), (9, 8), (20, 4), (40, 10)])
    ]
    (clip.folder / "spike" / "windows.csv").write_text("\n".join(["stem,start,length", *lines]))
    clip = find_clips(continuous, "train")[0]
    cache = VoxelCache(clip.folder, clip.spikes, continuous)
    assert cache.load("000001", (0, 0, H, W)) is None  # the exposure shapes the counts
    assert cache.build() == FRAMES
    counts, bin_frames = cache.load("000001", (0, 0, H, W))
    np.testing.assert_array_equal(counts, spikes[2:14].reshape(4, 3, H, W).sum(1))
    assert bin_frames.tolist() == [3, 3, 3, 3]


def test_a_table_serves_files_with_more_than_the_exposure(own_tree):
    spike = own_tree / "val" / "held" / "spike"
    (spike / "windows.csv").write_text("stem,start,length\n" + "".join(f"{i:06},2,4\n" for i in range(1, 7)))
    data = DataConfig(root=str(own_tree), clip_len=2, crop_size=40, k=4)
    counts = ClipDataset(data, "val", False, True)[0]["counts"][0].numpy()
    recording = SpikeFile(spike / "000001.dat", SpikeGeometry(24, 32))
    np.testing.assert_array_equal(counts, recording.read(start=2, count=4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, c: replace(d, recording=RecordingConfig()), "needs DATA.RECORDING.LAYOUT=continuous"),
        (lambda d, c: replace(d, recording=RecordingConfig("continuous")), r"set DATA\.RECORDING\.SPIKE_RATE"),
        (lambda d, c: replace(d, spike_time_offset=9), r"moves an exposure to 49 \.\. 57"),
        (lambda d, c: write_table(c, d, "000000,0,8"), "no exposure for frame 000001"),
        (lambda d, c: write_table(c, d, "000000,zero,8"), "line 2 must be stem,start,length"),
        (lambda d, c: write_table(c, d, *(f"{i:06},45,8" for i in range(5))), "asked for 45 to 53"),
        (lambda d, c: write_packed(c / "other.dat", np.ones((1, H, W), np.uint8)) or d, "holds 2 recordings"),
    ],
)
def test_recordings_that_do_not_fit_are_named(continuous, change, message):
    folder = find_clips(continuous, "train")[0].folder / "spike"
    data = change(continuous, folder)
    with pytest.raises(UserError, match=message):
        ClipDataset(data, "train", augment=False, use_spike=True)[3]


def write_table(folder, data, *lines):
    (folder / "windows.csv").write_text("\n".join(["stem,start,length", *lines]))
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spike_drop_columns": (1,)}, r"DATA\.SPIKE_DROP_COLUMNS = \[1\]"),
        ({"spike_drop_columns": (8, 8), "spike_height": 8, "spike_width": 16}, r"leave some of DATA\.SPIKE_WIDTH"),
        ({"ram_cache_gb": -1.0}, r"DATA\.RAM_CACHE_GB = -1\.0"),
    ],
)
def test_settings_out_of_range_are_named(change, message):
    with pytest.raises(UserError, match=message):
        DataConfig(**change)
    with pytest.raises(UserError, match=r"DATA\.RECORDING\.SPIKE_RATE, DATA\.RECORDING\.FRAME_RATE"):
        RecordingConfig("continuous", spike_rate=20_000)
