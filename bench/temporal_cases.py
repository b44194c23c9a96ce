"""Cases of the operators along time on the model's four scales."""

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from bench.cases import Case, Function, leaf
from bench.published import published_block
from spikevrt_kernels.temporal_attention import temporal_attention
from spikevrt_kernels.temporal_block import BlockWeights, Chunking, temporal_block

BATCH, CHANNELS, FRAMES, HEADS, RATIO = 1, 96, 5, 4, 2
FULL_SIZE, REDUCED_SIZE = 256, 64
"""Side of the first scale; each further scale halves it."""
SCALES = 4
ATTENTION, SELF, CROSS = "attention along time", "self block", "cross block"
OPERATORS = (ATTENTION, SELF, CROSS)
BACKENDS = ("naive", "sdpa", "triton")


def shapes(full: bool) -> list[tuple[int, ...]]:
    """(B,C,T,H,W) of the four scales."""
    size = FULL_SIZE if full else REDUCED_SIZE
    return [(BATCH, CHANNELS, FRAMES, size >> scale, size >> scale) for scale in range(SCALES)]


def entries(operator: str) -> tuple[str, ...]:
    """What is compared: nn.MultiheadAttention knows no attention without its projections."""
    return BACKENDS if operator == ATTENTION else ("published", *BACKENDS)


@lru_cache(maxsize=1)
def temporal_case(operator: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Case:
    """Seeded features and weights of one operator; the last case is kept, since its entries follow one another."""
    B, C, T, H, W = shape
    generator = torch.Generator().manual_seed(0)
    like = torch.empty(0, dtype=dtype, device=device)
    inputs = [leaf(generator, *shape, like=like) for _ in range({ATTENTION: 3, SELF: 1, CROSS: 2}[operator])]
    parameters = [] if operator == ATTENTION else block_parameters(generator, C, operator == CROSS, like)
    make = attention if operator == ATTENTION else partial(block, operator == CROSS)
    functions = {backend: make(backend) for backend in BACKENDS}
    if operator != ATTENTION:
        functions["published"] = published(operator == CROSS)
    name = "x".join(map(str, shape))
    return Case(operator, name, [*inputs, *parameters], len(inputs), functions, B * T * H * W)


def block_parameters(generator: torch.Generator, C: int, cross: bool, like: Tensor) -> list[Tensor]:
    """Weights and biases in the order of `BlockWeights`."""
    make = partial(leaf, generator, like=like)

    def norm() -> list[Tensor]:
        weight = (1 + make(C, scale=0.1)).detach().requires_grad_()
        return [weight, make(C, scale=0.1)]

    def layer(rows: int, columns: int) -> list[Tensor]:
        return [make(rows, columns, scale=columns**-0.5), make(rows, scale=0.1)]

    R = RATIO * C
    norms = [*norm(), *norm()] if cross else norm()
    return [*norms, *layer(3 * C, C), *layer(C, C), *norm(), *layer(R, C), *layer(C, R)]


def block_weights(parameters: Sequence[Tensor], cross: bool) -> BlockWeights:
    """The flat parameters as the operator takes them."""
    norm_q, *pairs = zip(parameters[::2], parameters[1::2], strict=True)
    return BlockWeights(norm_q, pairs.pop(0) if cross else None, *pairs)


def attention(backend: str) -> Function:
    """Attention alone."""

    def run(leaves: Sequence[Tensor]) -> Tensor:
        q, k, v = leaves
        return temporal_attention(q, k, v, HEADS, backend=backend)

    return run


def block(cross: bool, backend: str) -> Function:
    """The block as the model calls it, with the default chunks."""

    def run(leaves: Sequence[Tensor]) -> Tensor:
        x, *rest = leaves
        context = rest.pop(0) if cross else None
        return temporal_block(x, context, block_weights(rest, cross), HEADS, 0.0, Chunking(), backend)

    return run


def published(cross: bool) -> Function:
    """The published loop."""

    def run(leaves: Sequence[Tensor]) -> Tensor:
        x, *rest = leaves
        return published_block(x, rest.pop(0) if cross else None, rest, HEADS)

    return run
