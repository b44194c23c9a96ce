"""`spikevrt.Restorer` on arrays and tensors in memory: any size, any layout, streams."""

import warnings

import numpy as np
import pytest
import torch

import spikevrt
from spikevrt.config import config_to_tree
from spikevrt.data.clips.clip import find_clips
from spikevrt.errors import UserError
from spikevrt.models import build_model
from spikevrt.restoration.sources import clip_source
from spikevrt.restoration.stream import Restorer
from tests.small_data import small_config

SIZE = 45, 67


def saved(tree, path, *options):
    """A checkpoint whose model moves its input visibly."""
    torch.manual_seed(0)
    config = small_config(tree, *options)
    model = build_model(config)
    vrt = getattr(model, "vrt", model)
    torch.nn.init.normal_(vrt.conv_last.weight, std=0.05)
    torch.save({"config": config_to_tree(config), "params": model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def restorer(tree, tmp_path_factory):
    return spikevrt.Restorer.from_pretrained(saved(tree, tmp_path_factory.mktemp("model") / "best.pt"), device="cpu")


@pytest.fixture(scope="module")
def clip():
    """Five frames of an odd size in memory, and the spikes of their exposures."""
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
    return frames, random.integers(0, 2, (5, 8, *SIZE), dtype=np.uint8)


def test_arrays_of_an_odd_size_come_back_restored(restorer, clip):
    frames, spikes = clip
    restored = restorer(frames, spikes)
    assert restored.shape == frames.shape
    assert restored.dtype == np.uint8
    assert not np.array_equal(restored, frames)
    assert (restorer.needs_spikes, restorer.frames_at_once, restorer.scale, restorer.multiple) == (True, 2, 1, 8)
    assert restorer.precision == torch.float32
    assert restorer.tiles is None


def test_layouts_and_types_make_no_difference(restorer, clip):
    frames, spikes = clip
    wanted = torch.from_numpy(restorer(frames.astype(np.float32) / 255, spikes)).permute(0, 3, 1, 2)
    assert torch.equal((wanted * 255).round().byte(), torch.from_numpy(restorer(frames, spikes)).permute(0, 3, 1, 2))
    tensors = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    found = restorer(tensors.double(), list(torch.from_numpy(spikes).bool()))
    assert found.dtype == torch.float32
    assert torch.allclose(found, wanted, atol=1e-6)


def test_it_does_not_matter_how_arrays_lie_in_memory(restorer, clip):
    """As OpenCV's `frame[..., ::-1]`, big-endian files, and what a video decoder shares."""
    frames, spikes = (x[:2].copy() for x in clip)
    wanted = restorer(frames, spikes)
    backwards = np.ascontiguousarray(frames[..., ::-1])[..., ::-1]
    spikes.flags.writeable = backwards.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(restorer(backwards, np.asfortranarray(spikes)), wanted)
        floats = (frames / np.float32(255)).astype(">f4")
        assert np.array_equal((restorer(floats, spikes) * 255).round(), wanted)


def test_streams_that_take_turns_do_not_mix(restorer, clip):
    """Frames of both have the same numbers."""
    frames, spikes = clip = tuple(x[:3] for x in clip)
    pairs = zip(frames, spikes, strict=True), zip(frames[::-1], spikes[::-1], strict=True)
    turns = zip(*map(restorer.stream, pairs), strict=True)
    for found, wanted in zip(zip(*turns, strict=True), (clip, (frames[::-1], spikes[::-1])), strict=True):
        assert np.array_equal(np.stack(found), restorer(*wanted))


def test_a_stream_gives_what_arrays_give_as_soon_as_it_can(restorer, clip):
    frames, spikes = clip
    taken = []

    def pairs():
        for pair in zip(frames, spikes, strict=True):
            taken.append(1)
            yield pair

    stream = restorer.stream(pairs())
    first = next(stream)
    assert len(taken) < len(frames)
    assert np.array_equal(np.stack([first, *stream]), restorer(frames, spikes))
    assert list(restorer.stream([])) == []


def test_files_and_arrays_give_the_same(tree, restorer):
    config = restorer.config
    source = clip_source(find_clips(config.data, "val")[0], config.data)
    frames = [frame.blur.permute(1, 2, 0).numpy() for frame in source]
    spikes = [source.spikes.recording(name).read() for name in source.names]
    from_files = torch.stack(list(restorer.restore(source)))
    assert torch.equal(restorer(torch.from_numpy(np.stack(frames)) / 255, spikes).permute(0, 3, 1, 2), from_files)


def test_a_model_without_spikes_needs_none(tree, tmp_path):
    plain = Restorer.from_pretrained(saved(tree, tmp_path / "twin.pt", "MODEL.USE_SPIKE=false"), device="cpu")
    assert not plain.needs_spikes
    with pytest.warns(UserWarning, match="1 of the .* frames"):
        assert plain(np.zeros((1, *SIZE, 3), np.uint8)).shape == (1, *SIZE, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f, s: (f[..., :2], s), r"frame of shape \(45, 67, 2\): must be"),
        (lambda f, s: (f.astype(np.int32), s), "frame of type int32: must be uint8"),
        (lambda f, s: (f.astype(np.float32), s), r"values from 0 to 255: must be in \[0,1\]"),
        (lambda f, s: (f, s[:4]), "4 exposures of spikes beside 5 frames"),
        (lambda f, s: (f, None), "needs spikes, and none were given"),
        (lambda f, s: (f, s.astype(np.float32)), "spikes of shape .* float32: must be"),
        (lambda f, s: (f, 3 * s), "values up to 3: must be 0 and 1"),
        (lambda f, s: (f, s[..., :60]), "differ in shape"),
        (lambda f, s: (f.tolist(), s), "frame of type list: must be a NumPy array or a tensor"),
        (lambda f, s: (f[:, :0], s), r"frame of shape \(0, 67, 3\): must be"),
        (
            lambda f, s: (iter(f), s),
            r"frames of type .*iterator: must be an array or a list; stream\(\) takes iterators",
        ),
        (lambda f, s: (f, [*s[:2], None, *s[3:]]), "needs spikes, and none were given"),
        (lambda f, s: (f, s[:, :0]), r"spikes of shape \(0, 45, 67\): an exposure has at least one spike frame"),
        (lambda f, s: ([*f[:4], f[4][:, :60]], s), "frame 4: 45x60 pixels, the clip's first frame 45x67"),
    ],
)
def test_what_does_not_fit_is_named(restorer, clip, change, said):
    with pytest.raises(UserError, match=said):
        restorer(*change(*clip))


def test_a_stream_holds_frames_or_pairs(restorer, clip):
    frames, spikes = clip
    with pytest.raises(UserError, match="3 things for one frame of a stream"):
        next(restorer.stream([(frames[0], spikes[0], 1)]))


def test_tiles_are_said(tree, tmp_path, clip):
    path = saved(tree, tmp_path / "best.pt")
    tiled = Restorer.from_pretrained(path, ["TEST.TILE_SIZE=64", "TEST.TILE_OVERLAP=16"], "cpu")
    frames, spikes = (np.concatenate((x, x), 2 + i) for i, x in enumerate(clip))
    assert tiled(frames, spikes).shape == frames.shape
    assert tiled.tiles == "4 tiles (1x4) of at most 48x64 pixels"
