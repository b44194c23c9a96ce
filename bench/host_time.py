"""Host time of operator calls in microseconds, with a GPU driver that launches nothing.

`python -m bench.host_time` needs no GPU. Triton's own launcher runs; the tensors are so small that the little that the
CPU computes instead of the GPU takes almost no time.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from spikevrt_kernels.proof.no_launch import no_launch
from spikevrt_kernels.temporal_attention import temporal_attention
from spikevrt_kernels.temporal_block import BlockWeights, temporal_block
from spikevrt_kernels.window_attention import window_attention
from spikevrt_kernels.window_attention.relative_bias import RelativeBias

WARM_UP = 5
HALF = torch.bfloat16
C, HEADS, FRAMES, SIDE = 32, 2, 5, 4
"""Channels, heads, frames, and pixels per side."""
WINDOW = (2, SIDE, SIDE)


class Operator(NamedTuple):
    """A call of an operator, and its tensors."""

    call: Callable[[], Tensor]
    leaves: list[Tensor]
    """Tensors that need gradients."""


class HostTime(NamedTuple):
    """Median microseconds per call."""

    operator: str
    inference: float
    forward: float
    """Forward in training: autograd records it."""
    backward: float
    """Forward and backward together."""


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A random tensor that needs a gradient."""
    return torch.randn(shape, dtype=dtype).requires_grad_()


def block(cross: bool) -> Operator:
    """The temporal block with weights in float32 and features in bfloat16, as under autocast."""
    x, context = (drawn(1, C, FRAMES, SIDE, SIDE, dtype=HALF) for _ in range(2))

    def pair(times: int, *columns: int) -> tuple[Tensor, Tensor]:
        return drawn(times, *columns), drawn(times)

    norm_kv = pair(C) if cross else None
    projections = pair(3 * C, C), pair(C, C)
    weights = BlockWeights(
        pair(C),
        norm_kv,
        *projections,
        pair(C),
        pair(2 * C, C),
        pair(C, 2 * C),
    )
    leaves = [x, *([context] if cross else []), *(w for both in weights if both is not None for w in both)]
    return Operator(lambda: temporal_block(x, context if cross else None, weights, HEADS, backend="triton"), leaves)


def windows(mutual: bool) -> Operator:
    """Window attention in a single window of two frames."""
    qkv = drawn(1, *WINDOW, (6 if mutual else 3) * C, dtype=HALF)
    offset, markdown = drawn(3 * C), drawn(3 * (2 * SIDE - 1) ** 2, HEADS)
    places = drawn(SIDE * SIDE, 3 * C, dtype=HALF) if mutual else None
    bias = RelativeBias(markdown, WINDOW)
    leaves = [t for t in (qkv, offset, markdown, places) if t is not None]
    return Operator(
        lambda: window_attention(qkv, offset, bias, HEADS, WINDOW, (0, 0, 0), places, backend="triton"), leaves
    )


def attention() -> Operator:
    """Attention along time."""
    q, k, v = (drawn(1, C, FRAMES, SIDE, SIDE, dtype=HALF) for _ in range(3))
    return Operator(lambda: temporal_attention(q, k, v, HEADS, backend="triton"), [q, k, v])


TIMED_OPERATORS: dict[str, Callable[[], Operator]] = {
    "self block": lambda: block(False),
    "cross block": lambda: block(True),
    "window attention": lambda: windows(False),
    "mutual window attention": lambda: windows(True),
    "attention along time": attention,
}


def microseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of `repeats` calls, after some that warm up."""
    times = []
    for i in range(WARM_UP + repeats):
        start = time.perf_counter()
        work()
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def time_operator(name: str, operator: Operator, repeats: int) -> HostTime:
    """Measure an operator in all directions."""
    out = operator.call()
    grad = torch.zeros_like(out)

    def without_gradients() -> Tensor:
        with torch.no_grad():
            return operator.call()

    def with_backward() -> object:
        return torch.autograd.grad(operator.call(), operator.leaves, grad)

    with torch.autocast("cpu", HALF):
        return HostTime(
            name, *(microseconds(work, repeats) for work in (without_gradients, operator.call, with_backward))
        )


def processor() -> str:
    """Name of the processor, from /proc/cpuinfo if it exists."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor())


def markdown(times: list[HostTime]) -> str:
    """The times as a Markdown table."""
    lines = [f"| {r.operator} | {r.inference:.0f} | {r.forward:.0f} | {r.backward:.0f} |" for r in times]
    return "\n".join(["| us per call | inference | forward | with backward |", "| --- | ---: | ---: | ---: |", *lines])


def main(arguments: list[str] | None = None) -> None:
    """Measure all operators, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.host_time", description=__doc__)
    parser.add_argument("--repeats", type=int, default=300, help="calls per median (default: 300)")
    repeats = parser.parse_args(arguments).repeats
    torch.set_num_threads(1)
    with no_launch():
        times = [time_operator(name, make(), repeats) for name, make in TIMED_OPERATORS.items()]
    print(f"{processor()}, one thread, torch {torch.__version__}\n\n{markdown(times)}")


if __name__ == "__main__":
    main()
