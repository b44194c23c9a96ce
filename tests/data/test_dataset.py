"""Samples: frames and spikes stay aligned through crops, flips, quarter turns and time reversal."""

from dataclasses import replace
from fractions import Fraction
from itertools import islice, product

import numpy as np
import pytest
import torch

from spikevrt.config import DataConfig, NormConfig
from spikevrt.data.clips.augmentation import Flips, Grid, centre_crop, random_crop, scaled
from spikevrt.data.clips.batches import normalise_voxels
from spikevrt.data.clips.dataset import ClipDataset, DrawSampler, collate
from spikevrt.data.files.images import read_image, write_png
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.recording import SpikeFile, write_packed
from spikevrt.errors import UserError

K, T, SIDE = 8, 3, 48


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """Frames whose pixel says which spike pixel it lies in; a pixel's spikes say the same and when they fired."""
    root = tmp_path_factory.mktemp("registered")
    clip = root / "train" / "clip"
    place = np.arange(SIDE // 2 * SIDE // 2).reshape(SIDE // 2, SIDE // 2)
    large = place.repeat(2, 0).repeat(2, 1)
    for t in range(5):
        frame = np.stack((large % 256, large // 256, np.full_like(large, t)), -1).astype(np.uint8)
        for folder in ("blur", "sharp"):
            write_png(clip / folder / f"{t:06}.png", frame)
        # 10 bits of place, one a spike frame in the first of two; the second is all zero but for a time mark.
        bits = np.stack([(place >> i) & 1 for i in range(10)]).astype(np.uint8)
        write_packed(clip / "spike" / f"{t:06}.dat", bits)
    (clip / "spike" / "config.yaml").write_text(f"spike_h: {SIDE // 2}\nspike_w: {SIDE // 2}\n")
    return DataConfig(root=str(root), clip_len=T, crop_size=40, k=10)


def place_of(frames: torch.Tensor) -> torch.Tensor:
    return frames[:, 0].int() + 256 * frames[:, 1].int()


def test_augmented_frames_and_voxels_show_the_same_places(registered):
    dataset = ClipDataset(registered, "train", augment=True, use_spike=True, crop=40)
    seen = set()
    for draw in range(48):
        sample = dataset[draw % len(dataset), draw]
        assert torch.equal(sample["blur"], sample["sharp"])
        times = sample["blur"][:, 2, 0, 0].tolist()
        reverse = times[0] > times[-1]
        bits = sample["counts"].int()
        if reverse:
            bits = bits.flip(1)
        place = sum(bits[:, i] << i for i in range(10))
        assert torch.equal(place.repeat_interleave(2, 1).repeat_interleave(2, 2), place_of(sample["blur"]))
        corner = place[0, 0, 0] < place[0, 0, -1], place[0, 0, 0] < place[0, -1, 0]
        turned = abs(int(place[0, 0, 1] - place[0, 0, 0])) > 1
        seen.add((reverse, bool(corner[0]), bool(corner[1]), turned))
    assert len(seen) == 16  # every combination of the four symmetries came up


def test_time_reversal_reverses_bins_and_their_frame_counts():
    counts = np.arange(2 * 3).reshape(2, 3, 1, 1)
    bin_frames = np.array([[1, 2, 3], [4, 5, 6]])
    turned, frames = Flips(reverse_time=True).voxels(counts, bin_frames)
    assert turned.ravel().tolist() == [5, 4, 3, 2, 1, 0]
    assert frames.tolist() == [[6, 5, 4], [3, 2, 1]]


def test_symmetries_are_those_of_the_square():
    image = np.arange(6).reshape(2, 3)
    pictures = {Flips(*flags).in_space(image).tobytes() + bytes(flags[2:]) for flags in product([0, 1], repeat=3)}
    assert len(pictures) == 8


@pytest.mark.parametrize(
    ("frame", "spikes", "step", "ratio"),
    [((48, 64), (24, 32), 2, Fraction(1, 2)), ((48, 64), (48, 64), 1, Fraction(1)), ((40, 80), (25, 50), 8, None)],
)
def test_crops_end_on_whole_spike_pixels(frame, spikes, step, ratio):
    found, exact = Grid.of(frame, spikes)
    assert (found, exact) == (step, ratio or Fraction(5, 8))
    for seed in range(20):
        crop = random_crop(24, frame, found, np.random.default_rng(seed))
        assert all(Fraction(v) * exact == scaled(crop, exact)[i] for i, v in enumerate(crop))
    assert all(v % found == 0 for v in centre_crop(24, frame, found))


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(UserError, match="differ in shape"):
        Grid.of((48, 64), (24, 30))


@pytest.mark.parametrize(("crop", "message"), [(56, "larger than the frames of 48x48"), (41, "multiple of 2")])
def test_a_crop_that_does_not_fit_is_refused(registered, crop, message):
    with pytest.raises(UserError, match=message):
        ClipDataset(registered, "train", augment=True, use_spike=True, crop=crop)[0]


def test_a_frame_of_another_size_is_named(own_tree):
    write_png(own_tree / "train" / "clip0" / "blur" / "000002.png", np.zeros((48, 72, 3), np.uint8))
    data = DataConfig(root=str(own_tree), clip_len=2, crop_size=40, k=4)
    with pytest.raises(UserError, match=r"000002\.png: 48x72 pixels, the clip's first frame 48x64"):
        ClipDataset(data, "train", augment=False, use_spike=True, crop=40)[0]


def test_windows_start_every_clip_stride(tree):
    data = DataConfig(root=str(tree), clip_len=3, crop_size=40, k=4)
    assert len(ClipDataset(data, "train", False, False, crop=40)) == 2 * 4
    strided = ClipDataset(replace(data, clip_stride=2), "train", False, False, crop=40)
    assert [s["stems"][0] for s in strided] == ["000001", "000003"] * 2
    assert "counts" not in strided[0]


def test_whole_frames_hold_what_the_files_hold(tree):
    data = DataConfig(root=str(tree), clip_len=2, crop_size=40, k=4)
    sample = collate([ClipDataset(data, "val", False, True)[1]])
    clip = tree / "val" / "held"
    assert sample["blur"].shape == (1, 2, 3, 48, 64)
    np.testing.assert_array_equal(
        sample["sharp"][0, 1].permute(1, 2, 0).numpy(), read_image(clip / "sharp" / "000003.png")
    )
    counts = SpikeFile(clip / "spike" / "000002.dat", SpikeGeometry(24, 32)).voxels(4)
    np.testing.assert_array_equal(sample["counts"][0, 0].numpy(), counts)
    assert sample["bin_frames"].tolist() == [[[2, 2, 2, 2]] * 2]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_draws_cover_every_epoch_once_and_resume_anywhere(world):
    samples = 7
    streams = [islice(DrawSampler(samples, 5, 0, rank, world), 6 * samples) for rank in range(world)]
    draws = [pair for group in zip(*streams, strict=True) for pair in group]
    assert [draw for _, draw in draws] == list(range(6 * samples * world))
    for epoch in range(6):
        part = [index for index, _ in draws[epoch * samples : (epoch + 1) * samples]]
        assert sorted(part) == list(range(samples))
    resumed = list(islice(DrawSampler(samples, 5, start=4 * world, rank=0, world=world), 5))
    assert resumed == draws[4 * world :: world][:5]


def test_a_run_that_changes_its_sizes_takes_every_draw_once_and_in_order():
    """Steps of (batch size, accumulation, processes), as a run is resumed on what machines there are."""
    samples, draws = 11, 0
    whole = list(islice(DrawSampler(samples, 5), 200))
    taken = []
    for batch, accumulate, world in ((2, 1, 1), (1, 2, 2), (3, 1, 3), (1, 1, 1), (2, 3, 2), (4, 1, 3)):
        streams = [iter(DrawSampler(samples, 5, draws, rank, world)) for rank in range(world)]
        for _ in range(2 * batch * accumulate):
            taken += [next(stream) for stream in streams]
        draws += 2 * batch * accumulate * world
    assert taken == whole[:draws]
    assert [draw for _, draw in taken] == list(range(draws))


def test_samples_tell_their_draws(registered):
    dataset = ClipDataset(registered, "train", True, False, crop=40)
    assert collate([dataset[(1, 8)], dataset[(0, 2**40)]])["draw"] == [8, 2**40]
    assert collate([dataset[0]])["draw"] == [0]


def test_normalisation():
    counts = torch.tensor([[4, 0, 3]]).view(1, 3, 1, 1)
    frames = torch.tensor([[4, 0, 6]])

    def values(**settings):
        return normalise_voxels(counts, frames, NormConfig(**settings)).flatten().tolist()

    assert values() == [1.0, 0.0, 0.5]
    assert values(mode="counts") == [4.0, 0.0, 3.0]
    assert values(log1p=True) == pytest.approx([np.log(2), 0, np.log(1.5)], rel=1e-6)
    assert values(mode="counts", mean=1, std=2) == [1.5, -0.5, 1.0]
