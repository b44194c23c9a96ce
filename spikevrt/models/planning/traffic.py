"""Bytes and launches of a model's forward by attention backend, counted on tensors without storage."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from spikevrt.config import Config
from spikevrt.models.backends.choose import Backends
from spikevrt.models.build import build_model, run_model
from spikevrt.system.device import autocast
from spikevrt.table import format_table
from spikevrt_kernels.core.backends import BackendError, planning
from spikevrt_kernels.core.names import BACKENDS
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators
from spikevrt_kernels.registry import DECLARED

CPU = torch.device("cpu")
SHOWN = 4
"""Operators that a line names."""
HEADER = ("backend", "type", "GB", "launches", "most of it, GB")
LEGEND = (
    "GB: 10^9 bytes in and out of every operator that is not a view, in the forms that operators have on CUDA and\n"
    "with the casts of CUDA's autocast; Triton's by what their kernels declare. Counted without running anything."
)


class ForwardTraffic(NamedTuple):
    """One forward."""

    backend: str
    half: torch.dtype | None
    """Autocast's type, or None for float32."""
    found: OperatorTraffic | str
    """Or why the backend cannot run the model."""

    @property
    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        name = "float32" if self.half is None else f"{str(self.half).removeprefix('torch.')} autocast"
        if isinstance(self.found, str):
            return self.backend, name, "-", "-", self.found
        most = self.found.by_operator.most_common(SHOWN)
        shares = ", ".join(f"{operator.partition('::')[2]} {size / 1e9:.1f}" for operator, size in most)
        return self.backend, name, f"{self.found.bytes / 1e9:.1f}", str(self.found.launches), shares


def forward_traffic(config: Config, backend: str, half: torch.dtype | None) -> OperatorTraffic:
    """What restoring one clip of CLIP_LEN frames of CROP_SIZE moves.

    Args:
        config: of model and clip, spikes at the frames' size.
        backend: triton, sdpa or naive, on any machine.
        half: autocast's type, or None for float32.

    Raises:
        BackendError: the backend cannot run the model.
    """
    T, S = config.data.clip_len, config.data.crop_size
    with planning(), torch.device("meta"):
        model = build_model(config, False, Backends(backend, backend)).eval()
    with without_storage(for_cuda=True), torch.no_grad(), autocast(CPU, half):
        model.to_empty(device="cpu")
        frames = torch.empty(1, T, 3, S, S)
        voxels = torch.empty(1, T, config.data.k, S, S) if config.model.use_spike else None
        with count_operators(DECLARED) as traffic:
            run_model(model, frames, voxels)
    return traffic


def all_traffic(config: Config) -> Iterator[ForwardTraffic]:
    """By type and backend: in float32, and as a GPU would run it with TRAIN.MIXED_PRECISION."""
    for half in (None, torch.bfloat16) if config.train.mixed_precision else (None,):
        for backend in reversed(BACKENDS):
            try:
                yield ForwardTraffic(backend, half, forward_traffic(config, backend, half))
            except BackendError as error:
                yield ForwardTraffic(backend, half, str(error))


def traffic_table(config: Config) -> str:
    """One forward by backend and type."""
    T, S = config.data.clip_len, config.data.crop_size
    table = format_table(HEADER, [traffic.cells for traffic in all_traffic(config)])
    return f"forward of one clip, {T}x3x{S}x{S}\n{table}\n{LEGEND}"
