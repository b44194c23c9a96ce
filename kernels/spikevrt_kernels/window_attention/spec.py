"""The operator's record: its bytes and FLOPs, its launches without tensors, and its test cases."""

from collections.abc import Sequence
from functools import partial
from math import ceil, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Draw
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.operator import FIRST_SCALE, Cost, Declared, Operator, Plan
from spikevrt_kernels.window_attention.call import Call
from spikevrt_kernels.window_attention.op import window_attention
from spikevrt_kernels.window_attention.relative_bias import KeptBias, RelativeBias
from spikevrt_kernels.window_attention.triton.tile_table import choose
from spikevrt_kernels.window_attention.windows import Size3, effective_window


def branch_bytes(qkv: Tensor, offset: Tensor) -> int:
    """Bytes of one branch's output, which are also those of its q, its k and its v."""
    return qkv[..., 0].numel() * (offset.shape[0] // 3) * qkv.element_size()


def tile_counts(kernel: str, tokens: int) -> tuple[int, int]:
    """Number of tiles that programs own, and of tiles that they iterate over, for tokens that attend each other."""
    # The tiles are the same on every architecture of the table.
    config = choose(kernel, 90, tokens)
    return ceil(tokens / config.own), ceil(tokens / config.passing)


def forward_cost(qkv: Tensor, offset: Tensor, mutual: bool) -> Cost:
    """Reads q, k, v and writes out, in each branch; before, one launch expands the bias."""
    branches = 2 if mutual else 1
    return Cost(branches * 4 * branch_bytes(qkv, offset), 1 + branches)


def backward_cost(qkv: Tensor, offset: Tensor, mutual: bool, window: Sequence[int]) -> Cost:
    """Every tile of queries reads q, k, v, out and its gradient, and writes dq; another launch all but out for dk, dv.

    In mutual attention, each tile of a frame's places (one tile for up to 64 tokens) reads the whole frame.
    """
    unit = branch_bytes(qkv, offset)
    queries, _ = tile_counts("query_backward", prod(window))
    units, launches = 4 + 2 * queries + 6, 4
    if mutual:
        units, launches = units + 5 * tile_counts("mutual_backward", prod(window[1:]))[0] + 3, launches + 1
    return Cost(units * unit, launches)


def product_flops(qkv: Tensor, offset: Tensor, window: Sequence[int], attended: int) -> int:
    """Multiplications and additions of one product in which every token, with padding, meets `attended` others."""
    padded = prod(ceil(s / n) * n for s, n in zip(qkv.shape[1:4], window, strict=True))
    return 2 * qkv.shape[0] * padded * attended * (offset.shape[0] // 3)


def forward_flops(qkv: Tensor, offset: Tensor, mutual: bool, window: Sequence[int]) -> int:
    """Multiplications and additions of the forward products: scores and outputs of each branch."""
    N, n = prod(window), prod(window[1:])
    return 2 * product_flops(qkv, offset, window, N + n if mutual else N)


def backward_flops(qkv: Tensor, offset: Tensor, mutual: bool, window: Sequence[int]) -> int:
    """The same for the backward: 3 products for dq, 4 for dk and dv."""
    N, n = prod(window), prod(window[1:])
    return product_flops(qkv, offset, window, 7 * (N + n if mutual else N))


def of_forward(qkv: Tensor, offset: Tensor, table: Tensor, mutual_offset: Tensor | None, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::window_attention`, from its arguments."""
    return forward_cost(qkv, offset, mutual_offset is not None)


def of_backward(
    grad: Tensor,
    qkv: Tensor,
    offset: Tensor,
    table: Tensor,
    mutual_offset: Tensor | None,
    heads: int,
    window: Sequence[int],
    *others: Any,
) -> Cost:
    """Cost of the operator `spikevrt::window_attention_backward`, from its arguments."""
    return backward_cost(qkv, offset, mutual_offset is not None, window)


DECLARED: Declared = {
    "spikevrt::window_attention": of_forward,
    "spikevrt::window_attention_backward": of_backward,
}
"""For `count_operators`, which sees a custom operator but not the kernels inside it."""


def window_launches(
    shape: tuple[int, int, int, int, int],
    dtype: torch.dtype,
    architecture: int,
    mutual: bool = False,
    heads: int = 6,
    window: Size3 = (6, 8, 8),
    shift: Size3 = (0, 0, 0),
    added: bool = False,
) -> dict[str, Launch]:
    """The launches of forward and backward; those of the mutual branch are called `mutual_*`.

    Args:
        shape: (B,D,H,W,C) of the attention's input.
        dtype: type of the projections and the products.
        architecture: whose tile sizes to use (90 for sm_90).
        mutual: whether there is a mutual branch.
        window: the configured window; a small map shrinks it.
        shift: cyclic shift of the windows.
        added: whether the projection adds the offsets.
    """
    from spikevrt_kernels.window_attention.triton.launch import (
        Saved,
        bias_launch,
        forward_launches,
        key_launch,
        mutual_launch,
        query_launch,
        table_launch,
    )

    B, D, H, W, C = shape
    effective, moved = effective_window((D, H, W), window, shift)
    qkv = torch.empty((B, D, H, W, 6 * C if mutual else 3 * C), dtype=dtype, device="meta")
    offset = torch.empty(3 * C, device="meta")
    table = torch.empty(prod(2 * s - 1 for s in window), heads, device="meta")
    places = torch.empty(prod(effective[1:]), 3 * C, device="meta") if mutual else None
    call = Call(qkv, offset, RelativeBias(table, window), heads, effective, moved, places, architecture, added)
    forward, out, lse = forward_launches(call)
    saved, dqkv = Saved(out, lse, torch.empty_like(out)), torch.empty_like(qkv)
    expand, bias = bias_launch(call, "query_backward", "key_backward")
    query, sums = query_launch(call, bias, saved, dqkv)
    launches = {
        "bias": forward[0],
        "forward": forward[1],
        "bias_for_backward": expand,
        "query_backward": query,
        "key_backward": key_launch(call, bias, saved, sums.delta, dqkv)[0],
        "table_backward": table_launch(call, sums.ds[0])[0],
    }
    if mutual:
        launches |= {"mutual_forward": forward[2], "mutual_backward": mutual_launch(call, saved, dqkv)[0]}
    return launches


SMALL_WEIGHT = 0.3


class WindowShape(NamedTuple):
    """Shape of window attention on (B,D,H,W,3C or 6C)."""

    size: tuple[int, int, int, int]
    """(B,D,H,W)."""
    C: int
    heads: int
    window: Size3
    """The configured window; a small map shrinks it, and the shift."""
    shift: Size3
    mutual: bool
    kept: KeptBias
    """The kept bias; it is empty in another process."""
    added: bool = False
    """Whether qkv holds the offsets already."""

    @property
    def used(self) -> tuple[Size3, Size3]:
        """Window and shift that apply to this map."""
        _, D, H, W = self.size
        return effective_window((D, H, W), self.window, self.shift)

    def inputs(self, draw: Draw) -> list[Tensor]:
        """Random qkv and, with mutual attention, its offset (a product, as in the model); then offset and table."""
        C, (_, h, w), rows = self.C, self.used[0], prod(2 * length - 1 for length in self.window)
        features = [draw(*self.size, 6 * C if self.mutual else 3 * C)]
        if self.mutual:
            features.append(draw(h * w, 3 * C, spread=SMALL_WEIGHT))
        return [*features, draw(3 * C, spread=SMALL_WEIGHT), draw(rows, self.heads)]

    def run(self, inputs: Sequence[Tensor], backend: str) -> Tensor:
        """Run the attention on the result of `inputs`."""
        *features, offset, table = inputs
        qkv, mutual_offset = features if self.mutual else (features[0], None)
        bias = RelativeBias(table, self.window, self.kept)
        return window_attention(qkv, offset, bias, self.heads, *self.used, mutual_offset, backend, self.added)

    def __str__(self) -> str:
        B, D, H, W = self.size
        used, by = self.used
        kind, moved = "mutual" if self.mutual else "self", " shifted" if any(by) else ""
        return f"{kind} B{B}-D{D}-H{H}W{W}-C{self.C} window {'x'.join(map(str, used))}{moved}"


def window_attention_case(
    size: tuple[int, int, int, int],
    C: int,
    heads: int,
    window: Size3,
    shift: Size3,
    mutual: bool,
    added: bool = False,
) -> Case:
    """A case of window attention on (B,D,H,W,3C or 6C), size (B,D,H,W), with or without a mutual branch.

    Window and shift are the configured ones; a small map shrinks them. The mutual offset has the features' type. With
    `added`, qkv holds the offsets already.
    """
    shape = WindowShape(size, C, heads, window, shift, mutual, KeptBias(), added)
    features = ("qkv", "mutual_offset") if mutual else ("qkv",)
    names = (*features, "offset", "bias table")
    settings = f"heads {heads}, configured {window} shifted by {shift}{', offsets added' if added else ''}"
    return Case("window_attention", str(shape), names, len(features), shape.inputs, shape.run, settings=settings)


PLACES = (8, 8)
"""Places per frame of a planned window; it covers all T frames, or two in mutual attention."""


def plan(mutual: bool, T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The launches of window attention in a shifted block, alone or with its mutual branch."""
    d = 2 if mutual else T
    shift = (d // 2, PLACES[0] // 2, PLACES[1] // 2)
    B, C, H, W = FIRST_SCALE
    return window_launches((B, T, H, W, C), dtype, architecture, mutual, window=(d, *PLACES), shift=shift)


PLANS: dict[str, Plan] = {"window attention": partial(plan, False), "mutual window attention": partial(plan, True)}


OPERATOR = Operator(
    "window_attention",
    ("triton", "sdpa"),
    (
        window_attention_case((2, 3, 9, 7), 12, 3, (2, 4, 4), (0, 0, 0), mutual=True),
        window_attention_case((1, 5, 22, 26), 48, 3, (2, 8, 8), (1, 4, 4), mutual=True),
        window_attention_case((2, 7, 18, 11), 32, 2, (3, 4, 4), (1, 2, 2), mutual=False),
        window_attention_case((1, 3, 9, 10), 20, 1, (2, 4, 4), (1, 2, 2), mutual=True, added=True),
    ),
    (
        window_attention_case((1, 3, 5, 4), 16, 1, (2, 4, 4), (1, 2, 0), mutual=True),
        window_attention_case((1, 1, 6, 5), 12, 1, (1, 4, 4), (0, 2, 2), mutual=False),
    ),
    (window_attention_case((2, 6, 800, 800), 96, 6, (6, 8, 8), (0, 4, 4), mutual=False),),
    declared=DECLARED,
    plans=PLANS,
)
