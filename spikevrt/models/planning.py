"""Counts what a configuration needs without running it: parameters, feature shapes, bytes and launches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from spikevrt.config import Config
from spikevrt.models.backends.choose import Backends
from spikevrt.models.backends.trials import spike_shapes, stage_shapes
from spikevrt.models.build import build_model, run_model
from spikevrt.system.device import autocast, planned_half_type
from spikevrt.table import format_table
from spikevrt_kernels.core.backends import BackendError, planning
from spikevrt_kernels.core.names import BACKENDS
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators
from spikevrt_kernels.registry import DECLARED

MIB = 2**20
Row = tuple[str, tuple[int, ...]]
"""Name and shape of a feature."""


def model_without_storage(config: Config) -> nn.Module:
    """The model on the meta device: shapes only, without memory or initialisation."""
    with torch.device("meta"):
        return build_model(config, pretrained=False)


def parameter_table(config: Config) -> str:
    """Table of the parameters per module, in the order of the data flow, with the total."""
    model = model_without_storage(config)
    rows = [(name, count(module)) for name, module in leading_modules(model)]
    rows.append(("total", count(model)))
    lines = [(name, f"{n:,}", f"{n * 4 / MIB:.1f}") for name, n in rows]
    return format_table(("module", "parameters", "MiB in float32"), lines)


def leading_modules(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """The modules that the table lists."""
    for name, child in model.named_children():
        if name == "vrt":
            yield from ((f"vrt.{part}", module) for part, module in child.named_children())
        else:
            yield name, child


def count(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def feature_table(config: Config) -> str:
    """Table of the shape and size of every stage's output, for one batch of training crops."""
    B, T, S = config.train.batch_size, config.data.clip_len, config.data.crop_size
    rows: list[Row] = [("input frames", (B, T, 3, S, S))]
    if config.model.use_spike:
        rows.append(("spike voxels (at the frames' size)", (B, T, config.data.k, S, S)))
        rows += [(f"spike scale {i}", shape) for i, shape in enumerate(spike_shapes(config, B), 1)]
    rows += [(f"stage{i}", shape) for i, shape in enumerate(stage_shapes(config, B), 1)]
    rows.append(("output frames", (B, T, 3, S, S)))
    lines = [(name, shape_text(shape), f"{elements(shape) * 4 / MIB:.1f}") for name, shape in rows]
    return format_table(("feature", "shape", "MiB in float32"), lines)


def elements(shape: Sequence[int]) -> int:
    """Number of elements of a shape."""
    return torch.Size(shape).numel()


def shape_text(shape: Sequence[int]) -> str:
    """A shape as text: (2, 96, 5, 256, 256) -> `2x96x5x256x256`."""
    return "x".join(str(s) for s in shape)


CPU = torch.device("cpu")
SHOWN_OPERATORS = 4
"""Number of operators that a line of the traffic table names."""
TRAFFIC_HEADER = ("backend", "type", "GB", "launches", "most of it, GB")
LEGEND = (
    "GB: 10^9 bytes read and written by all operators that are not views, in their CUDA form and with the casts of\n"
    "CUDA's autocast; for Triton, as its kernels declare. Counted without running anything."
)


class ForwardTraffic(NamedTuple):
    """The traffic of one forward pass."""

    backend: str
    half: torch.dtype | None
    """Autocast's type, or None for float32."""
    found: OperatorTraffic | str
    """The traffic, or why the backend cannot run the model."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its line in the table."""
        name = "float32" if self.half is None else f"{str(self.half).removeprefix('torch.')} autocast"
        if isinstance(self.found, str):
            return self.backend, name, "-", "-", self.found
        most = self.found.by_operator.most_common(SHOWN_OPERATORS)
        shares = ", ".join(f"{operator.partition('::')[2]} {size / 1e9:.1f}" for operator, size in most)
        return self.backend, name, f"{self.found.bytes / 1e9:.1f}", str(self.found.launches), shares


def forward_traffic(config: Config, backend: str, half: torch.dtype | None) -> OperatorTraffic:
    """The memory traffic of restoring one clip of CLIP_LEN frames of CROP_SIZE.

    Args:
        config: configuration of the model; spikes have the frames' size.
        backend: triton, sdpa or naive; works on any machine.
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
    """Traffic by type and backend: in float32, and with TRAIN.MIXED_PRECISION as a GPU would run it."""
    for half in dict.fromkeys((None, planned_half_type(config.train.mixed_precision))):
        for backend in reversed(BACKENDS):
            try:
                yield ForwardTraffic(backend, half, forward_traffic(config, backend, half))
            except BackendError as error:
                yield ForwardTraffic(backend, half, str(error))


def traffic_table(config: Config) -> str:
    """Table of the traffic of one forward pass, by type and backend."""
    T, S = config.data.clip_len, config.data.crop_size
    table = format_table(TRAFFIC_HEADER, [traffic.cells for traffic in all_traffic(config)])
    return f"forward of one clip, {T}x3x{S}x{S}\n{table}\n{LEGEND}"
