"""Deformable convolution in float32 on the CPU: what the taps of some rows read as columns, then one product for all.

Plain PyTorch samples nine whole maps one after the other. Here the columns of a strip of rows stay in the cache, and
neighbouring pixels are computed side by side in vector registers. Only the inputs are kept for the backward pass.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from spikevrt_kernels.core.backends import runs_on_cpu
from spikevrt_kernels.core.numba_jit import compiled
from spikevrt_kernels.core.threads import in_threads
from spikevrt_kernels.deform_conv.reference import TAPS, deform_conv

STRIP = 4096
"""Pixels of a strip, unless one row has more: a megabyte of columns for each 28 channels."""
Floats = NDArray[np.floating[Any]]


class Strip(NamedTuple):
    """The work of one call of a kernel: rows of an image, and groups of its channels."""

    top: int
    """The first row."""
    rows: int
    first: int
    """The first group."""
    last: int
    """The group after the last one."""


@compiled(error_model="numpy")
def place_corners(
    offset: Floats, g: int, tap: int, strip: Strip, corners: NDArray[np.int32], inside: Floats, between: Floats
) -> None:
    """Find the four pixels around each position of a tap.

    Args:
        offset: (G,9,2,H,W) of one image.
        g: the group.
        tap: the tap.
        strip: whose P = rows * W pixels.
        corners: (4,P) their places in an image: top left, top right, bottom left, bottom right; written.
        inside: (4,P) 1 for those inside the image, 0 for others, whose place is that of some pixel; written.
        between: (2,P) how far the position is from the top left one, y and x in [0, 1); written.
    """
    H, W = offset.shape[3], offset.shape[4]
    for r in range(strip.rows):
        i = strip.top + r
        for j in range(W):
            p = r * W + j
            y = offset[g, tap, 0, i, j] + (i + tap // 3 - 1)
            x = offset[g, tap, 1, i, j] + (j + tap % 3 - 1)
            # Far positions come near, and what is not a number goes outside.
            y = min(y, H + 1.0) if y > -2 else -2.0
            x = min(x, W + 1.0) if x > -2 else -2.0
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            between[0, p], between[1, p] = y - y0, x - x0
            for k in range(4):
                row, column = y0 + k // 2, x0 + k % 2
                there = (row >= 0) & (row < H) & (column >= 0) & (column < W)
                inside[k, p] = 1.0 if there else 0.0
                corners[k, p] = row * W + column if there else 0


@compiled(error_model="numpy")
def corner_shares(inside: Floats, between: Floats, shares: Floats) -> None:
    """Write the share (4,P) of each corner in the value at a position; 0 outside."""
    for p in range(inside.shape[1]):
        y, x = between[0, p], between[1, p]
        shares[0, p] = inside[0, p] * (1 - y) * (1 - x)
        shares[1, p] = inside[1, p] * (1 - y) * x
        shares[2, p] = inside[2, p] * y * (1 - x)
        shares[3, p] = inside[3, p] * y * x


@compiled(error_model="numpy")
def sample(x: Floats, offset: Floats, mask: Floats, strip: Strip, columns: Floats) -> None:
    """Write the columns (C,9,P) of a strip's groups: the values of all taps, times their masks.

    Args:
        x: (C,H*W) of one image.
        offset: (G,9,2,H,W).
        mask: (G,9,H*W).
        strip: rows and groups.
        columns: (C,9,P), P = rows * W.
    """
    G, W = offset.shape[0], offset.shape[4]
    width, P, begin = x.shape[0] // G, strip.rows * W, strip.top * W
    corners = np.empty((4, P), np.int32)
    inside, shares, between = np.empty((4, P), x.dtype), np.empty((4, P), x.dtype), np.empty((2, P), x.dtype)
    for g in range(strip.first, strip.last):
        for tap in range(TAPS):
            place_corners(offset, g, tap, strip, corners, inside, between)
            corner_shares(inside, between, shares)
            for c in range(g * width, (g + 1) * width):
                for p in range(P):
                    value = shares[0, p] * x[c, corners[0, p]] + shares[1, p] * x[c, corners[1, p]]
                    value += shares[2, p] * x[c, corners[2, p]] + shares[3, p] * x[c, corners[3, p]]
                    columns[c, tap, p] = mask[g, tap, begin + p] * value


@compiled(error_model="numpy")
def differentiate_samples(
    x: Floats, offset: Floats, mask: Floats, strip: Strip, columns: Floats, dx: Floats, d_offset: Floats, d_mask: Floats
) -> None:
    """The backward of `sample`, which also computes the columns again.

    Groups have channels of their own, so threads that divide the groups never add to the same number.

    Args:
        x: (C,H*W) of one image.
        offset: (G,9,2,H,W).
        mask: (G,9,H*W).
        strip: rows and groups.
        columns: (C,9,P) the gradient of the columns; the columns themselves are written in its place.
        dx: (C,H*W), to which the gradient of x is added.
        d_offset: (G,9,2,H*W), written.
        d_mask: (G,9,H*W), written.
    """
    G, W = offset.shape[0], offset.shape[4]
    width, P, begin = x.shape[0] // G, strip.rows * W, strip.top * W
    corners = np.empty((4, P), np.int32)
    inside, shares, between = np.empty((4, P), x.dtype), np.empty((4, P), x.dtype), np.empty((2, P), x.dtype)
    sums = np.empty((4, P), x.dtype)
    for g in range(strip.first, strip.last):
        for tap in range(TAPS):
            place_corners(offset, g, tap, strip, corners, inside, between)
            corner_shares(inside, between, shares)
            sums[:] = 0
            for c in range(g * width, (g + 1) * width):
                for p in range(P):
                    d = mask[g, tap, begin + p] * columns[c, tap, p]
                    for k in range(4):
                        dx[c, corners[k, p]] += shares[k, p] * d
                for p in range(P):
                    a, b = x[c, corners[0, p]], x[c, corners[1, p]]
                    e, f = x[c, corners[2, p]], x[c, corners[3, p]]
                    d = columns[c, tap, p]
                    sums[0, p] += d * a
                    sums[1, p] += d * b
                    sums[2, p] += d * e
                    sums[3, p] += d * f
                    value = shares[0, p] * a + shares[1, p] * b + (shares[2, p] * e + shares[3, p] * f)
                    columns[c, tap, p] = mask[g, tap, begin + p] * value
            for p in range(P):
                y, x_ = between[0, p], between[1, p]
                gate = mask[g, tap, begin + p]
                a, b = inside[0, p] * sums[0, p], inside[1, p] * sums[1, p]
                e, f = inside[2, p] * sums[2, p], inside[3, p] * sums[3, p]
                d_mask[g, tap, begin + p] = (1 - y) * ((1 - x_) * a + x_ * b) + y * ((1 - x_) * e + x_ * f)
                d_offset[g, tap, 0, begin + p] = gate * ((1 - x_) * (e - a) + x_ * (f - b))
                d_offset[g, tap, 1, begin + p] = gate * ((1 - y) * (b - a) + y * (f - e))


class Maps(NamedTuple):
    """The inputs of one image as the kernels take them, in the memory of the tensors."""

    x: Floats
    """(C,H*W)."""
    offset: Floats
    """(G,9,2,H,W)."""
    mask: Floats
    """(G,9,H*W)."""


def images(x: Tensor, offset: Tensor, mask: Tensor) -> Iterator[Maps]:
    """Each image's maps; all contiguous, shapes as in `deform_conv`."""
    H, W = x.shape[-2:]
    for n in range(x.shape[0]):
        yield Maps(
            x[n].flatten(1).numpy(),
            offset[n].view(-1, TAPS, 2, H, W).numpy(),
            mask[n].view(-1, TAPS, H * W).numpy(),
        )


