"""Runs the block's launches on tensors, one after the other, forward and backward."""

from itertools import chain

import torch
from torch import Tensor

from spikevrt_kernels.temporal_block.triton.launch import Call, forward_launches
from spikevrt_kernels.temporal_block.triton.launch_backward import (
    Saved,
    attend_backward_launch,
    dy_launch,
    mlp_backward_launch,
    project_backward_launches,
)


def run_launches(call: Call, keep: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """out (B,C,T,H,W); then, for the backward, o and statistics of x and of the context (empty in self-attention)."""
    launches, out, o, stats_q, stats_kv = forward_launches(call, keep)
    for launch in launches.values():
        launch.run()
    return out, o, stats_q, stats_q.new_empty(0) if call.context is None else stats_kv


def run_backward_launches(call: Call, saved: Saved, grad: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of x and, if there is one, of the context; then of all weights in the order of `flatten`.

    Gradients of weights have the type of accumulation, and may be views of the same memory.
    """
    launch, dy, z, out_sums = dy_launch(call, saved, grad)
    launch.run()
    launch, mlp_sums = mlp_backward_launch(call, z, grad)
    launch.run()
    del z, launch
    launch, found = attend_backward_launch(call, saved, dy)
    launch.run()
    del dy
    norms, projections = [], []
    for launch, projection in project_backward_launches(call, saved, found):
        launch.run()
        dw, db, *norm = projection.gradients()
        norms.append(norm)
        projections.append((dw, db))
    dwo, dbo, dgamma, dbeta = out_sums.gradients()
    dw1, dw2, db1, db2 = mlp_sums.gradients()
    in_proj = (
        projections[0] if len(projections) == 1 else [torch.cat(parts) for parts in zip(*projections, strict=True)]
    )
    weights = [*chain(*norms), *in_proj, dwo.t(), dbo, dgamma, dbeta, dw1, db1, dw2.t(), db2]
    return [dx for dx in (found.dx, found.dcontext) if dx is not None], weights
