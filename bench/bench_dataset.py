"""Samples per second of the data set with two workers: with a voxel cache, without it, and pictures alone.

GoPro's sizes: frames of 720x1280, 88 spike frames of 360x640; T = 5, crop 256, K = 32.
All variants are measured in turn in one run.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import find_clips
from spikevrt.data.clips.dataset import ClipDataset, DrawSampler, collate
from spikevrt.data.clips.voxel_cache import VoxelCache
from spikevrt.data.files.images import write_png
from spikevrt.data.simulation.camera import SpikeSensor, SpikeSimulator, write_geometry
from spikevrt.data.spikes.recording import write_packed

FRAME_SIZE, SPIKE_FRAMES, FRAME_COUNT, WORKERS, TIMED_SAMPLES = (720, 1280), 88, 8, 2, 16
SAMPLE_RATES: dict[str, list[float]] = {}
WAYS_TO_LOAD = (
    "pictures alone",
    "without a cache",
    "with a cache",
    "pictures alone, RAM cache",
    "without a cache, RAM cache",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """One clip of natural-looking frames: a smooth scene with fine noise, which PNG compresses little."""
    root = tmp_path_factory.mktemp("gopro")
    clip = root / "train" / "clip"
    random = np.random.default_rng(0)
    for i in range(FRAME_COUNT):
        small = random.integers(0, 256, (45, 80, 3), dtype=np.uint8)
        scene = np.asarray(Image.fromarray(small).resize(FRAME_SIZE[::-1], Image.Resampling.BICUBIC)).astype(np.int16)
        frame = np.clip(scene + random.integers(-3, 4, scene.shape), 0, 255).astype(np.uint8)
        for folder in ("blur", "sharp"):
            write_png(clip / folder / f"{i:06}.png", frame)
        light = SpikeSensor(2)(frame)
        spikes = SpikeSimulator(light.shape[0], light.shape[1]).run(np.repeat(light[None], SPIKE_FRAMES, 0))
        write_packed(clip / "spike" / f"{i:06}.dat", spikes)
    write_geometry(clip / "spike", "spike", (FRAME_SIZE[0] // 2, FRAME_SIZE[1] // 2))
    return DataConfig(root=str(root))


@pytest.fixture(scope="module", autouse=True)
def print_rates() -> Iterator[None]:
    """At the end print the median rates, also in percent of the rate of pictures alone."""
    yield
    print("\nsamples per second, two workers, T 5, crop 256: median of all rounds")
    medians = {way: float(np.median(rates)) for way, rates in SAMPLE_RATES.items()}
    for way, rate in medians.items():
        alone = medians["pictures alone, RAM cache" if "RAM" in way else "pictures alone"]
        print(f"  {way:28} {rate:7.2f}  {100 * rate / alone:6.1f}% of the pictures alone")


def loader(data: DataConfig, way: str) -> Iterator[Any]:
    """Iterator over batches of one sample, drawn and augmented as in training."""
    data = replace(data, ram_cache_gb=0.1 if "RAM" in way else 0.0)
    dataset = ClipDataset(data, "train", True, not way.startswith("pictures"), crop=256)
    batches = DataLoader(
        dataset, 1, sampler=DrawSampler(len(dataset), 0), num_workers=WORKERS, collate_fn=collate, prefetch_factor=2
    )
    return iter(batches)


def test_samples_a_second(benchmark: Any, data: DataConfig) -> None:
    """Measure all variants in turn, so that other load on the machine affects all of them."""

    def all_ways() -> None:
        for way in WAYS_TO_LOAD:
            caches = [VoxelCache(clip.folder, clip.spikes, data) for clip in find_clips(data, "train") if clip.spikes]
            for cache in caches:
                shutil.rmtree(Path(cache.folder), ignore_errors=True)
                if way == "with a cache":
                    cache.build(workers=WORKERS)
            batches = loader(data, way)
            for _ in range(2 * WORKERS + FRAME_COUNT):
                next(batches)
            start = time.perf_counter()
            for _ in range(TIMED_SAMPLES):
                next(batches)
            SAMPLE_RATES.setdefault(way, []).append(TIMED_SAMPLES / (time.perf_counter() - start))

    benchmark.pedantic(all_ways, rounds=3, warmup_rounds=0)
