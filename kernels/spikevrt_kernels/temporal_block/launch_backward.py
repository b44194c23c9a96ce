"""The block's backward: its launches in order, and how their sums become gradients."""

from typing import NamedTuple

import triton
from torch import Tensor

from spikevrt_kernels.launches import Launch, strides
from spikevrt_kernels.temporal_block.kernels.attention_backward import temporal_block_bwd_attend_kernel
from spikevrt_kernels.temporal_block.kernels.mlp_backward import (
    temporal_block_bwd_dy_kernel,
    temporal_block_bwd_mlp_kernel,
)
from spikevrt_kernels.temporal_block.kernels.projection_backward import temporal_block_bwd_project_kernel
from spikevrt_kernels.temporal_block.launch import (
    Call,
    attention_arguments,
    chunk_constants,
    mlp_arguments,
    pieces,
)

PROGRAMS = 256
"""Programs that walk over tiles, each with a row of sums: their number fixes the order of every sum."""


class Saved(NamedTuple):
    """What the forward keeps beside its inputs."""

    o: Tensor
    """(B,C,T,H,W), the attention before its output projection."""
    stats_q: Tensor
    """(2,B,T,H,W)."""
    stats_kv: Tensor
    """(2,B,Tk,H,W); that of q in self-attention."""


class Sums(NamedTuple):
    """Partial sums of one kernel: a row a program, in which gradients of these shapes follow one another."""

    rows: Tensor
    shapes: tuple[tuple[int, ...], ...]

    def gradients(self) -> list[Tensor]:
        """The gradients: one sum over programs, always in the same order."""
        total, out, start = self.rows.sum(0), [], 0
        for shape in self.shapes:
            size = 1
            for n in shape:
                size *= n
            out.append(total[start : start + size].view(shape))
            start += size
        return out


def new_sums(call: Call, programs: int, *shapes: tuple[int, ...]) -> Sums:
    """Room for the sums of `programs` programs."""
    width = sum(s[0] * (s[1] if len(s) > 1 else 1) for s in shapes)
    return Sums(call.x.new_empty((programs, width), dtype=call.acc), shapes)


def padded(C: int) -> int:
    """All channels of a tile, as a power of two."""
    return max(16, triton.next_power_of_2(C))


def programs_over(x: Tensor, pixels: int) -> int:
    """Programs that share the tiles of x."""
    B, _, T, H, W = x.shape
    return min(PROGRAMS, pieces(H * W, pixels) * T * B)


def dy_launch(call: Call, saved: Saved, grad: Tensor) -> tuple[Launch, Tensor, Sums]:
    """out -> y; sums of Wo transposed (C,C), bo, gamma, beta."""
    B, C, T = call.x.shape[:3]
    config = call.config("bwd_dy")
    programs = programs_over(call.x, config.pixels)
    dy, sums = call.x.new_empty(call.x.shape), new_sums(call, programs, (C, C), (C,), (C,), (C,))
    arguments = mlp_arguments(call, saved.o) | {"grad_ptr": grad, "dy_ptr": dy, "sums_ptr": sums.rows}
    arguments |= strides("g", grad) | {"B": B, "T": T, "P": config.pixels, "CP": padded(C)}
    del arguments["b2_ptr"]
    return Launch(temporal_block_bwd_dy_kernel, (programs,), arguments, config.options()), dy, sums


def mlp_backward_launch(call: Call, saved: Saved, grad: Tensor) -> tuple[Launch, Sums]:
    """Sums of W1 (R,C), W2 transposed (R,C), b1, b2."""
    B, C, T = call.x.shape[:3]
    config = call.config("bwd_mlp")
    programs = programs_over(call.x, config.pixels)
    arguments = mlp_arguments(call, saved.o) | {"grad_ptr": grad}
    del arguments["b2_ptr"]
    R, slices = arguments["R"], pieces(pieces(arguments["R"], arguments["RK"]), config.parts)
    sums = new_sums(call, programs, (R, C), (R, C), (R,), (C,))
    arguments |= strides("g", grad) | {"sums_ptr": sums.rows, "B": B, "T": T, "P": config.pixels, "SLICES": slices}
    arguments["CP"] = padded(C)
    grid = (programs, pieces(R, arguments["RK"] * slices))
    return Launch(temporal_block_bwd_mlp_kernel, grid, arguments, config.options()), sums


def attend_backward_launch(call: Call, saved: Saved, dy: Tensor) -> tuple[Launch, Tensor, Tensor]:
    """y -> dq (B,C,T,H,W) and dk, dv in one buffer (B,2C,Tk,H,W)."""
    B, C, _, H, W = call.x.shape
    dq = call.x.new_empty(call.x.shape, dtype=call.dot)
    dkv = call.x.new_empty((B, 2 * C, *call.keys.shape[2:]), dtype=call.dot)
    config = call.config("bwd_attend")
    arguments = attention_arguments(call) | {"dy_ptr": dy, "dq_ptr": dq, "dkv_ptr": dkv, "P": config.pixels}
    arguments |= {"wo_ptr": call.weights.out_proj[0], "stats_q_ptr": saved.stats_q, "stats_kv_ptr": saved.stats_kv}
    grid = (pieces(H * W, config.pixels), B)
    return Launch(temporal_block_bwd_attend_kernel, grid, arguments, config.options()), dq, dkv


def project_backward_launch(
    call: Call,
    x: Tensor,
    stats: Tensor,
    grad: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    norm: tuple[Tensor, Tensor],
) -> tuple[Launch, Tensor, Sums]:
    """Gradient of LN(x) W^T + b -> x; sums of W (G*C,C), b, gamma, beta."""
    B, C, T, H, W = x.shape
    groups = grad.shape[1] // C
    config = call.config(f"bwd_project_{groups}")
    programs = programs_over(x, config.pixels)
    dx, sums = x.new_empty(x.shape), new_sums(call, programs, (groups * C, C), (groups * C,), (C,), (C,))
    constants = chunk_constants(call)
    arguments = {
        "x_ptr": x,
        "grad_ptr": grad,
        "residual_ptr": residual,
        "dx_ptr": dx,
        "sums_ptr": sums.rows,
        "w_ptr": weight,
        "gamma_ptr": norm[0],
        "beta_ptr": norm[1],
        "stats_ptr": stats,
        **strides("x", x),
        "HW": H * W,
        "B": B,
        "C": C,
        "T": T,
        "G": groups,
        "P": config.pixels,
        "NC": pieces(C, constants["CK"]),
        "CP": padded(C),
        **constants,
    }
    return Launch(temporal_block_bwd_project_kernel, (programs,), arguments, config.options()), dx, sums


def project_backward_launches(
    call: Call, saved: Saved, dy: Tensor, dq: Tensor, dkv: Tensor
) -> list[tuple[Launch, Tensor, Sums]]:
    """Through the projections to x and to the context; in self-attention x takes the second on top of the first.

    One kernel for q, k and v would move 3 units less, but its sums do not fit the registers.
    """
    C, (weight, _), w = call.x.shape[1], call.weights.in_proj, call.weights
    queries = project_backward_launch(call, call.x, saved.stats_q, dq, dy, weight[:C], w.norm_q)
    residual, norm = (queries[1], w.norm_q) if w.norm_kv is None else (None, w.norm_kv)
    return [queries, project_backward_launch(call, call.keys, saved.stats_kv, dkv, residual, weight[C:], norm)]
