"""Warping by optical flow in plain PyTorch; coordinates are at least float32."""

import torch
from torch import Tensor
from torch.nn import functional as F

from spikevrt_kernels.core.precision import at_least_fp32


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """(H,W,2) pixel coordinates (x, y), with the type and device of `like`."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=like.dtype, device=like.device),
        torch.arange(width, dtype=like.dtype, device=like.device),
        indexing="ij",
    )
    return torch.stack((x, y), -1)


def pair(x: float, y: float, like: Tensor) -> Tensor:
    """(2,) tensor of two numbers, with the type and device of `like`.

    The numbers are filled in on the device: a tensor built from Python numbers is copied, and the host waits for that.
    """
    both = like.new_full((2,), x)
    both[1:].fill_(y)
    return both


def sample_pixels(x: Tensor, position: Tensor, mode: str = "bilinear", padding: str = "zeros") -> Tensor:
    """Sample x (N,C,H,W) at the pixel coordinates position (N,h,w,2), (x, y) -> (N,C,h,w) in the type of x.

    `padding` is `zeros` (neighbours outside the image count as 0) or `border`.
    """
    H, W = x.shape[-2:]
    scale = pair(max(W - 1, 1), max(H - 1, 1), like=position)
    grid = 2 * position / scale - 1
    if padding == "border" and grid.device.type == "cpu":
        # A NaN reads the first pixel, as on CUDA; without this, PyTorch's backward on the CPU writes out of bounds.
        grid = grid.nan_to_num(nan=-1.0)
    sampled = F.grid_sample(x.to(grid.dtype), grid, mode, padding, align_corners=True)
    return sampled.to(x.dtype)


def flow_warp(x: Tensor, flow: Tensor, mode: str = "bilinear", padding: str = "zeros") -> Tensor:
    """Sample x where the flow points: out(p) = x(p + flow(p)).

    Args:
        x: (N,C,H,W) floating point.
        flow: (N,2,H,W), (dx, dy) in pixels of x.
        mode: `bilinear`, or `nearest4`: the samples at (floor x, floor y), (floor x, ceil y),
            (ceil x, floor y), (ceil x, ceil y) side by side (VRT's aligned input; no gradient to the flow).
        padding: `zeros` or `border`.

    Returns:
        (N,C,H,W), or (N,4C,H,W) for `nearest4`; the type of x.
    """
    flow = at_least_fp32(flow)
    position = pixel_grid(x.shape[-2], x.shape[-1], like=flow) + flow.permute(0, 2, 3, 1)
    if mode == "bilinear":
        return sample_pixels(x, position, "bilinear", padding)
    left, top = position.floor().unbind(-1)
    right, bottom = position.ceil().unbind(-1)
    corners = ((left, top), (left, bottom), (right, top), (right, bottom))
    return torch.cat([sample_pixels(x, torch.stack(c, -1), "nearest", padding) for c in corners], 1)
