"""The memory figures of the quick reference: traced without a GPU, which takes minutes, and kept in a file."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from bench.documents.model import PRESETS
from spikevrt.config import Config, load_config
from spikevrt.models import Backends
from spikevrt.models.memory_plan import Choice
from spikevrt.system.device import planned_half_type
from spikevrt.system.memory import for_tensors
from spikevrt.training.memory_budget import GB, StepMemory, largest, step_memory
from spikevrt.training.step_cost import predicted_training_peak
from spikevrt_kernels.core.names import BACKENDS

KEPT = Path(__file__).parent / "memory.json"
"""Figures by case, as `python -m bench.quick_reference` wrote them."""
BUDGETS = (8, 14, 26)
"""GB of the old document, for batch 2, 4 and 8."""
GPUS = (8, 24, 48, 80)
"""Memory of GPUs in GB."""
BATCHES = (1, 2, 4, 8)
OWN = ("spike encoder", "spike attention", "fusion")
"""Labels of the segments that VRT does not have."""
REST = "vrt"
Figures = dict[str, Any]


class Case(NamedTuple):
    """A training step whose memory is predicted."""

    preset: str
    backend: str
    batch: int

    @property
    def name(self) -> str:
        """For example `default triton 2`."""
        return " ".join(map(str, self))

    @property
    def config(self) -> Config:
        """Its configuration."""
        return load_config(self.preset, [f"MODEL.ATTN_BACKEND={self.backend}", f"TRAIN.BATCH_SIZE={self.batch}"])


def scenario(preset: str) -> list[Case]:
    """A preset as it is, with every backend."""
    return [Case(preset, backend, load_config(preset).train.batch_size) for backend in BACKENDS]


def cases() -> list[Case]:
    """All cases that the documents show."""
    batches = [Case("default", "triton", batch) for batch in BATCHES]
    return list(dict.fromkeys([*batches, *(case for preset in ("default", *PRESETS) for case in scenario(preset))]))


def predicted(case: Case) -> Figures:
    """The figures of a case, in GB and in forward passes: see `of_memory`, with the peak of the preset's own flags."""
    config = case.config
    half = planned_half_type(config.train.mixed_precision)
    memory = step_memory(config, Backends.of(case.backend), half)
    return {"flags": in_gb(predicted_training_peak(config, half)), **of_memory(config, memory)}


def of_memory(config: Config, memory: StepMemory) -> Figures:
    """Least memory, all kept, what each budget leaves to compute again, what fits a GPU that is too small."""
    least = memory.least()
    sizes = {f"budget {size}": size * GB for size in BUDGETS} | {f"GPU {size}": for_tensors(size * GB) for size in GPUS}
    choices = {name: memory.within(size) for name, size in sizes.items()}
    return {
        "least": in_gb(memory.peak(least)),
        "least again": again(memory, least),
        "all": in_gb(memory.peak(memory.most())),
        "again": {name: again(memory, choice) for name, choice in choices.items() if choice is not None},
        "fits": {
            name: largest(config, memory, sizes[name])
            for name, choice in choices.items()
            if choice is None and name.startswith("GPU")
        },
        "kept": {part: in_gb(size) for part, size in kept_by_part(memory).items()},
    }


def kept_by_part(memory: StepMemory) -> Counter[str]:
    """Bytes that each part keeps for the backward pass where nothing is computed again."""
    found: Counter[str] = Counter()
    for segment in memory.segments:
        found[segment.label if segment.label in OWN else REST] += segment.costs[0].kept
    return found


def again(memory: StepMemory, choice: Choice) -> float:
    """Forward passes that a choice computes again, by bytes moved."""
    return round(choice.again / memory.forward, 2)


def in_gb(size: int) -> float:
    """Bytes in GB."""
    return round(size / GB, 2)


def kept_figures() -> dict[str, Figures]:
    """The figures of all cases by name, as they were written last."""
    return json.loads(KEPT.read_text())
