"""The launches of a case, found without running it: what a proof will compile."""

from collections.abc import Iterable
from contextlib import suppress

import torch

from spikevrt_kernels.core.backends import BackendError
from spikevrt_kernels.core.case import Case, Precision, run_case
from spikevrt_kernels.core.launch import Launch, noted_launches
from spikevrt_kernels.proof.memory import without_storage


def needed_launches(
    cases: Iterable[Case], precision: Precision, backward: bool = True, architecture: int = 90
) -> list[Launch]:
    """The launches of the backend `triton` on a GPU of an architecture; works on any machine.

    A case that it cannot run needs nothing.

    Args:
        cases: of operators that have a Triton kernel.
        precision: of the runs.
        backward: with gradients, and without them as in validation; else without them alone.
        architecture: 90 for sm_90.
    """
    with noted_launches(architecture) as noted, without_storage(for_cuda=True):
        for case in cases:
            with suppress(BackendError):
                inputs = case.inputs(precision, torch.device("cpu"))
                out = run_case(case, "triton", inputs, precision.autocast, None).out
                if backward:
                    run_case(case, "triton", inputs, precision.autocast, torch.empty_like(out))
    return noted
