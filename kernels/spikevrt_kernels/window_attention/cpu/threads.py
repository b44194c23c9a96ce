"""Float32 CPU path of the `sdpa` backend: windows are divided among threads that run `kernels.py`.

Only the input, the output, the bias and one gradient of the bias per thread are in memory.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from spikevrt_kernels.core.backends import runs_plainly
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.cpu.kernels import Part, attend, attend_backward
from spikevrt_kernels.window_attention.cpu.vectors import LANES, held_vectors
from spikevrt_kernels.window_attention.sdpa import WindowAttention, differentiate, inputs_of
from spikevrt_kernels.window_attention.windows import D_STEP, FRAMES, Cut, region_mask, window_groups

MAX_HEAD_WIDTH = 64
"""The code of a kernel grows with the width; for wider heads, `scaled_dot_product_attention` is as fast."""


class Work(NamedTuple):
    """Windows that share their masks."""

    rows: Tensor
    """(S,N) places of the tokens, as in `WindowGroup`."""
    parts: NDArray[np.int64]
    """(1 or 3,7) one row per part, with the numbers of `Part`."""
    bias: Tensor
    """Biases of the parts one after the other, as `attend` takes them."""


def window_attention_cpu(call: Call) -> Tensor:
    """Use the kernels where they suit, else `scaled_dot_product_attention`; shapes as in `window_attention`."""
    attention = WindowsOnThreads if suits_cpu(call.qkv, call.cut) else WindowAttention
    return attention.apply(*inputs_of(call))


class WindowsOnThreads(torch.autograd.Function):
    """Like `WindowAttention`, whose backward is used instead if operators are counted or planned."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, offsets: Tensor, bias: Tensor, cut: Cut) -> Tensor:
        ctx.save_for_backward(qkv, offsets, bias)
        ctx.cut = cut
        return attend_cpu(qkv, offsets, bias, cut)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, offsets, bias = ctx.saved_tensors
        run = differentiate_cpu if suits_cpu(qkv, ctx.cut) else differentiate
        return *run(grad, qkv, offsets, bias, ctx.cut), None


def suits_cpu(qkv: Tensor, cut: Cut) -> bool:
    """Whether the kernels can run on qkv; a memory plan or a counter would not notice them."""
    if qkv.dtype != torch.float32 or cut.added or not runs_plainly(qkv) or held_vectors() is None:
        return False
    return channels_of(qkv, cut) // cut.heads <= MAX_HEAD_WIDTH


