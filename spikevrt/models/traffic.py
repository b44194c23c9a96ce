"""Counts what a forward moves without running it: bytes and launches by backend, by part of the model and by work."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import nn

from spikevrt.config import Config
from spikevrt.models.build import build_model, run_model
from spikevrt.models.half_weights import half_precision
from spikevrt.models.planning import leading_modules
from spikevrt.system.device import planned_half_type
from spikevrt.table import format_table
from spikevrt_kernels.core.backends import BackendError, planning
from spikevrt_kernels.core.names import BACKENDS, Backends
from spikevrt_kernels.core.operator import Declared
from spikevrt_kernels.proof.memory import without_storage
from spikevrt_kernels.proof.operator_counter import OperatorTraffic, count_operators
from spikevrt_kernels.registry import DECLARED

CPU = torch.device("cpu")
SHOWN_OPERATORS = 4
"""Number of operators that a line of the traffic table names."""
TRAFFIC_HEADER = ("backend", "type", "GB", "launches", "most of it, GB")
LEGEND = (
    "GB: 10^9 bytes read and written by all operators that are not views, in their CUDA form and with the casts of\n"
    "CUDA's autocast; for Triton, as its kernels declare. Counted without running anything."
)
WORK = {
    "casts": "_to_copy _foreach_copy_",
    "copies": "copy_ clone cat stack constant_pad_nd flip repeat index index_select index_copy_ roll slice_backward "
    "select_backward index_put_ _index_put_impl_ embedding",
    "products": "mm addmm bmm baddbmm linear",
    "convolutions": "convolution convolution_backward",
    "layer norms": "native_layer_norm native_layer_norm_backward",
    "attention": "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention _softmax",
    "gathers": "grid_sampler_2d grid_sampler_2d_backward",
    "optimiser": "_fused_adamw_",
}
"""Kinds of work, and the operators of ATen that do it; the rest is arithmetic on single values."""
KINDS = {operator: kind for kind, names in WORK.items() for operator in names.split()}


Counting = Callable[[Declared, Callable[[], str]], AbstractContextManager[OperatorTraffic]]


class Places:
    """Says in which part of a model the running operator is; parts of the backward are those of their forward."""

    ELSEWHERE = "elsewhere"

    def __init__(self, model: nn.Module) -> None:
        self.inside: list[str] = []
        self.marks: list[tuple[int, str]] = []
        """Numbers of nodes of the backward pass from which on nodes belong to a part."""
        for name, module in parts_of(model):
            module.register_forward_pre_hook(lambda _module, _inputs, name=name: self.inside.append(name))
            module.register_forward_hook(lambda _module, _inputs, _output: self.leave())

    def leave(self) -> None:
        """Leave the innermost part."""
        self.inside.pop()

    def __call__(self) -> str:
        """The part whose operator runs."""
        node = torch._C._current_autograd_node()
        if node is None:
            place = self.inside[-1] if self.inside else self.ELSEWHERE
        else:
            after = bisect_right(self.marks, node._sequence_nr(), key=lambda mark: mark[0])
            place = self.marks[after - 1][1] if after else self.ELSEWHERE
        if not self.marks or self.marks[-1][1] != place:
            # The node of an operator is made just before it runs.
            self.marks.append((torch.autograd._get_sequence_nr() - 1, place))
        return place


def parts_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts that are told apart: those of the table of parameters, stage 8 by its groups."""
    for name, module in leading_modules(model):
        if isinstance(module, nn.ModuleList):
            yield from ((f"{name}.{i}", group) for i, group in enumerate(module))
        elif not isinstance(module, nn.Identity):
            yield name, module


class Traffic(NamedTuple):
    """The traffic of one backend in one type."""

    backend: str
    half: torch.dtype | None
    """Autocast's type, or None for float32."""
    found: OperatorTraffic | str
    """The traffic, or why the backend cannot run the model."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its line in the table."""
        name = type_name(self.half)
        if isinstance(self.found, str):
            return self.backend, name, "-", "-", self.found
        most = self.found.by_operator.most_common(SHOWN_OPERATORS)
        shares = ", ".join(f"{operator.partition('::')[2]} {size / 1e9:.1f}" for operator, size in most)
        return self.backend, name, f"{self.found.bytes / 1e9:.1f}", str(self.found.launches), shares


