"""The launches of the block's backward pass in order, and how their partial sums become gradients."""

from typing import NamedTuple

from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces, strides
from spikevrt_kernels.core.sums import Sums, gradients_of_norm, new_sums, programs_over
from spikevrt_kernels.core.tile_config import padded
from spikevrt_kernels.temporal_block.triton.attention_backward import temporal_block_bwd_attend_kernel
from spikevrt_kernels.temporal_block.triton.launch import (
    Call,
    attention_arguments,
    chunk_constants,
    mlp_arguments,
    mlp_constants,
)
from spikevrt_kernels.temporal_block.triton.mlp_backward import (
    temporal_block_bwd_dy_kernel,
    temporal_block_bwd_mlp_kernel,
)
from spikevrt_kernels.temporal_block.triton.projection_backward import temporal_block_bwd_project_kernel


class Saved(NamedTuple):
    """What the forward pass keeps besides its inputs."""

    o: Tensor
    """(B,C,T,H,W) result of the attention before its output projection."""
    stats_q: Tensor
    """(2,B,T,H,W) layer norm statistics of x."""
    stats_kv: Tensor
    """(2,B,Tk,H,W) layer norm statistics of the context; in self-attention the same as `stats_q`."""


def programs_for(x: Tensor, pixels: int) -> int:
    """Number of programs that divide the tiles of x."""
    B, _, T, H, W = x.shape
    return programs_over(pieces(H * W, pixels) * T * B)


def dy_launch(call: Call, saved: Saved, grad: Tensor) -> tuple[Launch, Tensor, Tensor, Sums]:
    """From the gradient of out to dy, and z = LN(y) in the type `dot`; sums of Wo transposed (C,C), bo, gamma, beta."""
    B, C, T = call.x.shape[:3]
    config = call.config("bwd_dy")
    programs = programs_for(call.x, config.pixels)
    dy, sums = call.x.new_empty(call.x.shape), new_sums(call.x, call.acc, programs, (C, C), (C,), (C,), (C,))
    z = call.x.new_empty(call.x.shape, dtype=call.dot)
    arguments = mlp_arguments(call, saved.o) | {"grad_ptr": grad, "z_ptr": z, "dy_ptr": dy, "sums_ptr": sums.rows}
    arguments |= strides("g", grad.stride()) | {"B": B, "T": T, "P": config.pixels, "CP": padded(C)}
    del arguments["b2_ptr"]
    return Launch(temporal_block_bwd_dy_kernel, (programs,), arguments, config.options()), dy, z, sums


def mlp_backward_launch(call: Call, z: Tensor, grad: Tensor) -> tuple[Launch, Sums]:
    """The MLP's weight gradients: sums of W1 (R,C), W2 transposed (R,C), b1, b2."""
    B, C, T, H, W = call.x.shape
    config = call.config("bwd_mlp")
    programs = programs_for(call.x, config.pixels)
    (w1, b1), w2 = call.weights.mlp_in, call.weights.mlp_out[0]
    constants = mlp_constants(w1.shape[0], call.dot)
    R, RK = w1.shape[0], constants["RK"]
    slices = pieces(pieces(R, RK), config.parts)
    sums = new_sums(call.x, call.acc, programs, (R, C), (R, C), (R,), (C,))
    arguments = {
        "z_ptr": z,
        "grad_ptr": grad,
        "sums_ptr": sums.rows,
        "w1_ptr": w1,
        "b1_ptr": b1,
        "w2_ptr": w2,
        **strides("g", grad.stride()),
        "HW": H * W,
        "B": B,
        "C": C,
        "R": R,
        "T": T,
        "P": config.pixels,
        "CP": padded(C),
        "SLICES": slices,
        **constants,
    }
    grid = (programs, pieces(R, RK * slices))
    return Launch(temporal_block_bwd_mlp_kernel, grid, arguments, config.options()), sums


