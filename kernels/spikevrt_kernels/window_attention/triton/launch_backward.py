"""Window attention's backward: its launches in order, and how their sums become gradients."""

from typing import NamedTuple

from torch import Tensor

from spikevrt_kernels.core.launch import Launch, pieces
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.triton.backward import (
    window_attention_bwd_kernel,
    window_attention_bwd_mutual_kernel,
)
from spikevrt_kernels.window_attention.triton.launch import branch_of, call_arguments, config_of, tiles
from spikevrt_kernels.window_attention.triton.table_backward import (
    window_attention_bwd_bias_kernel,
    window_attention_bwd_table_kernel,
)

MUTUAL_SPLITS = 128
"""Programs that share the windows of a tile of places: their number fixes the order of every sum."""
BIAS_PROGRAMS = 512
"""Programs over all heads and pairs of tiles; those of one pair share the windows."""


class Saved(NamedTuple):
    """What the forward keeps beside its inputs, and the gradient that came."""

    out: Tensor
    """(B,D,H,W,C or 2C)."""
    lse: Tensor
    """(1 or 2,B,heads,D,H,W)."""
    grad: Tensor
    """(B,D,H,W,C or 2C), contiguous."""


def saved_arguments(call: Call, saved: Saved, mutual: bool) -> dict[str, Tensor]:
    """The branch's share of what was saved."""
    return {
        "out_ptr": branch_of(saved.out, call, mutual),
        "grad_ptr": branch_of(saved.grad, call, mutual),
        "lse_ptr": saved.lse[int(mutual)],
    }


def self_launch(call: Call, saved: Saved, dqkv: Tensor) -> tuple[Launch, Tensor, Tensor]:
    """Writes the first 3C channels of dqkv; sums (windows,3C) of the offset's gradient, deltas (B,heads,D,H,W)."""
    config = config_of(call, "backward", False)
    sums = call.qkv.new_empty((call.windows, call.offset.shape[0]), dtype=call.acc)
    arguments = call_arguments(call, False) | saved_arguments(call, saved, False) | tiles(config)
    delta = saved.lse.new_empty(saved.lse.shape[1:])
    arguments |= {"dqkv_ptr": dqkv, "sums_ptr": sums, "delta_ptr": delta}
    launch = Launch(window_attention_bwd_kernel, (call.windows * call.heads,), arguments, config.options())
    return launch, sums, delta


def mutual_launch(call: Call, saved: Saved, dqkv: Tensor) -> tuple[Launch, Tensor]:
    """Writes the last 3C channels of dqkv; sums (splits,n,3C), those of the mutual offset."""
    assert call.mutual_offset is not None
    config = config_of(call, "mutual_backward", True)
    splits = min(MUTUAL_SPLITS, 2 * call.windows)
    sums = call.qkv.new_empty((splits, *call.mutual_offset.shape), dtype=call.acc)
    arguments = call_arguments(call, True) | saved_arguments(call, saved, True) | tiles(config)
    arguments |= {"dqkv_ptr": dqkv[..., 3 * call.channels :], "sums_ptr": sums}
    arguments |= {"windows": call.windows, "splits": splits}
    grid = (splits * pieces(arguments["TOKENS"], config.own) * call.heads,)
    return Launch(window_attention_bwd_mutual_kernel, grid, arguments, config.options()), sums


def bias_launch(call: Call, saved: Saved, delta: Tensor) -> tuple[Launch, Tensor]:
    """Sums of ds over windows (splits,heads,N,N)."""
    config, tokens = config_of(call, "bias_backward", False), call.tokens(False)
    programs = call.heads * pieces(tokens, config.own) * pieces(tokens, config.passing)
    splits = min(call.windows, max(1, BIAS_PROGRAMS // programs))
    sums = call.qkv.new_empty((splits, call.heads, tokens, tokens), dtype=call.acc)
    arguments = call_arguments(call, False) | saved_arguments(call, saved, False) | tiles(config)
    arguments |= {"ds_ptr": sums, "delta_ptr": delta, "windows": call.windows, "splits": splits}
    del arguments["out_ptr"]
    return Launch(window_attention_bwd_bias_kernel, (splits * programs,), arguments, config.options()), sums


def table_launch(call: Call, ds: Tensor) -> tuple[Launch, Tensor]:
    """From ds (heads,N,N) to the gradient of the table."""
    config = config_of(call, "table_backward", False)
    dtable = call.bias.table.new_empty(call.bias.table.shape)
    names = ("HEADS", "BD", "BH", "BW", "TOKENS")
    arguments = {name: value for name, value in call_arguments(call, False).items() if name in names} | tiles(config)
    arguments |= {"ds_ptr": ds, "dtable_ptr": dtable, "rows": call.bias.table.shape[0]}
    grid = (pieces(call.bias.table.shape[0], config.own), call.heads)
    return Launch(window_attention_bwd_table_kernel, grid, arguments, config.options()), dtable
