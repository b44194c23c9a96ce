"""Modulated deformable 3x3 convolution in plain PyTorch, one tap after the other (without a column buffer)."""

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