def type_name(half: torch.dtype | None) -> str:
    """`float32` or `bfloat16 autocast`."""
    return "float32" if half is None else f"{str(half).removeprefix('torch.')} autocast"


def forward_traffic(
    config: Config, backend: str, half: torch.dtype | None, counting: Counting = count_operators
) -> OperatorTraffic:
    """The memory traffic of restoring one clip of CLIP_LEN frames of CROP_SIZE.

    Args:
        config: configuration of the model; spikes have the frames' size.
        backend: triton, sdpa or naive; works on any machine.
        half: autocast's type, or None for float32.
        counting: counts the operators of its block, from their declared costs and a function that says where they are.

    Raises:
        BackendError: the backend cannot run the model.
    """
    T, S = config.data.clip_len, config.data.crop_size
    with planning(), torch.device("meta"):
        model = build_model(config, False, Backends.of(backend)).eval()
    with without_storage(for_cuda=True), torch.no_grad():
        model.to_empty(device="cpu")
        frames = torch.empty(1, T, 3, S, S)
        voxels = torch.empty(1, T, config.data.k, S, S) if config.model.use_spike else None
        with counting(DECLARED, Places(model)) as traffic, half_precision(model, CPU, half):
            run_model(model, frames, voxels)
    return traffic


Count = Callable[[Config, str, torch.dtype | None], OperatorTraffic]


def all_traffic(config: Config, count: Count = forward_traffic) -> Iterator[Traffic]:
    """Traffic by type and backend: in float32, and with TRAIN.MIXED_PRECISION as a GPU would run it."""
    for half in dict.fromkeys((None, planned_half_type(config.train.mixed_precision))):
        for backend in reversed(BACKENDS):
            try:
                yield Traffic(backend, half, count(config, backend, half))
            except BackendError as error:
                yield Traffic(backend, half, str(error))


def traffic_table(config: Config) -> str:
    """Tables of the traffic of one forward pass: by type and backend; in the last type by part and by kind of work."""
    T, S = config.data.clip_len, config.data.crop_size
    rows = list(all_traffic(config))
    table = format_table(TRAFFIC_HEADER, [traffic.cells for traffic in rows])
    half = rows[-1].half
    last = {row.backend: row.found for row in rows if row.half == half and isinstance(row.found, OperatorTraffic)}
    return "\n".join([f"forward of one clip, {T}x3x{S}x{S}", table, LEGEND, "", details(type_name(half), last)])


def details(title: str, found: Mapping[str, OperatorTraffic]) -> str:
    """Two tables of GB and launches by backend: by part of the model, and by kind of work."""
    tables = []
    for name, key in (("part", lambda place, operator: place), ("work", lambda place, operator: kind_of(operator))):
        sums = {backend: grouped(traffic, key) for backend, traffic in found.items()}
        rows = dict.fromkeys(row for backend in sums.values() for row in backend)
        lines = [(row, *(cell(sums[backend].get(row)) for backend in found)) for row in rows]
        tables.append(format_table((f"{name}, {title}", *(f"{backend}: GB, launches" for backend in found)), lines))
    return "\n\n".join(tables)


def grouped(traffic: OperatorTraffic, key: Callable[[str, str], str]) -> dict[str, tuple[int, int]]:
    """Bytes and launches by key(place, operator), in the order of their first operator."""
    moved: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for (place, operator), (size, runs) in traffic.places.items():
        moved[key(place, operator)] += size
        launches[key(place, operator)] += runs
    return {row: (moved[row], launches[row]) for row in moved}


def kind_of(operator: str) -> str:
    """The kind of work of an operator: one of `WORK`, `arithmetic`, or a custom operator's name."""
    library, _, name = operator.partition("::")
    return name.removesuffix("_backward") if library == "spikevrt" else KINDS.get(name, "arithmetic")


def cell(sums: tuple[int, int] | None) -> str:
    """Bytes and launches as `12.3, 45`."""
    return "-" if sums is None else f"{sums[0] / 1e9:.2f}, {sums[1]}"
