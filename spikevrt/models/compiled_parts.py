"""torch.compile part by part: the parts repeat, so that a few graphs of fixed shapes serve a model of any depth."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from spikevrt.models.temporal import TemporalBlock
from spikevrt.models.vrt.parallel_warping import DCNv2PackFlowGuided
from spikevrt.models.vrt.stage import Reshape
from spikevrt.models.vrt.window_block import WindowBlock

PARTS = (WindowBlock, TemporalBlock, DCNv2PackFlowGuided, Reshape)
GRAPHS = 64
"""Largest number of graphs of one kind of part: blocks, mutual or not, shifted or not, at four scales need 16."""


def compile_parts(model: nn.Module, backend: str = "inductor") -> int:
    """Compile the parts of a model that repeat, in place, each at its first call; returns how many there are.

    Names and values of the state stay. Fused operators stay as they are: what is around them is compiled.

    Args:
        model: VRT or VRTWithSpike.
        backend: of torch.compile; `inductor` needs a C++ compiler on the CPU, a C compiler on CUDA.
    """
    from torch import _dynamo  # Takes seconds, and few models are compiled.

    _dynamo.config.recompile_limit = max(_dynamo.config.recompile_limit, GRAPHS)
    parts = [part for part in model.modules() if isinstance(part, PARTS)]
    for part in parts:
        part.compile(dynamic=False, backend=backend)
    return len(parts)


def plainly(compiled: bool) -> AbstractContextManager[None]:
    """While active, a model whose parts may be `compiled` runs without: validation has other shapes and no gradients.

    Each of them would need graphs of its own.
    """
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
