"""Every launch of one block on tensors without storage, to be compiled or counted rather than run."""

import torch
from torch import Tensor

from spikevrt_kernels.launches import Launch
from spikevrt_kernels.temporal_block.launch import Call, forward_launches
from spikevrt_kernels.temporal_block.launch_backward import (
    Saved,
    attend_backward_launch,
    dy_launch,
    mlp_backward_launch,
    project_backward_launches,
)
from spikevrt_kernels.temporal_block.reference import BlockWeights


def empty_weights(C: int, R: int, dtype: torch.dtype, cross: bool) -> BlockWeights:
    """Weights of a block on the meta device: projections in `dtype`, the others in float32."""

    def layer(rows: int, columns: int) -> tuple[Tensor, Tensor]:
        return torch.empty(rows, columns, dtype=dtype, device="meta"), torch.empty(rows, device="meta")

    def norm() -> tuple[Tensor, Tensor]:
        return torch.empty(C, device="meta"), torch.empty(C, device="meta")

    norm_kv = norm() if cross else None
    return BlockWeights(norm(), norm_kv, layer(3 * C, C), layer(C, C), norm(), layer(R, C), layer(C, R))


def block_launches(
    shape: tuple[int, int, int, int, int],
    dtype: torch.dtype,
    architecture: int,
    cross: bool = False,
    heads: int = 4,
    ratio: int = 2,
    dropout_p: float = 0.0,
) -> dict[str, Launch]:
    """The launches of a block's forward and backward by the names of the static table.

    Args:
        shape: (B,C,T,H,W) of x, and of the context where `cross`.
        dtype: of features and dots.
        architecture: whose configurations to take (90 for sm_90).
    """
    x = torch.empty(shape, dtype=dtype, device="meta")
    context = torch.empty_like(x) if cross else None
    seed = torch.empty(1, dtype=torch.int64, device="meta") if dropout_p else None
    weights = empty_weights(shape[1], ratio * shape[1], dtype, cross)
    call = Call(x, context, weights, heads, dropout_p, seed, 1 << 30, dtype, architecture)
    forward = forward_launches(call, True)
    saved = Saved(forward.o, forward.stats_q, forward.stats_kv)
    dy_step, dy, z, _ = dy_launch(call, saved, x)
    attend_step, found = attend_backward_launch(call, saved, dy)
    launches = {
        **forward.launches,
        **forward_launches(call, False).launches,
        "bwd_dy": dy_step,
        "bwd_mlp": mlp_backward_launch(call, z, x)[0],
        "bwd_attend": attend_step,
    }
    for step, _ in project_backward_launches(call, saved, found):
        launches[f"bwd_project_{step.arguments['G']}"] = step
    return launches
