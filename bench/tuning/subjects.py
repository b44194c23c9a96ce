"""What is tuned: every kernel that a configuration runs, with the launches to compile and the cases to time."""

from dataclasses import dataclass, field

import torch

from bench.tuning.candidates import static_row, with_warps
from spikevrt.config import Config
from spikevrt.models.backends.trials import attention_trials
from spikevrt_kernels.checks.needed import needed_launches
from spikevrt_kernels.core.case import Case, mixed
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.core.tuned import Kernel, Row, kernels_asked_for, trying

PRECISION = mixed(torch.bfloat16)
"""What trains on a GPU."""
MARK = 3
"""Warps that no table has: launches that take them are those of the kernel whose row has them."""


@dataclass
class Subject:
    """One kernel in one variant."""

    kernel: Kernel
    architecture: int
    """90 for sm_90."""
    checked: list[Case] = field(default_factory=list)
    """Where a row must be right."""
    timed: list[Case] = field(default_factory=list)
    """As large as the model runs them."""

    def launches(self, row: Row) -> list[Launch]:
        """This kernel's launches with a row, in training and without gradients; for compilation only."""
        with trying({self.kernel: with_warps(self.kernel, row, MARK)}):
            own = [launch.options["num_warps"] == MARK for launch in self.all_launches()]
        with trying({self.kernel: row}):
            return [launch for launch, is_own in zip(self.all_launches(), own, strict=True) if is_own]

    def all_launches(self) -> list[Launch]:
        """Those of the timed cases, other kernels' too."""
        return needed_launches(self.timed, PRECISION, architecture=self.architecture)

    @property
    def functions(self) -> set[str]:
        """Names of the kernels as a profiler shows them."""
        return {launch.kernel.__name__ for launch in self.launches(static_row(self.kernel))}


def subjects(config: Config, architecture: int) -> list[Subject]:
    """All kernels of training and restoration with a configuration."""
    found: dict[Kernel, Subject] = {}
    for trials in attention_trials(config, config.train.batch_size).values():
        for case in trials.timed:
            for kernel in kernels_of(case, architecture):
                found.setdefault(kernel, Subject(kernel, architecture)).timed.append(case)
        for case in trials.checked:
            for kernel in kernels_of(case, architecture):
                if kernel in found:
                    found[kernel].checked.append(case)
    return list(found.values())


def kernels_of(case: Case, architecture: int) -> list[Kernel]:
    """The kernels that a case launches, forward and backward."""
    with kernels_asked_for() as kernels:
        needed_launches([case], PRECISION, architecture=architecture)
    return list(kernels)
