"""Grids, constants and sums of the launches of the block and of the fusion."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.launch import Launch, architecture, pieces
from spikevrt_kernels.core.precision import accumulation_dtype
from spikevrt_kernels.core.residual_blocks import EPS, Norm
from spikevrt_kernels.core.sums import Sums, new_sums, programs_over
from spikevrt_kernels.core.tile_config import Config, choose
from spikevrt_kernels.core.triton_math import TRITON_TYPES
from spikevrt_kernels.geglu_block.reference import GEGLUWeights
from spikevrt_kernels.geglu_block.triton.backward import geglu_block_bwd_dx_kernel, geglu_block_bwd_weights_kernel
from spikevrt_kernels.geglu_block.triton.forward import geglu_block_fwd_kernel
from spikevrt_kernels.geglu_block.triton.tile_table import (
    OPERATOR,
    Size,
    chunk,
    chunks,
    division,
    slice_of,
    table,
)


class Call(NamedTuple):
    """One call as its kernels take it; all tensors are contiguous."""

    x: Tensor
    """(B,...,C), in a fusion (B,T,h,w,C)."""
    aligned: Tensor | None
    """(2,B,T-1,h,w,C) in the type of x: a fusion; or None: the block."""
    norm: Norm | None
    weights: GEGLUWeights
    """Matrices in the type `dot`, vectors in any type."""
    scale: Tensor | None
    """(B,) float32, or None."""
    dot: torch.dtype
    """Type of the inputs of matrix products."""
    target: int | None = None
    """Architecture whose tile sizes are used (90 for sm_90); None = that of the device."""

    @property
    def size(self) -> Size:
        """What decides how many registers a program needs."""
        inputs = 1 if self.aligned is None else 3
        return Size(self.x.shape[-1], self.weights.fc2[0].shape[1], inputs, self.dot.itemsize)

    @property
    def rows(self) -> int:
        """The rows (pixels) of x."""
        return self.x.numel() // self.x.shape[-1]

    def config(self, kernel: str) -> Config:
        """Tile size and warps of one kernel."""
        size, target = self.size, self.target or architecture(self.x.device)
        variant = (str(self.dot), size.C, size.R, size.inputs)
        return choose(OPERATOR, table(size, target), kernel, variant, None if self.target else self.x.device)


def out_like(x: Tensor, aligned: Tensor | None, dot: torch.dtype) -> Tensor:
    """Memory for the result: in the type of x, or of the products in a fusion."""
    return x.new_empty(x.shape, dtype=x.dtype if aligned is None else dot)


def shared_arguments(call: Call, kernel: str) -> dict[str, Any]:
    """The arguments that all kernels take."""
    x, aligned, size = call.x, call.aligned, call.size
    (w11, b11), (w12, b12), (w2, _) = call.weights
    gamma, beta = call.norm or (None, None)
    return {
        "x_ptr": x,
        "aligned_ptr": aligned,
        "gamma_ptr": gamma,
        "beta_ptr": beta,
        "w11_ptr": w11,
        "b11_ptr": b11,
        "w12_ptr": w12,
        "b12_ptr": b12,
        "w2_ptr": w2,
        "scale_ptr": call.scale,
        "M": call.rows,
        "per_sample": call.rows // x.shape[0],
        "HW": 0 if aligned is None else x.shape[2] * x.shape[3],
        "T": 0 if aligned is None else x.shape[1],
        "half": 0 if aligned is None else aligned[0].numel() // size.C,
        "eps": EPS,
        "C": size.C,
        "R": size.R,
        "NC": chunks(kernel, size),
        "CK": chunk(kernel, size),
        "RK": slice_of(size.R),
        "DOT": TRITON_TYPES[call.dot],
        "ACC": TRITON_TYPES[accumulation_dtype(call.dot)],
    }


def forward_launch(call: Call) -> tuple[Launch, Tensor]:
    """The forward kernel, and its output."""
    out, config = out_like(call.x, call.aligned, call.dot), call.config("forward")
    arguments = shared_arguments(call, "forward") | {"out_ptr": out, "b2_ptr": call.weights.fc2[1], "P": config.pixels}
    grid = (pieces(call.rows, config.pixels),)
    return Launch(geglu_block_fwd_kernel, grid, arguments, config.options()), out


class InputGradients(NamedTuple):
    """Outputs of the first backward kernel."""

    dx: Tensor
    daligned: Tensor | None
    """None in the block."""
    sums: Sums
    """Sums of b2 (C,) and, with a norm, of gamma (C,) and beta (C,)."""


def dx_launch(call: Call, grad: Tensor) -> tuple[Launch, InputGradients]:
    """From the gradient of out to those of the inputs, with sums of those of b2 and of the norm."""
    config, C = call.config("bwd_dx"), call.size.C
    programs = programs_over(pieces(call.rows, config.pixels))
    acc = accumulation_dtype(call.dot)
    found = InputGradients(
        call.x.new_empty(call.x.shape),
        None if call.aligned is None else call.aligned.new_empty(call.aligned.shape),
        new_sums(call.x, acc, programs, *((C,),) * (1 if call.norm is None else 3)),
    )
    arguments = shared_arguments(call, "bwd_dx") | {
        "grad_ptr": grad,
        "dx_ptr": found.dx,
        "daligned_ptr": found.daligned,
        "sums_ptr": found.sums.rows,
        "P": config.pixels,
    }
    return Launch(geglu_block_bwd_dx_kernel, (programs,), arguments, config.options()), found


def weights_launch(call: Call, grad: Tensor) -> tuple[Launch, Sums]:
    """The layers' weight gradients: sums of W11, W12 (R,Cin), W2 (C,R), b11, b12."""
    config, (C, R, inputs, _) = call.config("bwd_weights"), call.size
    RK, slices, parts = division(R, config.parts)
    programs = programs_over(pieces(call.rows, config.pixels), parts)
    shapes = ((R, inputs * C), (R, inputs * C), (C, R), (R,), (R,))
    sums = new_sums(call.x, accumulation_dtype(call.dot), programs, *shapes)
    arguments = shared_arguments(call, "bwd_weights") | {
        "grad_ptr": grad,
        "sums_ptr": sums.rows,
        "P": config.pixels,
        "RK": RK,
        "SLICES": slices,
    }
    return Launch(geglu_block_bwd_weights_kernel, (programs, parts), arguments, config.options()), sums
