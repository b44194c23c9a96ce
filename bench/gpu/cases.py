"""The shapes that a report tries: odd ones, and those at which the model runs its operators."""

from types import MappingProxyType

import torch

from bench.gpu.setting import Setting
from spikevrt.models.backends.trials import attention_trials
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.registry import OPERATORS
from spikevrt_kernels.temporal_attention.spec import temporal_attention_case
from spikevrt_kernels.temporal_block.spec import temporal_block_case
from spikevrt_kernels.window_attention.spec import window_attention_case

MORE = MappingProxyType(
    {
        "temporal_attention": (temporal_attention_case(1, 96, 7, 7, 40, 36, 4),),
        "temporal_block": (
            temporal_block_case((2, 96, 7, None, 20, 36), 4),
            temporal_block_case((1, 96, 7, 7, 20, 36), 4),
        ),
        "window_attention": (window_attention_case((1, 7, 24, 20), 120, 6, (6, 8, 8), (3, 4, 4), False),),
    }
)
"""T 7, and the 120 channels of stage 8."""
MOST_TRIED = "bf16-autocast"
"""The type that trains."""


def odd_cases(setting: Setting, op: str, precision: str) -> tuple[Case, ...]:
    """Shapes that no tile divides; in the type that trains also longer clips and wider features."""
    if setting.dry:
        return OPERATORS[op].tiny
    return (*OPERATORS[op].odd, *(MORE[op] if precision == MOST_TRIED else ()))


def own_cases(setting: Setting, op: str) -> tuple[Case, ...]:
    """Shapes of the model, cut to what float64 has room for."""
    return attention_trials(setting.config, setting.config.train.batch_size)[op].checked


def timed_cases(setting: Setting) -> list[Case]:
    """Shapes of the model as large as they run, those with most elements first."""
    trials = attention_trials(setting.config, setting.config.train.batch_size)
    sizes = {case: elements(case) for one in trials.values() for case in one.timed}
    return sorted(sizes, key=lambda case: -sizes[case])


def elements(case: Case) -> int:
    """Elements of a case's features, without making them."""
    made = case.make(lambda *shape, **_: torch.empty(shape, device="meta"))  # type: ignore[arg-type]
    return sum(x.numel() for x in made[: case.features])