def strips(H: int, W: int) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each strip of an image."""
    rows = max(1, STRIP // W)
    return ((top, min(rows, H - top)) for top in range(0, H, rows))


def on_groups(kernel: Any, maps: Maps, top: int, rows: int, *others: Floats) -> None:
    """Run a kernel on a strip, its groups divided among PyTorch's threads."""
    groups = len(maps.mask)
    threads = min(torch.get_num_threads(), groups)

    def run(thread: int, threads: int) -> None:
        kernel(*maps, Strip(top, rows, groups * thread // threads, groups * (thread + 1) // threads), *others)

    in_threads(run, threads)


class DeformConv(torch.autograd.Function):
    """The convolution and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, offset, mask, weight)
        N, C, H, W = x.shape
        matrix, out = weight.detach().flatten(1), x.new_empty(N, weight.shape[0], H * W)
        tensors = [t.detach() for t in (x, offset, mask)]
        for image, result in zip(images(*tensors), out, strict=True):
            for top, rows in strips(H, W):
                columns = x.new_empty(C, TAPS, rows * W)
                on_groups(sample, image, top, rows, columns.numpy())
                own = result[:, top * W : (top + rows) * W]
                torch.addmm(bias.detach()[:, None], matrix, columns.flatten(0, 1), out=own)
        return out.view(N, -1, H, W)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, offset, mask, weight = ctx.saved_tensors
        C, H, W = x.shape[1:]
        matrix = weight.flatten(1)
        dx, d_offset, d_mask = torch.zeros_like(x), torch.empty_like(offset), torch.empty_like(mask)
        d_matrix = torch.zeros_like(matrix)
        grad = grad.contiguous()
        found = zip(images(x, offset, mask), images(dx, d_offset, d_mask), grad.flatten(2), strict=True)
        for image, (d_x, d_off, d_m), d_out in found:
            for top, rows in strips(H, W):
                own = d_out[:, top * W : (top + rows) * W]
                columns = (matrix.t() @ own).view(C, TAPS, rows * W)
                flat = d_off.reshape(*d_off.shape[:3], H * W)
                on_groups(differentiate_samples, image, top, rows, columns.numpy(), d_x, flat, d_m)
                d_matrix.addmm_(own, columns.flatten(0, 1).t())
        return dx, d_offset, d_mask, d_matrix.view_as(weight), grad.sum((0, 2, 3))


def deform_conv_cpu(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`deform_conv` by kernels for the CPU where they suit, else in plain PyTorch."""
    tensors = (x, offset, mask, weight, bias)
    if not suits_cpu(*tensors):
        return deform_conv(*tensors)
    return DeformConv.apply(x.contiguous(), offset.contiguous(), mask.contiguous(), weight, bias)


def suits_cpu(*tensors: Tensor) -> bool:
    """Whether the kernels can run; under a dispatch mode (memory plan, counter) they would go unnoticed."""
    if (
        not runs_on_cpu(tensors[0])
        or torch.compiler.is_compiling()
        or is_in_torch_dispatch_mode()
        or torch.is_autocast_enabled("cpu")
    ):
        return False
    return all(t.dtype == torch.float32 and type(t.detach()) is Tensor for t in tensors)
