"""The voxel cache: same counts as from the recording, and updated when the recording changes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import find_clips
from spikevrt.data.clips.dataset import ClipDataset
from spikevrt.data.clips.voxel_cache import VoxelCache
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.recording import write_packed
from spikevrt.prepare import main as prepare

CROP = (2, 4, 10, 12)


@pytest.fixture
def data(own_tree):
    return DataConfig(root=str(own_tree), clip_len=2, crop_size=40, k=4)


@pytest.fixture
def clip(data):
    return find_clips(data, "val")[0]


def test_cached_counts_are_those_of_the_recording(clip, data):
    cache = VoxelCache(clip.folder, clip.spikes, data)
    assert cache.load("000001", CROP) is None
    assert cache.build() == 6
    assert cache.build() == 0
    counts, bin_frames = VoxelCache(clip.folder, clip.spikes, data).load("000003", CROP)
    recording = clip.spikes.recording("000003")
    np.testing.assert_array_equal(counts, recording.voxels(4, CROP))
    assert counts.dtype == np.uint8
    assert bin_frames.tolist() == [2, 2, 2, 2]
    meta = json.loads((cache.folder / "meta.json").read_text())
    assert meta["settings"]["bins"] == 4


@pytest.mark.parametrize("change", [{"k": 8}, {"spike_time_offset": 1}, {"spike_flip": False}])
def test_other_settings_have_another_cache(clip, data, change):
    VoxelCache(clip.folder, clip.spikes, data).build()
    other = replace(data, **change)
    spikes = find_clips(other, "val")[0].spikes
    assert VoxelCache(clip.folder, spikes, other).load("000001", CROP) is None


def test_a_changed_recording_is_read_anew(clip, data):
    VoxelCache(clip.folder, clip.spikes, data).build()
    write_packed(clip.spikes.files["000002"], np.ones((8, 24, 32), np.uint8))
    cache = VoxelCache(clip.folder, clip.spikes, data)
    assert cache.load("000002", CROP) is None
    assert cache.build() == 1
    assert (cache.load("000002", CROP)[0] == 2).all()


@pytest.mark.parametrize("damage", ["meta.json", "000001.npy"])
def test_a_damaged_cache_is_made_anew(clip, data, damage):
    cache = VoxelCache(clip.folder, clip.spikes, data)
    cache.build()
    (cache.folder / damage).write_bytes(b"{")
    assert VoxelCache(clip.folder, clip.spikes, data).load("000001", CROP) is None
    assert VoxelCache(clip.folder, clip.spikes, data).build() == (6 if damage == "meta.json" else 1)


def test_counts_that_do_not_match_their_checksum_are_made_anew(clip, data):
    VoxelCache(clip.folder, clip.spikes, data).build()
    path = VoxelCache(clip.folder, clip.spikes, data).folder / "000004.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert VoxelCache(clip.folder, clip.spikes, data).build(workers=3) == 1
    assert path.read_bytes() == whole


def test_an_interrupted_build_goes_on(clip, data):
    seen = []

    def interrupt(stem):
        seen.append(stem)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        VoxelCache(clip.folder, clip.spikes, data).build(interrupt)
    assert not list(VoxelCache(clip.folder, clip.spikes, data).folder.glob(".*"))
    assert VoxelCache(clip.folder, clip.spikes, data).build(workers=2) == 3


def test_training_takes_the_cache_and_needs_none(own_tree, data, monkeypatch):
    def sample():
        return ClipDataset(data, "train", augment=True, use_spike=True, crop=40)[3, 11]

    without = sample()
    assert prepare(["voxels", str(own_tree), "--opts", "DATA.K=4", "DATA.CLIP_LEN=2", "TEST.CLIP_OVERLAP=1"]) == 0

    def refuse(*_):
        raise AssertionError("the recording was read")

    monkeypatch.setattr(SpikeFolder, "voxels", refuse)
    cached = sample()
    for name in ("blur", "counts", "bin_frames"):
        assert (without[name] == cached[name]).all()
