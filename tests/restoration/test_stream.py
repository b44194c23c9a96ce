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
from spikevrt.restoration.stream import Restorer
from spikevrt.restoration.time_windows import time_windows
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
@pytest.mark.parametrize("known", [True, False], ids=["known", "open"])
def test_windows_cover_every_frame(frames, length, overlap, known):
    windows = list(time_windows(iter(range(frames)), length, overlap, frames if known else None))
    starts = [window.start for window in windows]
    assert all(window.frames == list(range(window.start, window.start + length)) for window in windows)
    assert sorted({i for window in windows for i in window.frames}) == list(range(frames))
    assert starts == sorted(set(starts))
    assert all(b - a == length - overlap for a, b in pairwise(starts[:-1]))
    assert [window.final for window in windows] == [*starts[1:], frames]


@pytest.mark.parametrize(("frames", "expected"), [(1, [0] * 5), (2, [0, 1, 1, 0, 0]), (4, [0, 1, 2, 3, 3]), (0, None)])
def test_short_streams_go_back_and_forth(frames, expected):
    found = [(window.start, window.frames, window.final) for window in time_windows(iter(range(frames)), 5, 2)]
    assert found == ([] if expected is None else [(0, expected, frames)])


def test_windows_read_no_further_than_needed():
    for count, following in ((None, 8), (100, 5)):
        read = iter(range(100))
        windows = time_windows(read, 5, 2, count)
        next(windows)
        assert next(read) == following


def numbered(tree, frames, overlap, *options):
    """A restorer whose results tell places in windows, and a clip of grey frames 0, 1, 2, ..."""
    config = small_config(
        tree, "DATA.CLIP_LEN=3", "MODEL.WINDOW_SIZE=[2,4,4]", f"TEST.CLIP_OVERLAP={overlap}", *options
    )
    clip = clip_source(find_clips(config.data, "val")[0], config.data)
    model = Numbered()
    return Restorer(model, config, CPU), Frames(**(vars(clip) | {"names": tuple(map(str, range(frames)))})), model


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize("frames", [3, 7, 8])
def test_the_middle_of_a_window_counts_more_than_its_ends(tree, frames, overlap):
    restorer, source, _ = numbered(tree, frames, overlap)
    restored = [float(x.mean()) * 255 for x in restorer.restore(source)]
    starts = [window.start for window in time_windows(iter(range(frames)), 3, overlap)]
    for i, value in enumerate(restored):
        places = [i - s for s in starts if 0 <= i - s < 3]
        weights = [(1, 2, 1)[place] for place in places]
        expected = sum(w * p for w, p in zip(weights, places, strict=True)) / sum(weights)
        assert value == pytest.approx(i + expected, abs=1e-4)
    assert len(restored) == frames


@pytest.mark.parametrize("overlap", [0, 1, 2])
def test_what_a_frame_becomes_does_not_depend_on_what_else_is_wanted(tree, overlap):
    restorer, source, model = numbered(tree, 11, overlap)
    whole = list(restorer.restore(source))
    windows = len(model.sizes)
    for wanted in ({0}, {10}, {4, 5}, {3, 9}, set()):
        model.sizes.clear()
        found = list(restorer.restore(source, wanted=wanted))
        assert len(found) == len(wanted)
        assert all(torch.equal(x, whole[i]) for x, i in zip(found, sorted(wanted), strict=True))
        assert len(model.sizes) < windows


@pytest.mark.parametrize("frames", [1, 2])
def test_clips_shorter_than_a_window_are_restored(tree, frames):
    restorer, source, _ = numbered(tree, frames, 1)
    with pytest.warns(UserWarning, match=rf"{frames} of the DATA\.CLIP_LEN = 3 frames .*repeated"):
        restored = list(restorer.restore(source))
    assert [round(float(x.mean()) * 255) for x in restored] == [0, 2][:frames]


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


def test_clips_without_the_spikes_of_the_model_are_refused(tree):
    config = small_config(tree, "DATA.CLIP_LEN=6")
    source = clip_source(find_clips(config.data, "val")[0], config.data)
    with pytest.raises(UserError, match=r"the model needs spikes.*--spikes"):
        next(Restorer(nn.Identity(), config, CPU).restore(replace(source, spikes=None)))


def test_out_of_memory_is_answered(tree):
    class Exhausted(nn.Module):
        def forward(self, *_):
            raise torch.OutOfMemoryError("CUDA out of memory")

    config = small_config(tree)
    source = clip_source(find_clips(config.data, "val")[0], config.data)
    with pytest.raises(UserError, match=r"out of GPU memory; change TEST\.TILE_SIZE .*CLIP_LEN"):
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
