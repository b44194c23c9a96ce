"""What a training step needs by how much is computed again: points from the least memory to the least work."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor

from spikevrt.config import Config
from spikevrt.errors import UserError
from spikevrt.models.memory_plan import Choice
from spikevrt.models.segments import Way
from spikevrt.predictions.timeline import curve
from spikevrt.system.memory import for_tensors
from spikevrt.training.memory_budget import GB, KEY, StepMemory, largest

MB = 10**6
GPU_SIZES = (8, 12, 16, 24, 32, 40, 48, 80, 141)
"""Memory of GPUs in GB."""
FEWEST = 6
"""Points between the least and the most memory, at least."""
Load = Callable[[Sequence[str]], Config]
"""load(options) -> the configuration with these `KEY=VALUE` options behind those that it has."""


@dataclass(frozen=True)
class Point:
    """A choice of what is computed again."""

    peak: int
    """Bytes of all tensors at the peak."""
    again: float
    """Bytes moved to compute segments again, in forward passes."""
    holder: str
    """The segment that runs at the peak."""
    ways: dict[str, int]
    """Number of segments by way."""
    gpu: float | None
    """The smallest of the listed GPUs that holds it, in GB, with the allowances; None = none does."""


@dataclass(frozen=True)
class Fit:
    """What a GPU holds."""

    gpu: float
    """Its memory in GB."""
    budget: float
    """What tensors may take of it, in GB."""
    point: Point | None
    """The step of the configuration with the least work that fits; None = none does."""
    options: tuple[str, ...]
    """What to set for it: `KEY=VALUE`."""
    largest: tuple[tuple[str, ...], ...]
    """The same for the largest batch, crop and clip, each by itself, that fit about; those that are allowed."""


def point_of(memory: StepMemory, choice: Choice, named: Iterable[float] = ()) -> Point:
    """What to know about a choice; `named` are memories of GPUs (GB) to list beside `GPU_SIZES`."""
    counts, peak = Counter(choice.ways), memory.peak(choice)
    holding = [size for size in (*GPU_SIZES, *named) if peak <= for_tensors(int(size * GB))]
    ways = {str(way): counts[way] for way in Way if counts[way]}
    holder = curve("", memory, choice).holder
    return Point(peak, choice.again / memory.forward, holder, ways, min(holding, default=None))


def in_gb(size: int) -> str:
    """Bytes in GB, rounded up: as a budget they are enough."""
    return f"{ceil(size / MB) * MB / GB:.3f}"


def choices(memory: StepMemory, budgets: Iterable[int]) -> list[Choice]:
    """The choices of the least memory and of the least work, and those for budgets (bytes) between; each once."""
    low, most = memory.peak(memory.least()), memory.most()
    bounds = [budget for budget in sorted({low, *budgets}) if low <= budget < memory.peak(most)]
    found = [choice for budget in bounds if (choice := memory.within(budget)) is not None]
    return list({choice.peak: choice for choice in (*found, most)}.values())


def fitting(memory: StepMemory, found: Sequence[Choice], budget: int) -> Choice | None:
    """The one of the least work, among choices of rising peaks, that fits a budget (bytes)."""
    return next((choice for choice in reversed(found) if memory.peak(choice) <= budget), None)


def some_budgets(memory: StepMemory) -> list[int]:
    """What GPUs leave for tensors between the least and the most memory; a few budgets more if these are few."""
    low, high = memory.peak(memory.least()), memory.peak(memory.most())
    found = [budget for size in GPU_SIZES if low < (budget := for_tensors(int(size * GB))) < high]
    if len(found) >= FEWEST:
        return found
    return [*found, *(int(low * (high / low) ** (i / (FEWEST + 1))) for i in range(1, FEWEST + 1))]


def budget_of(gpu: float) -> float:
    """GB for tensors on a GPU of so many GB, rounded down to what is typed as a budget; 0 where nothing is left."""
    return max(0, floor(for_tensors(int(gpu * GB)) / MB) * MB / GB)


def fit(memory: StepMemory, found: Sequence[Choice], gpu: float, load: Load) -> Fit:
    """What a GPU of so many GB holds.

    Args:
        memory: of a step of `load([])`.
        found: its choices, also for this GPU's `budget_of`.
        gpu: its memory in GB.
        load: options that it refuses are left out.
    """
    config, budget = load([]), budget_of(gpu)
    if not budget:
        return Fit(gpu, budget, None, (), ())
    choice = fitting(memory, found, int(budget * GB))
    own = f"{KEY}={budget:g}"
    wanted = [(own, option) for option in largest(config, memory, int(budget * GB))]
    allowed = tuple(options for options in wanted if is_allowed(load, options))
    point = None if choice is None else point_of(memory, choice, [gpu])
    return Fit(gpu, budget, point, () if choice is None else (own,), allowed)


def is_allowed(load: Load, options: Sequence[str]) -> bool:
    """Whether a configuration takes options."""
    try:
        load(options)
    except UserError:
        return False
    return True
