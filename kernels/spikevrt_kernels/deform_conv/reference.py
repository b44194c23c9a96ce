"""Modulated deformable 3x3 convolution in plain PyTorch, one tap after the other (without a column buffer)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.precision import at_least_fp32
from spikevrt_kernels.flow_warp import pixel_grid, sample_pixels

TAPS = 9


def deform_conv(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """out(p) = bias + sum_k weight_k . mask_k(p) x(p + tap_k + offset_k(p)) (Zhu et al. 2019, eq. 1).

    Args:
        x: (N,C,H,W) floating point.
        offset: (N,G*18,H,W), laid out [G][9 taps][(dy, dx)] in pixels; G groups of C/G neighbouring channels.
        mask: (N,G*9,H,W) in [0, 1], laid out [G][9 taps].
        weight: (Cout,C,3,3), taps row-major; padding 1, zero outside the image.
        bias: (Cout,) or None.

    Returns:
        (N,Cout,H,W), the type of x.
    """
    N, C, H, W = x.shape
    G = mask.shape[1] // TAPS
    offset = at_least_fp32(offset).view(N * G, TAPS, 2, H, W)
    mask = mask.reshape(N * G, TAPS, H, W)
    grouped = at_least_fp32(x).reshape(N * G, C // G, H, W)
    grid, taps = pixel_grid(H, W, like=offset), pixel_grid(3, 3, like=offset).view(TAPS, 2) - 1
    out: Tensor | None = None
    for k in range(TAPS):
        position = grid + taps[k] + offset[:, k].flip(1).permute(0, 2, 3, 1)
        sampled = sample_pixels(grouped, position) * mask[:, k, None]
        term = F.conv2d(sampled.view(N, C, H, W).to(x.dtype), weight[:, :, k // 3, k % 3, None, None])
        out = term if out is None else out + term
    assert out is not None
    return out if bias is None else out + bias.view(1, -1, 1, 1).to(out.dtype)


def tap_major(G: int) -> Tensor:
    """(27G,) indices that put the outputs of an offset convolution in the order of `flow_guided_deform_conv`.

    They come as offsets [G][9 taps][(dy, dx)], then masks [G][9 taps]; `weight[tap_major(G)]` and `bias[tap_major(G)]`
    give them as [9 taps][dy, dx, mask][G].
    """
    offsets = torch.arange(2 * TAPS * G).view(G, TAPS, 2)
    masks = torch.arange(2 * TAPS * G, 3 * TAPS * G).view(G, TAPS, 1)
    return torch.cat((offsets, masks), 2).permute(1, 2, 0).reshape(-1)


def flow_guided_deform_conv_reference(
    x: Tensor, predicted: Tensor, flow: Tensor, weight: Tensor, bias: Tensor, max_residue: float
) -> Tensor:
    """The convolution of every neighbour around its flow; shapes as in `flow_guided_deform_conv`."""
    B, T, H, W, _ = x.shape
    neighbours = torch.cat((x[:, 1:], x[:, :-1])).flatten(0, 1).permute(0, 3, 1, 2)  # (N,C,H,W)
    by_group = at_least_fp32(predicted).unflatten(-1, (TAPS, 3, -1)).permute(0, 5, 3, 4, 1, 2)  # (N,G,9,3,H,W)
    toward = at_least_fp32(flow).flip(1)[:, None, None]  # (N,1,1,2,H,W): dy, dx
    offset = max_residue * by_group[:, :, :, :2].tanh() + toward
    mask = by_group[:, :, :, 2].sigmoid()
    out = deform_conv(neighbours, offset.flatten(1, 3), mask.flatten(1, 2), weight, bias)
    return out.permute(0, 2, 3, 1).reshape(2, B, T - 1, H, W, weight.shape[0])
