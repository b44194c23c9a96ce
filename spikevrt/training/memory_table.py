"""What a training step needs by how much is computed again, as tables for people: predicted, on any machine."""

from spikevrt.config import Config
from spikevrt.models import Backends
from spikevrt.models.memory_plan import Choice
from spikevrt.models.segments import Way
from spikevrt.system.device import planned_half_type
from spikevrt.system.memory import CONTEXT_BYTES, GAPS_SHARE, for_tensors
from spikevrt.table import format_table
from spikevrt.training.memory_budget import GB, KEY, StepMemory, largest, step_memory

GPU_SIZES = (8, 12, 16, 24, 32, 40, 48, 80, 141)
"""Memory of GPUs in GB."""
HEADER = ("GPU, GB", "predicted peak, GB", "again", "most memory in", "segments")
LEGEND = (
    f"Predicted, never measured: tensors alone, within what a GPU has after {CONTEXT_BYTES / GB:.1f} GB for CUDA and\n"
    f"its libraries and {GAPS_SHARE:.0%} for gaps. again: bytes moved to compute segments again, in forward passes."
)


def memory_table(config: Config, gpu: float | None = None) -> str:
    """A table of choices from the least memory to the least work; with `gpu` (GB) also what to set for that one.

    Args:
        config: configuration of the run; MODEL.ATTN_BACKEND = auto counts as triton.
        gpu: memory of a GPU in GB, or None.
    """
    backend = config.model.attn_backend
    backend = "triton" if backend == "auto" else backend
    half = planned_half_type(config.train.mixed_precision)
    memory = step_memory(config, Backends.of(backend), half)
    B, T, S = config.train.batch_size, config.data.clip_len, config.data.crop_size
    title = f"training step, {B}x{T}x3x{S}x{S}, {backend}: what it keeps for the backward pass, by memory"
    sizes = sorted({*GPU_SIZES, gpu} if gpu else GPU_SIZES)
    rows = [row("least", memory, memory.least())]
    for size in sizes:
        choice = memory.within(for_tensors(int(size * GB)))
        if choice is not None:
            rows.append(row(f"{size:g}", memory, choice))
        if choice is not None and not choice.again:
            break
    if rows[-1][2] != "0.00":
        rows.append(row("all kept", memory, memory.most()))
    lines = [title, format_table(HEADER, rows), LEGEND]
    return "\n".join(lines if gpu is None else [*lines, "", advice(config, memory, gpu)])


def row(name: str, memory: StepMemory, choice: Choice) -> tuple[str, ...]:
    """The cells of one choice."""
    counts = ", ".join(f"{count} {way}" for way in Way if (count := choice.ways.count(way)))
    again = f"{choice.again / memory.forward:.2f}"
    return name, f"{memory.peak(choice) / GB:.2f}", again, choice.holder, counts


def advice(config: Config, memory: StepMemory, gpu: float) -> str:
    """What fits a GPU, and the lines to set."""
    budget = for_tensors(int(gpu * GB))
    choice = memory.within(budget)
    fitting = largest(config, memory, budget)
    most = f"the largest, each by itself: {', '.join(fitting)}" if fitting else "no batch, crop or clip does"
    if choice is None:
        least = memory.peak(memory.least()) / GB
        return f"{gpu:g} GB: this step does not fit, it needs {least:.2f} GB for tensors; about what does: {most}"
    return f"{gpu:g} GB: this step fits; about {most}\n  --opts {KEY}={budget / GB:.1f}"
