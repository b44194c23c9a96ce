"""Looks at a training step and a restored window with every backend, on tensors without storage, on all cores."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tqdm import tqdm

from spikevrt.config import Config
from spikevrt.config.keys import AUTO
from spikevrt.models import Backends
from spikevrt.models.segments import Way
from spikevrt.restoration.memory import RestorationMemory, restoration_memory
from spikevrt.system.device import planned_half_type
from spikevrt.training.memory_budget import StepMemory, step_memory
from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.names import BACKENDS
from spikevrt_kernels.core.processes import Job, cores, run_jobs

LIMIT = 300
"""Seconds for a backend: where frames are enormous, some loop over chunks of them without end."""


class Found(NamedTuple):
    """What a backend needs on a GPU."""

    backend: str
    why_not: str | None
    """Why it cannot run the model, or None."""
    step: StepMemory | None
    restoration: RestorationMemory | None
    """None too where the backend was not looked at in detail."""


def with_backend(config: Config, backend: str, in_detail: bool = True) -> Found:
    """What one backend needs, in TRAIN.MIXED_PRECISION as a GPU would run it; every way and restoring in detail."""
    half = planned_half_type(config.train.mixed_precision)
    try:
        backends = Backends.of(backend)
        step = step_memory(config, backends, half, ways=tuple(Way) if in_detail else None)
        return Found(backend, None, step, restoration_memory(config, backends, half) if in_detail else None)
    except BackendError as error:
        return Found(backend, str(error), None, None)


def rows(config: Config, backend: str, in_detail: bool) -> Iterator[Found]:
    """The same as rows of a `Job`."""
    yield with_backend(config, backend, in_detail)


def looked_at(config: Config, own: str, others: Sequence[str], first: Callable[[Found], None]) -> list[Found]:
    """What backends need, in processes of their own: the first in detail, of which `first` is told at once."""
    jobs = [Job(name, rows, (config, name, name == own), LIMIT) for name in (own, *others)]
    with tqdm(desc="plan", total=len(jobs), unit="backend", leave=False) as bar:

        def arrived(job: Job, row: Found) -> None:
            bar.update()
            if job.name == own and row.step is not None:
                with tqdm.external_write_mode():
                    first(row)

        endings = run_jobs(jobs, min(cores(), len(jobs)), arrived)
    return [row for ending in endings for row in ending.rows or [Found(ending.job.name, ending.reason, None, None)]]


def with_every_backend(config: Config, first: Callable[[Found], None]) -> list[Found]:
    """What each backend needs: first, and in detail, MODEL.ATTN_BACKEND, or for `auto` the kernels.

    Where `auto` cannot take the kernels, it is the first other one that can run. `first` is told of the detailed one
    before the others are known.
    """
    wanted = config.model.attn_backend
    own = BACKENDS[0] if wanted == AUTO else wanted
    found = looked_at(config, own, [name for name in BACKENDS if name != own], first)
    if wanted != AUTO or found[0].step is not None or all(one.step is None for one in found):
        return found
    able = next(one for one in found if one.step is not None)
    return [*looked_at(config, able.backend, [], first), *(one for one in found if one is not able)]
