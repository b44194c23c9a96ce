"""The picture cache in shared memory: the samples are the same, and the budget is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from spikevrt.config import DataConfig
from spikevrt.data.clips import dataset as samples
from spikevrt.data.clips.dataset import ClipDataset, collate
from spikevrt.data.clips.picture_cache import RamCache, machine_share

PICTURE = 48 * 64 * 3


@pytest.fixture
def data(tree):
    return DataConfig(root=str(tree), clip_len=2, crop_size=40, k=4)


def test_samples_are_the_same_and_pictures_are_decoded_once(data, monkeypatch):
    kept = ClipDataset(replace(data, ram_cache_gb=1.0), "train", True, True, crop=40)
    plain = ClipDataset(data, "train", True, True, crop=40)
    for round_ in range(2):
        for i in range(len(kept)):
            for name in ("blur", "sharp", "counts"):
                assert torch.equal(kept[i, i + 100][name], plain[i, i + 100][name])
        assert kept.ram.used == 2 * 2 * 6 * PICTURE, round_

    def refuse(path):
        raise AssertionError(path)

    monkeypatch.setattr(samples, "read_image", refuse)
    assert kept[3]["blur"].shape == (2, 3, 40, 40)


def test_workers_fill_one_memory(data):
    kept = ClipDataset(replace(data, ram_cache_gb=1.0), "train", True, False, crop=40)
    for _ in DataLoader(kept, 1, num_workers=2, collate_fn=collate):
        pass
    assert kept.ram.used == 2 * 2 * 6 * PICTURE


def test_the_budget_is_kept(data):
    kept = ClipDataset(replace(data, ram_cache_gb=3.5 * PICTURE / 1e9), "train", True, False, crop=40)
    plain = ClipDataset(data, "train", True, False, crop=40)
    for i in range(len(kept)):
        assert torch.equal(kept[i]["sharp"], plain[i]["sharp"])
    assert kept.ram.used == 3 * PICTURE
    assert ClipDataset(replace(data, ram_cache_gb=1.0), "val", False, False, crop=40).ram is None


def test_processes_share_the_machine(monkeypatch):
    assert machine_share(2.0) == 2_000_000_000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert machine_share(2.0) == 500_000_000


def test_a_picture_of_another_size_is_not_kept(tmp_path):
    cache = RamCache([tmp_path / "a"], [(4, 4)], 1000)
    image = np.zeros((5, 4, 3), np.uint8)
    assert cache.get(tmp_path / "a", lambda path: image) is image
    assert cache.get(tmp_path / "b", lambda path: image) is image
    assert cache.used == 0
