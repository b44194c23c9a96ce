"""The deformable convolution reads and writes the bytes that it declares, but for what tiles read around them."""

import pytest
import torch

from spikevrt_kernels.deform_conv import flow_guided_deform_conv
from spikevrt_kernels.deform_conv.spec import DECLARED, gathered, of_backward, of_forward
from spikevrt_kernels.deform_conv.triton.tile_table import TABLE
from spikevrt_kernels.proof.byte_counter import count_bytes
from spikevrt_kernels.proof.operator_counter import count_operators

SHAPES = {  # B, T, H, W, C, groups, outputs
    "C96, one tile": (1, 2, 2, 3, 96, 16, 96),
    "C120, one tile": (1, 2, 2, 3, 120, 8, 120),
    "C8, four tiles": (1, 2, 3, 9, 8, 2, 20),
}
FEATURES = tuple(f"{name}_ptr" for name in ["predicted", "flow", "grad", "out", "dpredicted", "dflow", "fixed"])
INT64, FLOAT32 = 8, 4
ALL_TAPS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]


def tiles(H, W, pixels):
    """The pixels of each tile."""
    rows = pixels // 8
    for top in range(0, H, rows):
        for left in range(0, W, 8):
            yield [(y, x) for y in range(top, min(top + rows, H)) for x in range(left, min(left + 8, W))]


def around(tile, taps, H, W):
    """Pixels that taps of a tile read without offsets: four around each position, where they exist."""
    read = {(y + i + k, x + j + m) for y, x in tile for i, j in taps for k in (0, 1) for m in (0, 1)}
    return sum(0 <= y < H and 0 <= x < W for y, x in read)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_declared_bytes_are_those_of_the_interpreter(shape, monkeypatch):
    for kernel, config in TABLE.items():
        monkeypatch.setitem(TABLE, kernel, config._replace(pixels=16))
    B, T, H, W, C, groups, outputs = shape
    pairs = 2 * B * (T - 1)
    sizes = (B, T, H, W, C), (pairs, H, W, 27 * groups), (pairs, 2, H, W), (outputs, C, 3, 3), (outputs,)
    inputs = [torch.zeros(size, requires_grad=True) for size in sizes]
    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        out = flow_guided_deform_conv(*inputs, 2.5, backend="triton")
    # A tile's x is estimated: each of its pixels counts once. An image of one tile has no others.
    estimated = gathered(*inputs[:2])
    counted = pairs * C * sum(around(tile, ALL_TAPS, H, W) for tile in tiles(H, W, 16))
    assert counted == estimated or W > 8
    (forward,) = launches
    declared = of_forward(*inputs, 2.5, torch.float32)
    assert forward.total("x_ptr") == counted * FLOAT32
    assert forward.total("x_ptr", *FEATURES) == declared.bytes + (counted - estimated) * FLOAT32
    assert traffic.by_operator["spikevrt::deform_conv"] == declared.bytes

    with count_bytes() as launches, count_operators(DECLARED) as traffic:
        torch.autograd.grad(out, inputs, torch.randn_like(out))
    declared = of_backward(out, *inputs[:4], 2.5, torch.float32)
    more = (counted - estimated) * (FLOAT32 + INT64)
    converted = inputs[0].numel() * FLOAT32
    found = sum(launch.total(*FEATURES, "x_ptr", "dx_ptr") for launch in launches)
    assert (found, len(launches)) == (declared.bytes + more, declared.launches)
    assert converted == launches[2].total("dx_ptr")
    assert traffic.by_operator["spikevrt::deform_conv_backward"] == declared.bytes


def test_the_halo_of_a_whole_tile():
    """Without offsets, 8x8 pixels inside an image read 11x11."""
    inner = list(tiles(32, 32, 64))[5]
    assert around(inner, ALL_TAPS, 32, 32) == 11 * 11
