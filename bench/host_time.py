"""What an operator call costs in Python: microseconds on the host, launched by a driver that launches nothing.

`python -m bench.host_time` needs no GPU. Triton's own launcher runs, on tensors so small that what the CPU computes in
the place of the GPU hardly shows.
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
"""Channels, heads, frames, and pixels of a side."""
WINDOW = (2, SIDE, SIDE)


class Operator(NamedTuple):
    """An operator with its tensors."""

    call: Callable[[], Tensor]
    leaves: list[Tensor]
    """What has gradients."""


class HostTime(NamedTuple):
    """Microseconds a call, the median of many."""

    operator: str
    inference: float
    forward: float
    """With what autograd notes."""
    backward: float
    """Forward and backward."""


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A leaf."""
    return torch.randn(shape, dtype=dtype).requires_grad_()


def block(cross: bool) -> Operator:
    """The block along time, weights in float32 and features in bfloat16, as under autocast."""
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
    """Window attention of one window of two frames."""
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
    """The median of `repeats` calls, after some that do not count."""
    times = []
    for i in range(WARM_UP + repeats):
        start = time.perf_counter()
        work()
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def time_operator(name: str, operator: Operator, repeats: int) -> HostTime:
    """All directions of one operator."""
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
    """Its name, as Linux has it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor())


def markdown(times: list[HostTime]) -> str:
    """The times as Markdown."""
    lines = [f"| {r.operator} | {r.inference:.0f} | {r.forward:.0f} | {r.backward:.0f} |" for r in times]
    return "\n".join(["| us a call | inference | forward | with backward |", "| --- | ---: | ---: | ---: |", *lines])


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.host_time", description=__doc__)
    parser.add_argument("--repeats", type=int, default=300, help="calls of which the median counts (default: 300)")
    repeats = parser.parse_args(arguments).repeats
    torch.set_num_threads(1)
    with no_launch():
        times = [time_operator(name, make(), repeats) for name, make in TIMED_OPERATORS.items()]
    print(f"{processor()}, one thread, torch {torch.__version__}\n\n{markdown(times)}")


if __name__ == "__main__":
    main()