class AttentionGradients(NamedTuple):
    """Outputs of the attention's backward kernel."""

    dq: Tensor
    """(B,C,T,H,W)."""
    dkv: Tensor
    """(B,2C,Tk,H,W): first dk, then dv."""
    dqkv: Tensor | None
    """(B,3C,T,H,W), which holds dq and dkv; only in self-attention."""
    dx: Tensor
    """(B,C,T,H,W)."""
    dcontext: Tensor | None
    """(B,C,Tk,H,W), or None in self-attention."""


def attend_backward_launch(call: Call, saved: Saved, dy: Tensor) -> tuple[Launch, AttentionGradients]:
    """From dy to the gradients of q, k, v and of x and the context."""
    B, C, T, H, W = call.x.shape

    def new(groups: int, frames: int) -> Tensor:
        return call.x.new_empty((B, groups * C, frames, H, W), dtype=call.dot)

    if call.context is None:
        dqkv, dcontext = new(3, T), None
        dq, dkv = dqkv[:, :C], dqkv[:, C:]
    else:
        dqkv, dcontext = None, call.x.new_empty(call.context.shape)
        dq, dkv = new(1, T), new(2, call.context.shape[2])
    found = AttentionGradients(dq, dkv, dqkv, call.x.new_empty(call.x.shape), dcontext)
    config = call.config("bwd_attend")
    arguments = attention_arguments(call) | {
        "dy_ptr": dy,
        "dq_ptr": dq,
        "dkv_ptr": dkv,
        "dx_ptr": found.dx,
        "dcontext_ptr": dcontext,
        "stride_dqb": dq.stride(0),
        "stride_dkvb": dkv.stride(0),
        "wo_ptr": call.weights.out_proj[0],
        "stats_q_ptr": saved.stats_q,
        "stats_kv_ptr": saved.stats_kv,
        "P": config.pixels,
        "CP": padded(C),
    }
    grid = (pieces(H * W, config.pixels), B)
    return Launch(temporal_block_bwd_attend_kernel, grid, arguments, config.options()), found


class ProjectionSums(NamedTuple):
    """Partial sums for LN(x) W^T + b: of g xhat^T and of g, where g is the gradient of the result."""

    sums: Sums
    weight: Tensor
    norm: tuple[Tensor, Tensor]

    def gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The gradients of W, b, gamma and beta."""
        dw, db = self.sums.gradients()
        d_weight, d_gamma, d_beta = gradients_of_norm(dw, db, self.weight, self.norm)
        return d_weight, db, d_gamma, d_beta


def project_backward_launch(
    call: Call, x: Tensor, stats: Tensor, grad: Tensor, weight: Tensor, norm: tuple[Tensor, Tensor]
) -> tuple[Launch, ProjectionSums]:
    """From the gradient (B,G*C,T,H,W) of LN(x) W^T + b to the gradients of W (G*C,C), b and the norm."""
    B, C, T, H, W = x.shape
    groups = grad.shape[1] // C
    config = call.config(f"bwd_project_{groups}")
    programs = programs_for(x, config.pixels)
    sums = new_sums(call.x, call.acc, programs, (groups * C, C), (groups * C,))
    constants = chunk_constants(C, call.dot)
    arguments = {
        "x_ptr": x,
        "grad_ptr": grad,
        "sums_ptr": sums.rows,
        "stats_ptr": stats,
        **strides("x", x.stride()),
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
    launch = Launch(temporal_block_bwd_project_kernel, (programs,), arguments, config.options())
    return launch, ProjectionSums(sums, weight, norm)


def project_backward_launches(
    call: Call, saved: Saved, found: AttentionGradients
) -> list[tuple[Launch, ProjectionSums]]:
    """Weight gradients of the projections: for q, k, v together in self-attention, else for q, then for k, v."""
    C, (weight, _), w = call.x.shape[1], call.weights.in_proj, call.weights
    if found.dqkv is not None:
        return [project_backward_launch(call, call.x, saved.stats_q, found.dqkv, weight, w.norm_q)]
    norm_kv = w.norm_kv or w.norm_q
    return [
        project_backward_launch(call, call.x, saved.stats_q, found.dq, weight[:C], w.norm_q),
        project_backward_launch(call, call.keys, saved.stats_kv, found.dkv, weight[C:], norm_kv),
    ]
