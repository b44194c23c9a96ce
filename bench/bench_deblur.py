"""Restoration of random frames by the code of `deblur`: frames and megapixels per second.

At 256x256, 720p and 1080p with `default` on a GPU; on the CPU a small clip with `demo`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from spikevrt.config import Config, DataConfig, load_config
from spikevrt.data.clips.augmentation import Grid
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.errors import UserError
from spikevrt.models import build_model
from spikevrt.restoration.sources import Frame, Source, Voxels
from spikevrt.restoration.stream import Restorer
from spikevrt_kernels.core.names import Backends

GPU_SIZES = {"256x256": (256, 256), "720p": (720, 1280), "1080p": (1080, 1920)}
"""(H,W) of frames on a GPU."""
CPU_SIZES = {"32x32": (32, 32)}
MEGAPIXEL = 1e6
GIB = 2**30


@dataclass(frozen=True)
class RandomClip(Source):
    """Random frames, and random spikes of the same size; every iteration gives the same values."""

    def __iter__(self) -> Iterator[Frame]:
        draw = torch.Generator().manual_seed(0)
        for name in self.names:
            blur = torch.randint(256, (3, *self.size), dtype=torch.uint8, generator=draw)
            yield Frame(blur, partial(self.voxels, name))

    def voxels(self, name: str, data: DataConfig) -> Voxels:
        """Random counts below 4 of 4 spike frames per bin."""
        draw = torch.Generator().manual_seed(int(name))
        return torch.randint(4, (data.k, *self.size), dtype=torch.uint8, generator=draw), torch.full((data.k,), 4)


def random_clip(config: Config, size: tuple[int, int]) -> RandomClip:
    """A clip that is restored in two windows, which overlap as configured."""
    assert config.test.clip_overlap is not None
    count = 2 * config.data.clip_len - config.test.clip_overlap
    names = tuple(map(str, range(count)))
    spikes = SpikeFolder(SpikeGeometry(*size), files={}, exposures={})
    return RandomClip(label="random", names=names, frames=Path(), size=size, grid=Grid(), spikes=spikes)


@pytest.mark.benchmark(group="deblur, random frames")
@pytest.mark.parametrize("size", GPU_SIZES if torch.cuda.is_available() else CPU_SIZES)
def test_deblur(
    benchmark: BenchmarkFixture, attn_backend: str, size: str, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, cuda = load_config("default" if device == "cuda" else "demo", []), device == "cuda"
    model = build_model(config, False, Backends.of(attn_backend))
    restorer, clip = (
        Restorer(model, config, torch.device(device)),
        random_clip(config, {**GPU_SIZES, **CPU_SIZES}[size]),
    )
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    try:
        frames = list(restorer.restore(clip))
    except UserError as error:
        pytest.skip(f"{size}: {error}")
    assert len(frames) == len(clip)
    assert all(frame.shape[-2:] == clip.size and bool(torch.isfinite(frame).all()) for frame in frames)
    # Restored frames are copied to the CPU, so the device has finished when the list is complete.
    benchmark.pedantic(lambda: list(restorer.restore(clip)), rounds=3 if cuda else 1, warmup_rounds=0)
    rate = len(clip) / benchmark.stats.stats.median
    megapixels = rate * clip.size[0] * clip.size[1] / MEGAPIXEL
    peak = torch.cuda.max_memory_allocated() / GIB if cuda else None
    benchmark.extra_info |= {"frames_per_second": rate, "megapixels_per_second": megapixels, "peak_gib": peak}
    with capsys.disabled():
        memory = "" if peak is None else f", peak {peak:.2f} GiB"
        print(f"\ndeblur, {size}, {attn_backend}: {rate:.3g} frames/s, {megapixels:.3g} megapixels/s{memory}")
