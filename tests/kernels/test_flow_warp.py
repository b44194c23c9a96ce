"""Flow warping against a loop over pixels, gradients by finite differences, and NaN coordinates."""

import math

import pytest
import torch

from spikevrt_kernels.flow_warp import flow_warp

SHAPE = N, C, H, W = 2, 3, 5, 7


def inputs(scale: float = 3.0):
    """Float64 image and flow; some of it points outside."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPE, dtype=torch.float64, generator=generator)
    return x, scale * torch.randn(N, 2, H, W, dtype=torch.float64, generator=generator)


def pixel(x, n, row, column, padding):
    """One pixel (C,), of the border or 0 outside."""
    if padding == "border":
        row, column = min(max(row, 0), H - 1), min(max(column, 0), W - 1)
    return x[n, :, row, column] if 0 <= row < H and 0 <= column < W else torch.zeros(C, dtype=x.dtype)


def by_loop(x, flow, mode, padding):
    """The same, pixel by pixel."""
    out = torch.empty(N, C * (4 if mode == "nearest4" else 1), H, W, dtype=x.dtype)
    for n in range(N):
        for i in range(H):
            for j in range(W):
                right, down = j + float(flow[n, 0, i, j]), i + float(flow[n, 1, i, j])
                if padding == "border" and mode == "bilinear":
                    right, down = min(max(right, 0.0), W - 1.0), min(max(down, 0.0), H - 1.0)
                left, top = math.floor(right), math.floor(down)
                a, b = right - left, down - top
                if mode == "nearest4":
                    rows, columns = (top, math.ceil(down)), (left, math.ceil(right))
                    parts = [pixel(x, n, row, column, padding) for column in columns for row in rows]
                    out[n, :, i, j] = torch.cat(parts)
                    continue
                out[n, :, i, j] = sum(
                    weight * pixel(x, n, top + dy, left + dx, padding)
                    for dy, dx, weight in (
                        (0, 0, (1 - b) * (1 - a)),
                        (0, 1, (1 - b) * a),
                        (1, 0, b * (1 - a)),
                        (1, 1, b * a),
                    )
                )
    return out


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest4"])
def test_it_equals_a_loop_over_pixels(mode, padding):
    x, flow = inputs()
    torch.testing.assert_close(flow_warp(x, flow, mode, padding), by_loop(x, flow, mode, padding))


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_gradients(padding):
    x, flow = inputs(0.7)
    torch.autograd.gradcheck(lambda x, flow: flow_warp(x, flow, padding=padding), (x.requires_grad_(), flow))
    torch.autograd.gradcheck(lambda flow: flow_warp(x.detach(), flow, padding=padding), flow.requires_grad_())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_a_flow_that_left_all_bounds_harms_nothing(padding, value):
    x, flow = inputs()
    flow[:, :, ::2] = value
    x, flow = x.float().requires_grad_(), flow.float().requires_grad_()
    flow_warp(x, flow, padding=padding).nan_to_num().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
