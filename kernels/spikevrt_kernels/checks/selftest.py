"""The self-test of a machine: what can be tried there."""

from collections.abc import Iterable, Iterator

import torch

from spikevrt_kernels.checks.comparison import EXACT, LARGE
from spikevrt_kernels.checks.trials import Trial
from spikevrt_kernels.core.backends import why_no_kernels
from spikevrt_kernels.core.case import Case, Precision, mixed, pure
from spikevrt_kernels.core.launch import interpreted
from spikevrt_kernels.registry import OPERATORS, TRITON_OPS

CPU_TYPES = (pure(torch.float64), pure(torch.float32), mixed(torch.bfloat16))
INTERPRETER_TYPES = (pure(torch.float64), pure(torch.float32), pure(torch.float16))
CUDA_TYPES = (pure(torch.float32), pure(torch.float16), mixed(torch.float16))
BF16_TYPES = (pure(torch.bfloat16), mixed(torch.bfloat16))


def precisions(device: torch.device, backend: str) -> tuple[Precision, ...]:
    """What a backend is tried in on a device."""
    if device.type == "cuda":
        return CUDA_TYPES + (BF16_TYPES if torch.cuda.is_bf16_supported(including_emulation=False) else ())
    return INTERPRETER_TYPES if backend == "triton" else CPU_TYPES


def odd_trials(device: torch.device, ops: Iterable[str]) -> Iterator[Trial]:
    """Every operator on its odd shapes, in every type that runs here."""
    kernels = why_no_kernels(device) is None
    for op in ops:
        operator = OPERATORS[op]
        for backend in operator.backends:
            if backend == "triton" and not (kernels and op in TRITON_OPS):
                continue
            types = precisions(device, backend) if operator.floating else (pure(torch.uint8),)
            cases = operator.tiny if backend == "triton" and interpreted() else operator.odd
            for precision in types:
                yield from (Trial(case, precision, backend, EXACT, operator.floating) for case in cases)


def own_trials(
    device: torch.device, cases: Iterable[Case], precision: Precision, large: bool = False
) -> Iterator[Trial]:
    """A model's own shapes, in the precision that it runs in; float64 has no room for `large` ones."""
    kernels = why_no_kernels(device) is None
    for case in cases:
        for backend in OPERATORS[case.op].backends:
            if backend != "triton" or (kernels and case.op in TRITON_OPS):
                yield Trial(case, precision, backend, LARGE if large else EXACT)


def huge_trials(device: torch.device, ops: Iterable[str]) -> list[Trial]:
    """Kernels on more than 2^31 elements, where they run."""
    if device.type != "cuda" or why_no_kernels(device) is not None:
        return []
    half = BF16_TYPES[0] if torch.cuda.is_bf16_supported(including_emulation=False) else CUDA_TYPES[1]
    return [Trial(case, half, "triton") for op in ops for case in OPERATORS[op].huge]
