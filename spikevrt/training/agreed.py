"""What all processes of a run agree on before its first step: the backends of its operators, and the plan of a step."""

import torch

from spikevrt.config import Config
from spikevrt.models import Backends, choose_backends
from spikevrt.models.backends.compiled_kernels import compile_kernels
from spikevrt.training.distributed import Processes
from spikevrt.training.memory_budget import Planned, choose_ways


def agreed_backends(config: Config, processes: Processes) -> Backends:
    """The backends that the first process chose; afterwards their kernels are on the disk of every machine."""
    backends = processes.decide(lambda: choose_backends(config, processes.device))
    if "triton" in backends:
        processes.on_other_machines(lambda: compile_kernels(config, processes.device))
    return backends


def agreed_plan(config: Config, backends: Backends, half: torch.dtype | None, processes: Processes) -> Planned | None:
    """What the first process chose for TRAIN.MEMORY_BUDGET_GB; None without the key.

    A model that is on the device already would count twice: what a step needs includes it.

    Raises:
        UserError: nothing fits.
    """
    if config.train.memory_budget_gb is None:
        return None
    return processes.decide(lambda: choose_ways(config, backends, half, processes.device))
