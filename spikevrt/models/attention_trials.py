"""The shapes at which a configuration runs each attention operator, as trials of its backends."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from spikevrt.config import Config, TemporalAttnConfig
from spikevrt.models.shapes import Shape, spike_shapes, stage_shapes
from spikevrt.models.temporal_layers import chunking
from spikevrt.models.vrt.stage import MUTUAL_FRAMES
from spikevrt_kernels.checks.case import Case
from spikevrt_kernels.checks.operators import temporal_block_case, window_attention_case
from spikevrt_kernels.choice import Trials

CUT = 64
"""Largest side of a map that is held against float64: every kind of window, mask and tile is in it."""
Size3 = tuple[int, int, int]


class Block(NamedTuple):
    """A block along time."""

    shape: Shape
    Tk: int | None
    """Steps of the context, or None for self-attention."""
    section: TemporalAttnConfig

    def case(self, shape: Shape) -> Case:
        """The block on features of a shape."""
        B, C, T, H, W = shape
        section = self.section
        return temporal_block_case(B, C, T, self.Tk, H, W, section.heads, section.mlp_ratio, chunking(section))


class Windows(NamedTuple):
    """A group's window attention."""

    shape: Shape
    heads: int
    window: Size3
    mutual: bool

    def case(self, shape: Shape, shifted: bool) -> Case:
        """The attention on features of a shape, without a shift or with one of half a window."""
        B, C, T, H, W = shape
        half = (self.window[0] // 2, self.window[1] // 2, self.window[2] // 2)
        shift = half if shifted else (0, 0, 0)
        return window_attention_case(B, T, H, W, C, self.heads, self.window, shift, self.mutual)


def attention_trials(config: Config, B: int) -> dict[str, Trials]:
    """Trials by operator, for B training crops. Dropout is left out: its numbers have no reference."""
    blocks = temporal_blocks(config, B) if config.model.use_spike else []
    groups = list(window_groups(config, B))
    return {
        "temporal_block": Trials(
            each_once(block.case(cut(block.shape)) for block in blocks),
            each_once(block.case(block.shape) for block in blocks),
        ),
        "window_attention": Trials(
            each_once(group.case(cut(group.shape), shifted) for group in groups for shifted in (False, True)),
            each_once(group.case(group.shape, True) for group in groups),
        ),
    }


def each_once(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Cases without their repetitions, in their order."""
    return tuple({case.shape: case for case in cases}.values())


def cut(shape: Shape) -> Shape:
    """A shape with a map of at most CUT x CUT pixels."""
    B, C, T, H, W = shape
    return B, C, T, min(H, CUT), min(W, CUT)


def temporal_blocks(config: Config, B: int) -> list[Block]:
    """Self-attention on the spikes and the fusion, scale by scale."""
    blocks: list[Block] = []
    for spikes, frames in zip(spike_shapes(config, B), stage_shapes(config, B), strict=False):
        blocks += [Block(spikes, None, config.model.spike_tsa), Block(frames, spikes[2], config.model.fuse)]
    return blocks


def window_groups(config: Config, B: int) -> Iterator[Windows]:
    """Both attention groups of stages 1-7, and the groups of stage 8."""
    model, shapes = config.model, stage_shapes(config, B)
    assert model.window_size
    assert model.vrt.num_heads
    assert model.vrt.indep_reconsts is not None
    d, h, w = model.window_size
    last = len(shapes) - 1
    for i, heads in enumerate(model.vrt.num_heads):
        if i < last:
            yield Windows(shapes[i], heads, (MUTUAL_FRAMES, h, w), mutual=True)
        frames = 1 if i in model.vrt.indep_reconsts else d
        yield Windows(shapes[min(i, last)], heads, (frames, h, w), mutual=False)
