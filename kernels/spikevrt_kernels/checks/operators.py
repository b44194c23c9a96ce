"""Every operator that has a kernel, with its backends and its odd shapes: the one place where an operator is added."""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.checks.case import Case, Draw
from spikevrt_kernels.temporal_attention import temporal_attention
from spikevrt_kernels.temporal_block import BlockWeights, Chunking, temporal_block
from spikevrt_kernels.voxelize import unpack_frames, voxelize
from spikevrt_kernels.voxelize.reference import voxelize_reference
from spikevrt_kernels.window_attention import KeptBias, RelativeBias, effective_window, window_attention
from spikevrt_kernels.window_attention.windows import Size3

SMALL_WEIGHT = 0.3


class Operator(NamedTuple):
    """An operator and how it is tried."""

    backends: tuple[str, ...]
    """All but the reference, kernels first."""
    odd: tuple[Case, ...]
    """Shapes that no tile, window or byte divides, of several tiles."""
    tiny: tuple[Case, ...]
    """The same for Triton's interpreter, which takes a second for what a GPU does in a microsecond."""
    huge: tuple[Case, ...] = ()
    """Clips of more than 2^31 elements together, which 32 bits do not count."""
    floating: bool = True
    """Tried in every floating type, with gradients."""


def temporal_attention_case(B: int, C: int, Tq: int, Tk: int, H: int, W: int, heads: int) -> Case:
    """Attention along T at every pixel, (B,C,Tq,H,W) on (B,C,Tk,H,W)."""
    shape = f"B{B}-C{C}-T{Tq}-Tk{Tk}-H{H}W{W}"
    make = partial(attention_inputs, [(B, C, T, H, W) for T in (Tq, Tk, Tk)])
    run = partial(run_attention, heads)
    return Case("temporal_attention", shape, ("q", "k", "v"), 3, make, run, settings=f"heads {heads}")


def attention_inputs(shapes: Sequence[Sequence[int]], draw: Draw) -> list[Tensor]:
    """q, k and v."""
    return [draw(*shape) for shape in shapes]


def run_attention(heads: int, inputs: Sequence[Tensor], backend: str) -> Tensor:
    """Attention along T."""
    q, k, v = inputs
    return temporal_attention(q, k, v, heads, backend=backend)


class BlockShape(NamedTuple):
    """A block along time."""

    B: int
    C: int
    T: int
    Tk: int | None
    """Steps of the context, or None for self-attention."""
    H: int
    W: int
    heads: int
    ratio: float = 2
    chunking: Chunking | None = None
    mean: float = 0.0
    """Of the features, in their standard deviations."""

    @property
    def cross(self) -> bool:
        """Whether there is a context."""
        return self.Tk is not None

    def inputs(self, draw: Draw) -> list[Tensor]:
        """Features, then weights and biases in the order of `names`."""
        C, hidden = self.C, int(self.C * self.ratio)
        x = [draw(self.B, C, t, self.H, self.W, mean=self.mean) for t in (self.T, self.Tk) if t is not None]
        norms = [[draw(C, spread=SMALL_WEIGHT, mean=1), draw(C, spread=SMALL_WEIGHT)] for _ in range(3)]
        layers = [layer(draw, *size) for size in ((3 * C, C), (C, C), (hidden, C), (C, hidden))]
        ordered = [norms[0], *([norms[1]] if self.cross else []), layers[0], layers[1], norms[2], layers[2], layers[3]]
        return x + [tensor for pair in ordered for tensor in pair]

    def run(self, inputs: Sequence[Tensor], backend: str) -> Tensor:
        """The block on what `inputs` gave."""
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
    B: int,
    C: int,
    T: int,
    Tk: int | None,
    H: int,
    W: int,
    heads: int,
    ratio: float = 2,
    chunking: Chunking | None = None,
    mean: float = 0.0,
) -> Case:
    """The pre-norm block along time: self-attention on (B,C,T,H,W), or cross where there is a Tk."""
    block = BlockShape(B, C, T, Tk, H, W, heads, ratio, chunking, mean)
    parts = ["norm_q", *(["norm_kv"] if block.cross else []), "in_proj", "out_proj", "norm_mlp", "mlp_in", "mlp_out"]
    features = ("x", "context") if block.cross else ("x",)
    names = (*features, *(f"{part}.{kind}" for part in parts for kind in ("weight", "bias")))
    settings = f"heads {heads}, ratio {ratio:g}, {chunking}"
    return Case("temporal_block", str(block), names, len(features), block.inputs, block.run, settings=settings)


