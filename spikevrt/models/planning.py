"""Counts what a configuration needs without running it: parameters, feature shapes, bytes and launches."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from spikevrt.config import Config
from spikevrt.models.backends.trials import spike_shapes, stage_shapes
from spikevrt.models.build import build_model
from spikevrt.table import format_table
from spikevrt_kernels.core.names import Backends

MIB = 2**20
PLAIN = "sdpa"
"""A backend that every machine has; shapes are the same with all."""
Row = tuple[str, tuple[int, ...]]
"""Name and shape of a feature."""


def model_without_storage(config: Config) -> nn.Module:
    """The model on the meta device: shapes only, without memory or initialisation, on any machine."""
    with torch.device("meta"):
        return build_model(config, pretrained=False, backends=Backends.of(PLAIN))


def parameter_rows(config: Config) -> list[tuple[str, int]]:
    """Parameters per module, in the order of the data flow."""
    return [(name, count(module)) for name, module in leading_modules(model_without_storage(config))]


def parameter_table(rows: Sequence[tuple[str, int]]) -> str:
    """Table of the result of `parameter_rows`, with the total."""
    total = ("total", sum(n for _, n in rows))
    lines = [(name, f"{n:,}", f"{n * 4 / MIB:.1f}") for name, n in (*rows, total)]
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


def feature_rows(config: Config) -> list[Row]:
    """The shape of every stage's output, for one batch of training crops."""
    B, T, S = config.train.batch_size, config.data.clip_len, config.data.crop_size
    rows: list[Row] = [("input frames", (B, T, 3, S, S))]
    if config.model.use_spike:
        rows.append(("spike voxels (at the frames' size)", (B, T, config.data.k, S, S)))
        rows += [(f"spike scale {i}", shape) for i, shape in enumerate(spike_shapes(config, B), 1)]
    rows += [(f"stage{i}", shape) for i, shape in enumerate(stage_shapes(config, B), 1)]
    return [*rows, ("output frames", (B, T, 3, S, S))]


def feature_table(rows: Sequence[Row]) -> str:
    """Table of the result of `feature_rows`, with sizes."""
    lines = [(name, shape_text(shape), f"{elements(shape) * 4 / MIB:.1f}") for name, shape in rows]
    return format_table(("feature", "shape", "MiB in float32"), lines)


def elements(shape: Sequence[int]) -> int:
    """Number of elements of a shape."""
    return torch.Size(shape).numel()


def shape_text(shape: Sequence[int]) -> str:
    """A shape as text: (2, 96, 5, 256, 256) -> `2x96x5x256x256`."""
    return "x".join(str(s) for s in shape)
