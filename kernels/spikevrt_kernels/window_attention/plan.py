"""Every launch of one window attention on tensors without storage, to be compiled or counted rather than run."""

from math import prod

import torch

from spikevrt_kernels.launches import Launch
from spikevrt_kernels.window_attention.launch import Call, forward_launches
from spikevrt_kernels.window_attention.launch_backward import (
    Saved,
    bias_launch,
    mutual_launch,
    self_launch,
    table_launch,
)
from spikevrt_kernels.window_attention.windows import Size3, effective_window


def window_launches(
    shape: tuple[int, int, int, int, int],
    dtype: torch.dtype,
    architecture: int,
    mutual: bool = False,
    heads: int = 6,
    window: Size3 = (6, 8, 8),
    shift: Size3 = (0, 0, 0),
) -> dict[str, Launch]:
    """The launches of a window attention's forward and backward; those of its mutual branch are called `mutual_*`.

    Args:
        shape: (B,D,H,W,C) of the attention's input.
        dtype: of projections and dots.
        architecture: whose configurations to take (90 for sm_90).
        mutual: with mutual attention beside the other.
        window: as configured; it shrinks on a short extent.
        shift: of a shifted block.
    """
    B, D, H, W, C = shape
    effective, moved = effective_window((D, H, W), window, shift)
    qkv = torch.empty((B, D, H, W, 6 * C if mutual else 3 * C), dtype=dtype, device="meta")
    offset = torch.empty(3 * C, device="meta")
    table = torch.empty(prod(2 * s - 1 for s in window), heads, device="meta")
    places = torch.empty(prod(effective[1:]), 3 * C, device="meta") if mutual else None
    call = Call(qkv, offset, table, places, heads, effective, moved, window, architecture)
    forward, out, lse = forward_launches(call)
    saved, dqkv = Saved(out, lse, torch.empty_like(out)), torch.empty_like(qkv)
    backward, _, delta = self_launch(call, saved, dqkv)
    bias, ds = bias_launch(call, saved, delta)
    launches = {
        "forward": forward[0],
        "backward": backward,
        "bias_backward": bias,
        "table_backward": table_launch(call, ds[0])[0],
    }
    if mutual:
        launches |= {"mutual_forward": forward[1], "mutual_backward": mutual_launch(call, saved, dqkv)[0]}
    return launches