class WindowShape(NamedTuple):
    """Window attention on (B,D,H,W,3C or 6C)."""

    size: tuple[int, int, int, int]
    """(B,D,H,W)."""
    C: int
    heads: int
    window: Size3
    """As configured; a short extent shrinks it, and the shift."""
    shift: Size3
    mutual: bool
    kept: KeptBias
    """Empty in another process."""

    @property
    def used(self) -> tuple[Size3, Size3]:
        """Window and shift on this extent."""
        _, D, H, W = self.size
        return effective_window((D, H, W), self.window, self.shift)

    def inputs(self, draw: Draw) -> list[Tensor]:
        """qkv and, with mutual attention, its offset: a product, as in the model; then offset and table, weights."""
        C, (_, h, w), rows = self.C, self.used[0], prod(2 * length - 1 for length in self.window)
        features = [draw(*self.size, 6 * C if self.mutual else 3 * C)]
        if self.mutual:
            features.append(draw(h * w, 3 * C, spread=SMALL_WEIGHT))
        return [*features, draw(3 * C, spread=SMALL_WEIGHT), draw(rows, self.heads)]

    def run(self, inputs: Sequence[Tensor], backend: str) -> Tensor:
        """The attention on what `inputs` gave."""
        *features, offset, table = inputs
        qkv, mutual_offset = features if self.mutual else (features[0], None)
        bias = RelativeBias(table, self.window, self.kept)
        return window_attention(qkv, offset, bias, self.heads, *self.used, mutual_offset, backend)

    def __str__(self) -> str:
        B, D, H, W = self.size
        used, by = self.used
        kind, moved = "mutual" if self.mutual else "self", " shifted" if any(by) else ""
        return f"{kind} B{B}-D{D}-H{H}W{W}-C{self.C} window {'x'.join(map(str, used))}{moved}"


def window_attention_case(
    B: int, D: int, H: int, W: int, C: int, heads: int, window: Size3, shift: Size3, mutual: bool
) -> Case:
    """Window attention on (B,D,H,W,3C or 6C), mutual attention in windows of two frames beside it.

    Window and shift as configured; a short extent shrinks them. The mutual offset has the type of the features.
    """
    shape = WindowShape((B, D, H, W), C, heads, window, shift, mutual, KeptBias())
    features = ("qkv", "mutual_offset") if mutual else ("qkv",)
    names = (*features, "offset", "bias table")
    settings = f"heads {heads}, configured {window} shifted by {shift}"
    return Case("window_attention", str(shape), names, len(features), shape.inputs, shape.run, settings=settings)


def voxelize_case(n: int, H: int, W: int, K: int) -> Case:
    """Counts of n packed spike frames of H x W pixels in K bins, exact."""
    make, run = partial(packed_frames, n, H * W // 8), partial(run_voxelize, H, W, K)
    return Case("voxelize", f"n{n}-H{H}W{W}-K{K}", ("stored",), 1, make, run, reference="numpy")


def packed_frames(n: int, size: int, draw: Draw) -> list[Tensor]:
    """n frames of `size` bytes."""
    return [draw(n, size, spread=64, mean=128).clamp(0, 255).to(torch.uint8).cpu()]


def run_voxelize(H: int, W: int, K: int, inputs: Sequence[Tensor], backend: str) -> Tensor:
    """Counts (K,H,W)."""
    packed = inputs[0].numpy()
    if backend == "numpy":
        return torch.from_numpy(voxelize_reference(unpack_frames(packed, H, W, flip=True), K))
    return torch.from_numpy(voxelize(packed, H, W, K, parallel=backend == "numba threads"))


def layer(draw: Draw, rows: int, columns: int) -> list[Tensor]:
    """Weight and bias of a projection that keeps the variance."""
    return [draw(rows, columns, spread=columns**-0.5), draw(rows, spread=SMALL_WEIGHT)]


OPERATORS = {
    "temporal_attention": Operator(
        ("triton", "sdpa"),
        (temporal_attention_case(2, 24, 5, 5, 33, 17, 4), temporal_attention_case(1, 64, 2, 7, 19, 15, 1)),
        (temporal_attention_case(2, 6, 3, 3, 3, 5, 1), temporal_attention_case(1, 8, 2, 5, 1, 3, 2)),
        (temporal_attention_case(8, 96, 5, 5, 768, 768, 4),),
    ),
    "temporal_block": Operator(
        ("triton", "sdpa"),
        (
            temporal_block_case(2, 24, 3, None, 33, 17, 4),
            temporal_block_case(1, 40, 2, 3, 19, 15, 2, 1, Chunking(40)),
            temporal_block_case(1, 96, 8, 5, 9, 7, 4, 4),
            temporal_block_case(1, 32, 5, None, 17, 12, 4, mean=5.0),
        ),
        (temporal_block_case(1, 24, 2, None, 3, 5, 2, 1), temporal_block_case(1, 16, 1, 2, 1, 3, 2, 2)),
        (temporal_block_case(8, 96, 5, None, 768, 768, 4),),
    ),
    "window_attention": Operator(
        ("triton", "sdpa"),
        (
            window_attention_case(2, 3, 9, 7, 12, 3, (2, 4, 4), (0, 0, 0), mutual=True),
            window_attention_case(1, 5, 22, 26, 48, 3, (2, 8, 8), (1, 4, 4), mutual=True),
            window_attention_case(2, 7, 18, 11, 32, 2, (3, 4, 4), (1, 2, 2), mutual=False),
        ),
        (
            window_attention_case(1, 3, 5, 4, 16, 1, (2, 4, 4), (1, 2, 0), mutual=True),
            window_attention_case(1, 1, 6, 5, 12, 1, (1, 4, 4), (0, 2, 2), mutual=False),
        ),
        (window_attention_case(2, 6, 800, 800, 96, 6, (6, 8, 8), (0, 4, 4), mutual=False),),
    ),
    "voxelize": Operator(
        ("numba", "numba threads"),
        (voxelize_case(88, 45, 56, 32), voxelize_case(41, 9, 56, 7)),
        (voxelize_case(5, 3, 8, 8),),
        floating=False,
    ),
}
