"""Long clips restored in temporal windows, against the whole clip at once."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from spikevrt.data.clips.clip import find_clips
from spikevrt.errors import UserError
from spikevrt.models import build_model
from spikevrt.restoration.sources import Frame, Source, clip_source
from spikevrt.restoration.stream import Restorer, window_starts
from spikevrt.system.device import choose_device
from tests.small_data import small_config

CPU = torch.device("cpu")


class Numbered(nn.Module):
    """Adds the place inside the window to every frame, and counts windows."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, rgb, voxels):
        self.sizes.append(tuple(rgb.shape))
        return rgb + torch.arange(rgb.shape[1]).view(1, -1, 1, 1, 1) / 255 + 0 * voxels.mean()


class Frames(Source):
    """Grey frames 0, 1, 2, ... that note how many were asked for."""

    def __iter__(self):
        for t in range(len(self.names)):
            yield Frame(
                torch.full((3, *self.size), t, dtype=torch.uint8), lambda _: (torch.zeros(4, 24, 32), torch.ones(4))
            )


@pytest.mark.parametrize(("length", "overlap"), [(2, 0), (2, 1), (3, 0), (3, 2), (5, 2), (5, 4)])
@pytest.mark.parametrize("frames", [5, 6, 7, 23])
def test_windows_cover_every_frame(frames, length, overlap):
    starts = window_starts(frames, length, overlap)
    covered = [i for s in starts for i in range(s, s + length)]
    assert sorted(set(covered)) == list(range(frames))
    assert starts == sorted(set(starts))
    assert all(b - a == length - overlap for a, b in pairwise(starts[:-1]))


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize("frames", [3, 7, 8])
def test_shared_frames_are_averaged(tree, frames, overlap):
    config = small_config(tree, "DATA.CLIP_LEN=3", "MODEL.WINDOW_SIZE=[2,4,4]", f"TEST.CLIP_OVERLAP={overlap}")
    clip = clip_source(find_clips(config.data, "val")[0], config.data)
    source = Frames(**(vars(clip) | {"names": tuple(map(str, range(frames)))}))
    restored = [float(x.mean()) * 255 for x in Restorer(Numbered(), config, CPU).restore(source)]
    starts = window_starts(frames, 3, overlap)
    for i, value in enumerate(restored):
        places = [i - s for s in starts if 0 <= i - s < 3]
        assert value == pytest.approx(i + sum(places) / len(places), abs=1e-4)
    assert len(restored) == frames


def test_frames_of_any_size_come_back_at_their_size(tree):
    config = small_config(tree)
    whole = clip_source(find_clips(config.data, "val")[0], config.data)
    source = replace(whole, crop=(2, 4, 22, 38))
    model = Numbered()
    restored = list(Restorer(model, config, CPU).restore(source))
    assert {x.shape for x in restored} == {(3, 22, 38)}
    assert set(model.sizes) == {(1, 2, 3, 48, 48)}  # spikes of 24 pixels: the encoder halves them thrice


@pytest.mark.parametrize("use_spike", [True, False], ids=["spikes", "rgb"])
def test_a_single_window_is_the_model_itself(tree, use_spike):
    torch.manual_seed(0)
    config = small_config(tree, f"MODEL.USE_SPIKE={str(use_spike).lower()}", "DATA.CLIP_LEN=6")
    model = build_model(config).eval()
    source = clip_source(find_clips(config.data, "val")[0], config.data)
    frames = list(source)
    rgb = torch.stack([f.blur for f in frames])[None].float() / 255
    voxels = torch.stack([f.voxels(config.data)[0] for f in frames])[None].float() / 2  # 8 spike frames in 4 bins
    with torch.no_grad():
        wanted = (model(rgb, voxels) if use_spike else model(rgb))[0].clamp(0, 1)
    restored = torch.stack(list(Restorer(model, config, CPU).restore(source)))
    assert torch.allclose(restored, wanted, atol=1e-6)
    assert not torch.allclose(restored, rgb[0], atol=1e-6)


def test_clips_that_do_not_fit_are_refused(tree):
    config = small_config(tree, "DATA.CLIP_LEN=6")
    source = clip_source(find_clips(config.data, "val")[0], config.data)
    with pytest.raises(UserError, match=r"2 frames, fewer than DATA\.CLIP_LEN = 6"):
        next(Restorer(nn.Identity(), config, CPU).restore(replace(source, names=source.names[:2])))
    with pytest.raises(UserError, match=r"the model needs spikes.*--spikes"):
        next(Restorer(nn.Identity(), config, CPU).restore(replace(source, spikes=None)))


def test_out_of_memory_is_answered(tree):
    class Exhausted(nn.Module):
        def forward(self, *_):
            raise torch.OutOfMemoryError("CUDA out of memory")

    config = small_config(tree)
    source = clip_source(find_clips(config.data, "val")[0], config.data)
    with pytest.raises(UserError, match=r"out of GPU memory; .*CLIP_LEN"):
        next(Restorer(Exhausted(), config, CPU).restore(source))


@pytest.mark.parametrize("name", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(UserError, match=f"--device {name}: not on this machine"):
        choose_device(name)


def test_reading_frames_and_spikes_leaves_pytorch_its_threads(tree):
    read = (
        "import sys, torch; from pathlib import Path\n"
        "from spikevrt.config import load_config; from spikevrt.data.clips.clip import find_clips\n"
        "from spikevrt.restoration.sources import clip_source\n"
        "data = load_config('demo', [f'DATA.ROOT={sys.argv[1]}', 'DATA.K=4']).data\n"
        "print(len(list(clip_source(find_clips(data, 'val', need_spikes=True)[0], data))), torch.get_num_threads())"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", read, str(tree)]
    frames, threads = map(int, subprocess.run(line, env=environment, capture_output=True, check=True).stdout.split())
    assert frames > 0
    assert threads == 1
