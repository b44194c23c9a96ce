"""Deformable convolution against a loop over pixels and taps, and gradients by finite differences; around a flow."""

import pytest
import torch
from torch.nn import functional as F

from spikevrt_kernels.deform_conv import deform_conv, flow_guided_deform_conv, tap_major

N, C, OUT, H, W, TAPS = 2, 4, 3, 5, 6, 9


def inputs(groups: int, scale: float = 2.0):
    """Float64 tensors; some taps fall outside."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x, offset = draw(N, C, H, W), scale * draw(N, groups * 2 * TAPS, H, W)
    mask = draw(N, groups * TAPS, H, W).sigmoid()
    return x, offset, mask, draw(OUT, C, 3, 3), draw(OUT)


def sampled(x, row, column):
    """x (H,W) between its pixels, 0 outside."""
    top, left = int(row // 1), int(column // 1)
    total = torch.zeros((), dtype=x.dtype)
    for i, share_i in ((top, 1 - (row - top)), (top + 1, row - top)):
        for j, share_j in ((left, 1 - (column - left)), (left + 1, column - left)):
            if 0 <= i < H and 0 <= j < W:
                total = total + share_i * share_j * x[i, j]
    return total


def by_loop(x, offset, mask, weight, bias):
    """Zhu et al. 2019, eq. 1, written down."""
    groups = mask.shape[1] // TAPS
    out = bias.view(1, -1, 1, 1).repeat(N, 1, H, W)
    for n in range(N):
        for c in range(C):
            g = c // (C // groups)
            for k in range(TAPS):
                for i in range(H):
                    for j in range(W):
                        dy, dx = (float(offset[n, (g * TAPS + k) * 2 + axis, i, j]) for axis in (0, 1))
                        value = sampled(x[n, c], i + k // 3 - 1 + dy, j + k % 3 - 1 + dx)
                        value = value * mask[n, g * TAPS + k, i, j]
                        out[n, :, i, j] += weight[:, c, k // 3, k % 3] * value
    return out


@pytest.mark.parametrize("groups", [1, 2])
def test_it_equals_a_loop_over_pixels_and_taps(groups):
    arguments = inputs(groups)
    torch.testing.assert_close(deform_conv(*arguments), by_loop(*arguments))


def test_without_offsets_it_is_a_convolution():
    x, offset, mask, weight, _ = inputs(2)
    plain = deform_conv(x, torch.zeros_like(offset), torch.ones_like(mask), weight, None)
    torch.testing.assert_close(plain, F.conv2d(x, weight, padding=1))


def test_gradients():
    *maps, weight, bias = inputs(2)
    small = [tensor[:1, :, :3, :4] for tensor in maps]
    torch.autograd.gradcheck(deform_conv, [tensor.contiguous().requires_grad_() for tensor in (*small, weight, bias)])


def test_pairs_around_a_flow():
    """Every pair by itself, as the model's convolution predicts it; `tap_major` gives the order."""
    generator = torch.Generator().manual_seed(1)
    B, T, G, residue = 2, 3, 2, 2.5
    x = torch.randn(B, T, H, W, C, dtype=torch.float64, generator=generator)
    predicted = torch.randn(2, B, T - 1, 27 * G, H, W, dtype=torch.float64, generator=generator)
    flow = torch.randn(2, B, T - 1, 2, H, W, dtype=torch.float64, generator=generator)
    weight, bias = inputs(G)[3:]
    rows = predicted[:, :, :, tap_major(G)].flatten(0, 2).permute(0, 2, 3, 1).contiguous()
    out = flow_guided_deform_conv(x, rows, flow.flatten(0, 2), weight, bias, residue, "naive")
    for direction in (0, 1):
        for b in range(B):
            for t in range(T - 1):
                offsets, mask = predicted[direction, b, t].split((18 * G, 9 * G))
                around = flow[direction, b, t].flip(0).repeat(9 * G, 1, 1)
                one = x[b, t + 1 - direction].permute(2, 0, 1)
                by_tap = (one, residue * offsets.tanh() + around, mask.sigmoid())
                wanted = deform_conv(*(part[None] for part in by_tap), weight, bias)[0]
                torch.testing.assert_close(out[direction, b, t].permute(2, 0, 1), wanted)


def test_every_prediction_has_one_place():
    assert sorted(tap_major(16).tolist()) == list(range(27 * 16))
    # Offsets come as [G][9 taps][(dy, dx)], then masks as [G][9 taps]; of 2 groups, dy, dx and the mask of tap 0:
    assert tap_major(2)[:6].tolist() == [0, 18, 1, 19, 36, 45]
