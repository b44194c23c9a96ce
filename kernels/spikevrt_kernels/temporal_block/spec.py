"""The operator's record: its bytes and FLOPs, its launches without tensors, and its test cases."""

from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.core.case import Case, Draw
from spikevrt_kernels.core.launch import Launch, architecture
from spikevrt_kernels.core.operator import FIRST_SCALE, Cost, Declared, Operator, Plan, feature_bytes
from spikevrt_kernels.temporal_attention import spec as attention_cost
from spikevrt_kernels.temporal_block.chunks import Chunking
from spikevrt_kernels.temporal_block.op import temporal_block
from spikevrt_kernels.temporal_block.reference import BlockWeights
from spikevrt_kernels.temporal_block.triton.tile_table import TABLE, one_kernel

BACKWARD_LAUNCHES = 4
"""Launches of the backward; with a context there is one more, because q has its own weight gradients."""
FEATURES = frozenset(
    f"{name}_ptr" for name in ("x", "context", "o", "out", "grad", "z", "dy", "dq", "dkv", "dx", "dcontext")
)
"""Kernel arguments that are features or gradients of features: the costs count these."""


def forward_cost(x: Tensor, context: Tensor | None, dot: torch.dtype, keep: bool = True, target: int = 90) -> Cost:
    """Reads x and the context; writes out, and o if it is kept. A separate MLP kernel also reads o and writes it first.

    What a program writes and reads again itself counts once, as in the interpreter.
    """
    own, o = feature_bytes(x), feature_bytes(x, dot)
    keys = x if context is None else context
    other = 0 if context is None else feature_bytes(context)
    if one_kernel(target, max(x.shape[2], keys.shape[2])):
        return Cost(2 * own + other + (o if keep else 0), 1)
    return Cost(3 * own + other + 2 * o, 2)


def backward_cost(x: Tensor, context: Tensor | None, hidden: int, dot: torch.dtype) -> Cost:
    """The cost of all backward kernels; `hidden` is the width R of the MLP."""
    own, o = feature_bytes(x), feature_bytes(x, dot)
    keys = x if context is None else context
    other, dqkv = (0 if context is None else feature_bytes(keys)), o + 2 * feature_bytes(keys, dot)
    dy = 3 * own + 2 * o
    mlp = hidden_shares(hidden) * (own + o)
    attend = 3 * own + 2 * other + dqkv
    project = own + other + dqkv
    return Cost(dy + mlp + attend + project, BACKWARD_LAUNCHES + (context is not None))


def hidden_shares(hidden: int) -> int:
    """Number of programs that divide the hidden channels; each of them reads the features."""
    slices = ceil(hidden / (32 if hidden > 16 else 16))
    return ceil(slices / ceil(slices / TABLE["bwd_mlp"].parts))


def forward_flops(x: Tensor, context: Tensor | None, hidden: int) -> int:
    """Multiplications and additions of the forward products; `hidden` is the width R of the MLP."""
    C, keys = x.shape[1], x if context is None else context
    projections = 2 * C * (2 * x.numel() + 2 * keys.numel())
    return projections + attention_cost.forward_flops(x, keys) + 4 * hidden * x.numel()


def backward_flops(x: Tensor, context: Tensor | None, hidden: int) -> int:
    """Multiplications and additions of the backward products: two gradients per product, and what is recomputed.

    Recomputed are q, k, v, the output projection, the MLP's first product and the gradient of its hidden channels.
    """
    C, keys = x.shape[1], x if context is None else context
    own = 2 * C * x.numel() * (1 + 2 + 1 + 2)
    others = 2 * C * keys.numel() * (2 + 4)
    return own + others + attention_cost.backward_flops(x, keys) + 14 * hidden * x.numel()


def of_forward(x: Tensor, context: Tensor | None, *others: Any) -> Cost:
    """Cost of the operator `spikevrt::temporal_block`, from its arguments."""
    dot, keep = others[-2:]
    return forward_cost(x, context, dot, keep, architecture(x.device))


def of_backward(grad: Tensor, x: Tensor, context: Tensor | None, weights: Sequence[Tensor], *others: Any) -> Cost:
    """Cost of the operator `spikevrt::temporal_block_backward`, from its arguments."""
    o = others[-3]
    return backward_cost(x, context, weights[-2].shape[1], o.dtype)


DECLARED: Declared = {
    "spikevrt::temporal_block": of_forward,
    "spikevrt::temporal_block_backward": of_backward,
}
"""For `count_operators`, which sees a custom operator but not the kernels inside it."""


