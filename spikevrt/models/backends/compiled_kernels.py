"""Compiles a model's kernels on all cores before they are tried or run."""

import torch
from tqdm import tqdm

from spikevrt.config import Config
from spikevrt.models.backends.trials import operator_trials
from spikevrt.system.device import half_type
from spikevrt_kernels.checks.needed import needed_launches
from spikevrt_kernels.core.backends import takes_kernels
from spikevrt_kernels.core.case import mixed, pure
from spikevrt_kernels.core.keys import by_key
from spikevrt_kernels.core.launch import Launch, architecture
from spikevrt_kernels.core.tuned import rows_on, trying
from spikevrt_kernels.registry import TRITON_OPS


def model_launches(config: Config, device: torch.device, training: bool = True) -> list[Launch]:
    """One launch per Triton kernel that a configuration runs on a device, or that its trials run."""
    trials = operator_trials(config, config.train.batch_size if training else 1, training)
    own = [trials[op] for op in TRITON_OPS if op in trials]
    precision, target = mixed(half_type(device, config.train.mixed_precision)), architecture(device)
    with trying(rows_on(device)):
        launches = needed_launches([case for some in own for case in some.checked], precision, training, target)
        if precision.autocast:
            exact = [case for some in own for case in some.exact]
            launches += needed_launches(exact, pure(torch.float32), training, target)
    return list(by_key(launches).values())


def compile_kernels(config: Config, device: torch.device, training: bool = True) -> None:
    """Compile a model's Triton kernels into Triton's disk cache, on all cores, behind a progress bar.

    A kernel that fails to compile prints one line; the trials decide whether it is needed.

    Args:
        config: configuration of the model.
        device: the CUDA device that will run it.
        training: True = with gradients, on crops; False = without gradients, on frames of any size.
    """
    if not takes_kernels(device):
        return
    # Imported here because Triton is not installed everywhere.
    from spikevrt_kernels.warmup import compile_all

    launches = model_launches(config, device, training)
    with tqdm(total=len(launches), desc="compile kernels", unit="kernel", leave=False) as bar:
        for line in compile_all(launches, architecture(device), done=bar.update):
            bar.write(f"not compiled: {line}")
