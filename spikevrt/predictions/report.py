"""One record of what a configuration needs; text, JSON and picture show it and compute nothing."""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import spikevrt
from spikevrt.config import Config
from spikevrt.config.keys import AUTO
from spikevrt.models.memory_plan import Choice
from spikevrt.models.planning import feature_rows, parameter_rows
from spikevrt.predictions.backends import Found, with_every_backend
from spikevrt.predictions.step import Fit, Load, Point, budget_of, choices, fit, point_of, some_budgets
from spikevrt.predictions.timeline import Curve, curves
from spikevrt.predictions.work import StageWork, inside_kernels, work_by_stage
from spikevrt.restoration.memory import padded_size
from spikevrt.system.device import planned_half_type
from spikevrt.system.machine import installed
from spikevrt.system.memory import CONTEXT_BYTES, GAPS_SHARE
from spikevrt.training.memory_budget import GB, StepMemory

FORMAT = 1
"""Version of the JSON document: it grows when a field changes its meaning or goes."""
SIZES = ((256, 256), (512, 512), (720, 1280), (1080, 1920))
"""Heights and widths of frames, or of the tiles into which `deblur` cuts larger ones."""
LEFT_OUT = ("CUDA's context and libraries", "workspaces of libraries", "gaps between tensors")


@dataclass(frozen=True)
class Step:
    """The training step for which all this holds."""

    batch: int
    """Clips."""
    frames: int
    """Per clip."""
    crop: int
    """Height and width in pixels."""
    type: str
    """Of products and convolutions."""
    budget: str | None
    """TRAIN.MEMORY_BUDGET_GB."""


@dataclass(frozen=True)
class BackendPoints:
    """A training step with one backend."""

    backend: str
    why_not: str | None
    """Why it cannot run, or None."""
    points: tuple[Point, ...]
    """From the least memory to the least work."""


@dataclass(frozen=True)
class Restored:
    """The peak of restoring one window of DATA.CLIP_LEN frames of one size."""

    height: int
    width: int
    padded: tuple[int, int]
    """Height and width that the model sees."""
    peaks: dict[str, int]
    """Bytes of all tensors at the peak, by backend; without those that cannot run."""


@dataclass(frozen=True)
class Allowance:
    """What predictions leave out, and what is set aside for it where a GPU's memory is named."""

    left_out: tuple[str, ...]
    bytes: int
    """For context and libraries."""
    share: float
    """Of the rest, for gaps."""


@dataclass(frozen=True)
class Report:
    """What a configuration needs, predicted without running it; sizes are in bytes, GB = 10^9."""

    format: int
    versions: dict[str, str]
    config: str
    """Name or path, and options."""
    options: tuple[str, ...]
    parameters: dict[str, int]
    """By module, in the order of the data flow."""
    features: dict[str, tuple[int, ...]]
    """Shapes by name."""
    step: Step
    work: tuple[StageWork, ...]
    """Of the step with the detailed backend."""
    inside_kernels: float
    """What its backward kernels compute again inside themselves whatever is kept, in forward passes by products."""
    backends: tuple[BackendPoints, ...]
    """The detailed one first: MODEL.ATTN_BACKEND, where auto is triton."""
    fit: Fit | None
    """What a GPU holds of the detailed backend's steps, if one was named."""
    curves: tuple[Curve, ...]
    """The memory of a step of the detailed backend over the bytes that it moves."""
    restoration: tuple[Restored, ...]
    allowance: Allowance

    def as_json(self) -> str:
        """The whole record as a JSON document."""
        return json.dumps(asdict(self), indent=1, allow_nan=False)


def predict(
    load: Load,
    name: str,
    options: Sequence[str] = (),
    gpu: float | None = None,
    first: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Look at a configuration on tensors without storage, with every backend.

    Args:
        load: load(more options) -> the configuration.
        name: what it is called; like `options` it is only written down.
        options: its `KEY=VALUE` options.
        gpu: memory of a GPU in GB, or None.
        first: is given a report of the detailed backend alone, before the others are known.

    Raises:
        UserError: the model cannot be built.
    """

    def about(backends: Sequence[Found]) -> Report:
        return report_of(load, name, options, gpu, backends)

    return about(with_every_backend(load([]), lambda own: first(about([own]))))


def report_of(load: Load, name: str, options: Sequence[str], gpu: float | None, backends: Sequence[Found]) -> Report:
    """The record of what was found for backends, the detailed one first; other arguments as in `predict`."""
    config = load([])
    own, memory = choices_of(backends[0], gpu, in_detail=True), backends[0].step
    others = [choices_of(one, gpu) for one in backends[1:]]
    return Report(
        format=FORMAT,
        versions={"spikevrt": spikevrt.__version__, "python": platform.python_version(), "torch": installed("torch")},
        config=name,
        options=tuple(options),
        parameters=dict(parameter_rows(config)),
        features=dict(feature_rows(config)),
        step=step_of(config),
        work=() if memory is None else work_by_stage(memory),
        inside_kernels=0.0 if memory is None else inside_kernels(memory),
        backends=tuple(points_of(one, found, gpu) for one, found in zip(backends, (own, *others), strict=True)),
        fit=None if memory is None or gpu is None else fit(memory, own, gpu, load),
        curves=() if memory is None else curves_of(memory, own, chosen_budget(config, gpu)),
        restoration=tuple(restored(config, backends, size) for size in SIZES),
        allowance=Allowance(LEFT_OUT, CONTEXT_BYTES, GAPS_SHARE),
    )


def step_of(config: Config) -> Step:
    """The training step of a configuration on a GPU."""
    half = planned_half_type(config.train.mixed_precision)
    sizes = config.train.batch_size, config.data.clip_len, config.data.crop_size
    name = "float32" if half is None else str(half).removeprefix("torch.")
    return Step(*sizes, name, config.train.memory_budget_gb)


def choices_of(one: Found, gpu: float | None, in_detail: bool = False) -> list[Choice]:
    """The choices of a backend: the least, within the named GPU, all kept, and many more in detail."""
    if one.step is None:
        return []
    budgets = some_budgets(one.step) if in_detail else []
    return choices(one.step, budgets if gpu is None else [*budgets, int(budget_of(gpu) * GB)])


def points_of(one: Found, found: Sequence[Choice], gpu: float | None) -> BackendPoints:
    """What to know about the choices of a backend."""
    named = [] if gpu is None else [gpu]
    points = () if one.step is None else tuple(point_of(one.step, choice, named) for choice in found)
    return BackendPoints(one.backend, one.why_not, points)


def curves_of(memory: StepMemory, found: Sequence[Choice], budget: int | None) -> tuple[Curve, ...]:
    """The curves of the first and the last choice, and of what is chosen within a budget (bytes)."""
    chosen = None if budget is None else memory.within(budget)
    return curves(memory, {"least": found[0], "all kept": found[-1], "chosen": chosen})


def chosen_budget(config: Config, gpu: float | None) -> int | None:
    """Bytes that tensors may take: of the named GPU, else of TRAIN.MEMORY_BUDGET_GB; None without a number."""
    if gpu is not None:
        return int(budget_of(gpu) * GB)
    wanted = config.train.memory_budget_gb
    return None if wanted in (None, AUTO) else int(float(wanted) * GB)


def restored(config: Config, found: Sequence[Found], size: tuple[int, int]) -> Restored:
    """The peak of restoring frames of `size` (H,W), by backend."""
    padded = padded_size(config, size)
    return Restored(
        *size, padded, {one.backend: one.restoration.peak(padded) for one in found if one.restoration is not None}
    )
