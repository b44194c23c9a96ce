"""The operator's record with its test cases."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Draw
from spikevrt_kernels.core.operator import Operator
from spikevrt_kernels.voxelize.op import voxelize
from spikevrt_kernels.voxelize.reference import unpack_frames, voxelize_reference


def voxelize_case(n: int, H: int, W: int, K: int) -> Case:
    """A case that counts n packed spike frames of H x W pixels in K bins; results must be exact."""
    make, run = partial(packed_frames, n, H * W // 8), partial(run_voxelize, H, W, K)
    return Case("voxelize", f"n{n}-H{H}W{W}-K{K}", ("stored",), 1, make, run, reference="numpy")


def packed_frames(n: int, size: int, draw: Draw) -> list[Tensor]:
    """n random frames of `size` bytes."""
    return [draw(n, size, spread=64, mean=128).clamp(0, 255).to(torch.uint8).cpu()]


def run_voxelize(H: int, W: int, K: int, inputs: Sequence[Tensor], backend: str) -> Tensor:
    """Run the operator: counts (K,H,W)."""
    packed = inputs[0].numpy()
    if backend == "numpy":
        return torch.from_numpy(voxelize_reference(unpack_frames(packed, H, W, flip=True), K))
    return torch.from_numpy(voxelize(packed, H, W, K))


OPERATOR = Operator(
    "voxelize",
    ("numba",),
    (voxelize_case(88, 45, 56, 32), voxelize_case(41, 9, 56, 7)),
    (voxelize_case(5, 3, 8, 8),),
    floating=False,
)
