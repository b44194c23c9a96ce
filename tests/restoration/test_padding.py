"""Padding: every size becomes one that the model takes, and spikes stay aligned with frames."""

from fractions import Fraction

import pytest
import torch

from spikevrt.restoration.padding import mirror_index, plan_padding

RATIOS = (Fraction(1), Fraction(1, 2), Fraction(1, 4), Fraction(5, 8), Fraction(2))


@pytest.mark.parametrize("ratio", RATIOS, ids=str)
@pytest.mark.parametrize("window", [(2, 4, 4), (6, 8, 8), (5, 4, 8)], ids=str)
@pytest.mark.parametrize("size", [(8, 8), (40, 264), (272, 640), (56, 136), (720, 1280)], ids=str)
def test_sizes_fit_the_model_and_the_spike_pixels(size, window, ratio):
    padding = plan_padding(size, window, ratio)
    for old, new, w in zip(size, padding.padded, window[1:], strict=True):
        assert new >= old
        assert new % 8 == 0
        assert new > 32
        assert new >= 8 * w
        assert (new * ratio).denominator == 1


def test_nothing_is_padded_where_nothing_need_be():
    assert plan_padding((64, 72), (6, 8, 8)).padded == (64, 72)
    x = torch.rand(2, 64, 72)
    assert torch.equal(plan_padding((64, 72), (6, 8, 8)).frames(x), x)


@pytest.mark.parametrize("size", [(34, 50), (8, 8), (10, 6)], ids=str)
def test_spikes_are_mirrored_at_the_same_line(size):
    padding = plan_padding(size, (2, 4, 4), Fraction(1, 2))
    spikes = torch.arange(size[0] * size[1] // 4).view(1, size[0] // 2, size[1] // 2)
    frames = spikes.repeat_interleave(2, 1).repeat_interleave(2, 2)
    large = padding.spikes(spikes).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(padding.frames(frames), large)
    assert torch.equal(padding.crop(padding.frames(frames)), frames)


def test_mirrors_go_back_and_forth():
    assert mirror_index(3, 8).tolist() == [0, 1, 2, 2, 1, 0, 0, 1]


def test_a_size_inside_a_spike_pixel_is_refused():
    with pytest.raises(ValueError, match="end inside a spike pixel"):
        plan_padding((33, 64), (2, 4, 4), Fraction(1, 2))