def attend_cpu(qkv: Tensor, offsets: Tensor, bias: Tensor, cut: Cut) -> Tensor:
    """qkv (B,D,H,W,3C or 6C), offsets (N,3C or 6C), bias (heads,N,N) -> (B,D,H,W,C or 2C)."""
    qkv, offsets = qkv.detach().contiguous(), offsets.detach().contiguous()
    out = qkv.new_empty(*qkv.shape[:4], qkv.shape[-1] // 3)
    todo, width = works(qkv, bias.detach(), cut), head_width(qkv, cut)

    def run(thread: int, threads: int) -> None:
        for rows, parts, mask in todo:
            attend(flat(qkv), offsets.numpy(), share_of(rows, thread, threads), parts, mask.numpy(), flat(out), width)

    in_threads(run, count_threads(todo))
    return out


def differentiate_cpu(
    grad: Tensor, qkv: Tensor, offsets: Tensor, bias: Tensor, cut: Cut
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of qkv, offsets and bias."""
    grad, qkv, offsets = (x.detach().contiguous() for x in (grad, qkv, offsets))
    todo, width = works(qkv, bias.detach(), cut), head_width(qkv, cut)
    d_qkv, threads = torch.empty_like(qkv), count_threads(todo)
    sizes = [cut.heads * n * padded(n) for n in todo[0].parts[:, 0]]
    d_bias, d_offsets = bias.new_zeros(threads, sum(sizes)), offsets.new_zeros(threads, *offsets.shape)

    def run(thread: int, threads: int) -> None:
        sums = d_offsets[thread].numpy(), d_bias[thread].numpy()
        for rows, parts, mask in todo:
            own = share_of(rows, thread, threads)
            attend_backward(flat(grad), flat(qkv), offsets.numpy(), own, parts, mask.numpy(), flat(d_qkv), *sums, width)

    in_threads(run, threads)
    own_bias = d_bias[:, : sizes[0]].sum(0).view(cut.heads, -1, bias.shape[1], LANES)
    return d_qkv, d_offsets.sum(0), from_lanes(own_bias, bias.shape[1])


def works(qkv: Tensor, bias: Tensor, cut: Cut) -> list[Work]:
    """All windows, grouped by the masks that they share."""
    channels = channels_of(qkv, cut)
    B, D, H, W = qkv.shape[:4]
    found = []
    for rows, regions in window_groups(B, (D, H, W), cut.window, cut.shift, qkv.device):
        masks = [bias if regions is None else bias + region_mask(regions, bias.dtype)]
        if cut.mutual:
            # Only spatial regions are masked: in the published model the last and the first frame attend each other.
            n = rows.shape[1] // FRAMES
            apart = bias.new_zeros(n, n) if regions is None else region_mask(regions[:n] % D_STEP, bias.dtype)
            masks += [apart[None]] * FRAMES
        parts = np.array(parts_of(rows.shape[1], channels, cut), np.int64)
        found.append(Work(rows, parts, torch.cat([in_lanes(mask).flatten() for mask in masks])))
    return found


def parts_of(tokens: int, channels: int, cut: Cut) -> list[Part]:
    """Self-attention; the second frame's queries on the first frame's keys; the first frame's on the second's."""
    if not cut.mutual:
        return [Part(tokens, 0, 0, 0, 0, 0, cut.heads)]
    n, other = tokens // FRAMES, 3 * channels
    own = Part(tokens, 0, 0, 0, 0, channels, cut.heads)
    return [own, Part(n, n, 0, 0, other, 0, 1), Part(n, 0, n, n, other, 0, 1)]


def in_lanes(bias: Tensor) -> Tensor:
    """(heads,n,n) -> (heads,blocks,n,16): keys before queries, queries in blocks of 16, padded with 0."""
    n = bias.shape[1]
    return F.pad(bias, (0, 0, 0, padded(n) - n)).unflatten(1, (-1, LANES)).transpose(2, 3).contiguous()


def from_lanes(bias: Tensor, tokens: int) -> Tensor:
    """The inverse of `in_lanes`."""
    return bias.transpose(2, 3).flatten(1, 2)[:, :tokens].contiguous()


def padded(tokens: int) -> int:
    """`tokens`, rounded up to whole blocks of 16."""
    return -(-tokens // LANES) * LANES


def channels_of(qkv: Tensor, cut: Cut) -> int:
    """Number of channels C of qkv (...,3C or 6C)."""
    return qkv.shape[-1] // (6 if cut.mutual else 3)


def head_width(qkv: Tensor, cut: Cut) -> tuple[int, ...]:
    """E zeros: the length of a tuple is part of its type, so every width gets its own compiled kernel."""
    return (0,) * (channels_of(qkv, cut) // cut.heads)


def flat(x: Tensor) -> NDArray[np.float32]:
    """(B,D,H,W,F) -> (M,F), in the same memory."""
    return x.flatten(0, 3).numpy()


def share_of(rows: Tensor, thread: int, threads: int) -> NDArray[np.int64]:
    """The windows of one thread: every `threads`-th one."""
    return rows[thread::threads].contiguous().numpy()


def count_threads(todo: list[Work]) -> int:
    """Number of threads: PyTorch's, but not more than there are windows."""
    return min(torch.get_num_threads(), max(len(work.rows) for work in todo))


def in_threads(run: Callable[[int, int], None], threads: int) -> None:
    """Call run(thread, threads) once in each of `threads` threads."""
    if threads == 1:
        run(0, 1)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads), [threads] * threads))
