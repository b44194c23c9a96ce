"""Rows of the Triton entry on a machine without a GPU: what was proved, in place of what cannot be measured."""

from dataclasses import replace

from bench.measure import predict_peak, predict_saved, type_name
from bench.results.rows import Row
from bench.results.tables import SHOWN_GPUS
from bench.without_gpu.counts import count_in_interpreter
from bench.without_gpu.declared import DTYPE, Declared, declared_along_time, declared_in_windows
from bench.workloads.temporal import temporal_workload
from bench.workloads.windows import Group, window_workload
from bench.workloads.workload import DIRECTIONS, Workload
from spikevrt_kernels.proof.roofline import GPUS


def proof_row(work: Workload, direction: str, declared: Declared) -> Row:
    """The Triton entry of one comparison, without a time.

    Bytes are what the kernels declare at this shape, which tests hold to the interpreter's count. Bounds are the
    roofline's: predicted, never measured.
    """
    shown = [gpu for gpu in GPUS if gpu.name in SHOWN_GPUS]
    return Row(
        operator=work.case.op,
        shape=work.case.shape,
        direction=direction,
        entry="triton",
        dtype=type_name(work.dtype),
        tokens=work.tokens,
        unit=work.unit,
        moved=declared.cost.bytes,
        saved=None if direction == DIRECTIONS[0] else predict_saved(work, "triton"),
        peak=predict_peak(work, "triton", direction),
        bounds={gpu.name: declared.bound(gpu, declared.work(gpu.architecture)).seconds for gpu in shown},
    )


def temporal_row(operator: str, shape: tuple[int, ...], direction: str) -> Row:
    """An operator along time; `counted` are the interpreter's units on whole tiles."""
    work = temporal_workload(operator, shape, DTYPE, "cpu")
    row = proof_row(work, direction, declared_along_time(operator, shape, direction))
    return replace(row, counted=count_in_interpreter()[operator].moved(direction))


def window_row(group: Group, size: int, direction: str) -> Row:
    """Window attention on frames of size x size."""
    work = window_workload(group, size, DTYPE, "cpu")
    return proof_row(work, direction, declared_in_windows(group, size, direction))