def empty_weights(C: int, R: int, dtype: torch.dtype, cross: bool) -> BlockWeights:
    """Weights of a block on the meta device: projections in `dtype`, the rest in float32."""

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
    """The launches of a block's forward and backward, by their names in the tile table.

    Args:
        shape: (B,C,T,H,W) of x, and of the context if `cross`.
        dtype: type of the features and of the products.
        architecture: whose tile sizes to use (90 for sm_90).
    """
    from spikevrt_kernels.temporal_block.triton.launch import Call, forward_launches
    from spikevrt_kernels.temporal_block.triton.launch_backward import (
        Saved,
        attend_backward_launch,
        dy_launch,
        mlp_backward_launch,
        project_backward_launches,
    )

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


SMALL_WEIGHT = 0.3


class BlockShape(NamedTuple):
    """Shape of one block along time."""

    B: int
    C: int
    T: int
    Tk: int | None
    """Frames of the context, or None for self-attention."""
    H: int
    W: int
    heads: int
    ratio: float = 2
    chunking: Chunking | None = None
    mean: float = 0.0
    """Mean of the features, in units of their standard deviation."""

    @property
    def cross(self) -> bool:
        """Whether the block has a context."""
        return self.Tk is not None

    def inputs(self, draw: Draw) -> list[Tensor]:
        """Random features, then weights and biases in the order of `names`."""
        C, hidden = self.C, int(self.C * self.ratio)
        x = [draw(self.B, C, t, self.H, self.W, mean=self.mean) for t in (self.T, self.Tk) if t is not None]
        norms = [[draw(C, spread=SMALL_WEIGHT, mean=1), draw(C, spread=SMALL_WEIGHT)] for _ in range(3)]
        layers = [layer(draw, *size) for size in ((3 * C, C), (C, C), (hidden, C), (C, hidden))]
        ordered = [norms[0], *([norms[1]] if self.cross else []), layers[0], layers[1], norms[2], layers[2], layers[3]]
        return x + [tensor for pair in ordered for tensor in pair]

    def run(self, inputs: Sequence[Tensor], backend: str) -> Tensor:
        """Run the block on the result of `inputs`."""
        x, *others = inputs
        context = others.pop(0) if self.cross else None
        pairs = list(zip(others[::2], others[1::2], strict=True))
        norm_kv = pairs.pop(1) if self.cross else None
        weights = BlockWeights(pairs[0], norm_kv, *pairs[1:])
        return temporal_block(x, context, weights, self.heads, 0.0, self.chunking, backend)

    def __str__(self) -> str:
        kind, keys = ("cross", f"-Tk{self.Tk}") if self.cross else ("self", "")
        about = f" mean {self.mean:g}" if self.mean else ""
        return f"{kind} B{self.B}-C{self.C}-T{self.T}{keys}-H{self.H}W{self.W}{about}"


def temporal_block_case(
    size: tuple[int, int, int, int | None, int, int],
    heads: int,
    ratio: float = 2,
    chunking: Chunking | None = None,
    mean: float = 0.0,
) -> Case:
    """A case of the pre-norm block along time: self-attention on (B,C,T,H,W), or cross-attention if Tk is given.

    `size` is (B,C,T,Tk,H,W).
    """
    block = BlockShape(*size, heads, ratio, chunking, mean)
    parts = ["norm_q", *(["norm_kv"] if block.cross else []), "in_proj", "out_proj", "norm_mlp", "mlp_in", "mlp_out"]
    features = ("x", "context") if block.cross else ("x",)
    names = (*features, *(f"{part}.{kind}" for part in parts for kind in ("weight", "bias")))
    settings = f"heads {heads}, ratio {ratio:g}, {chunking}"
    return Case("temporal_block", str(block), names, len(features), block.inputs, block.run, settings=settings)


def layer(draw: Draw, rows: int, columns: int) -> list[Tensor]:
    """Weight and bias of a random projection that keeps the variance."""
    return [draw(rows, columns, spread=columns**-0.5), draw(rows, spread=SMALL_WEIGHT)]


def plan(cross: bool, T: int, dtype: torch.dtype, architecture: int) -> dict[str, Launch]:
    """The launches of the block for T frames on an architecture."""
    B, C, H, W = FIRST_SCALE
    return block_launches((B, C, T, H, W), dtype, architecture, cross)


PLANS: dict[str, Plan] = {"self block": partial(plan, False), "cross block": partial(plan, True)}


OPERATOR = Operator(
    "temporal_block",
    ("triton", "sdpa"),
    (
        temporal_block_case((2, 24, 3, None, 33, 17), 4),
        temporal_block_case((1, 40, 2, 3, 19, 15), 2, 1, Chunking(40)),
        temporal_block_case((1, 96, 8, 5, 9, 7), 4, 4),
        temporal_block_case((1, 32, 5, None, 17, 12), 4, mean=5.0),
    ),
    (temporal_block_case((1, 24, 2, None, 3, 5), 2, 1), temporal_block_case((1, 16, 1, 2, 1, 3), 2, 2)),
    (temporal_block_case((8, 96, 5, None, 768, 768), 4),),
    declared=DECLARED,
    plans=PLANS,
)
