"""The shapes at which a configuration runs each attention operator, as trials of its backends."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple, TypeVar

from spikevrt.config import Config, TemporalAttnConfig
from spikevrt.config.limits import PLACES
from spikevrt.models.temporal import chunking
from spikevrt.models.vrt.stage import MUTUAL_FRAMES
from spikevrt_kernels.checks.fastest import Trials
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.temporal_block.spec import temporal_block_case
from spikevrt_kernels.window_attention.spec import window_attention_case

CUT = 64
"""Largest side of a map that is held against float64: every kind of window, mask and tile is in it."""
ODD_MAPS = ((8, 9), (6, 10), (6, 9), (7, 9))
"""Pixels that 8, 4, 2 and 1 divide, and not twice as many: 1/8 of a padded frame may have any number of them, and
kernels along time read 16 bytes at once only where 16 pixels divide it."""
Size3 = tuple[int, int, int]
Shape = tuple[int, int, int, int, int]
"""(B,C,T,H,W)."""


class Block(NamedTuple):
    """A block along time."""

    shape: Shape
    Tk: int | None
    """Steps of the context, or None for self-attention."""
    section: TemporalAttnConfig

    @property
    def kind(self) -> bool:
        """Whether there is a context: another kernel."""
        return self.Tk is not None

    def case(self) -> Case:
        """The block on random features."""
        B, C, T, H, W = self.shape
        section = self.section
        return temporal_block_case((B, C, T, self.Tk, H, W), section.heads, section.mlp_ratio, chunking(section))


class Windows(NamedTuple):
    """A group's window attention, without a shift or with one of half a window."""

    shape: Shape
    heads: int
    window: Size3
    mutual: bool
    shifted: bool = False

    @property
    def kind(self) -> bool:
        """Whether there is mutual attention: more kernels."""
        return self.mutual

    def case(self) -> Case:
        """The attention on random features."""
        B, C, T, H, W = self.shape
        half = (self.window[0] // 2, self.window[1] // 2, self.window[2] // 2)
        shift = half if self.shifted else (0, 0, 0)
        return window_attention_case((B, T, H, W), C, self.heads, self.window, shift, self.mutual)


def attention_trials(config: Config, B: int, training: bool = True) -> dict[str, Trials]:
    """Trials by operator; what is checked takes every kernel that the model does.

    Dropout is left out: its numbers have no reference.

    Args:
        config: of the model.
        B: clips at a time.
        training: crops of DATA.CROP_SIZE alone; else frames of any size, without gradients.
    """
    blocks = temporal_blocks(config, B) if config.model.use_spike else []
    groups = [group._replace(shifted=shifted) for group in window_groups(config, B) for shifted in (False, True)]
    odd = () if training else ODD_MAPS
    return {
        "temporal_block": Trials(
            each_once([cut(block) for block in blocks] + [on_map(block, *size) for size in odd for block in blocks]),
            each_once(blocks),
            each_once(one_of_each(blocks)),
        ),
        "window_attention": Trials(
            each_once([cut(group) for group in groups] + [padded(group) for group in groups if group.shifted]),
            each_once(groups),
            each_once(one_of_each([group for group in groups if group.shifted])),
        ),
    }


P = TypeVar("P", Block, Windows)


def each_once(parts: Sequence[Block] | Sequence[Windows]) -> tuple[Case, ...]:
    """Cases without their repetitions, in their order: a window that is as large as its map is not shifted."""
    found: dict[object, Case] = {}
    for part in parts:
        case = part.case()
        found.setdefault(case.key, case)
    return tuple(found.values())


def one_of_each(parts: Sequence[P]) -> list[P]:
    """Self- and cross-attention, windows with and without mutual attention: the smallest map of each."""
    return list(
        {part.kind: cut(part) for part in sorted(parts, key=lambda part: prod(part.shape), reverse=True)}.values()
    )


def on_map(part: P, H: int, W: int) -> P:
    """The same on a map of H x W pixels."""
    return part._replace(shape=(*part.shape[:3], H, W))


def cut(part: P) -> P:
    """The same on a map of at most CUT x CUT pixels."""
    return on_map(part, min(part.shape[3], CUT), min(part.shape[4], CUT))


def padded(group: Windows) -> Windows:
    """The same on a map of 3 x 3 windows that holds half of the last ones, as 1/8 of a frame may."""
    _, h, w = group.window
    return on_map(group, 2 * h + -(-h // 2), 2 * w + -(-w // 2))


def temporal_blocks(config: Config, B: int) -> list[Block]:
    """Self-attention on the spikes and the fusion, scale by scale."""
    blocks: list[Block] = []
    for spikes, frames in zip(spike_shapes(config, B), stage_shapes(config, B), strict=False):
        blocks += [Block(spikes, None, config.model.spike_tsa), Block(frames, spikes[2], config.model.fuse)]
    return blocks


def window_groups(config: Config, B: int) -> Iterator[Windows]:
    """Both attention groups of stages 1-7, and the groups of stage 8."""
    model, shapes = config.model, stage_shapes(config, B)
    d, h, w = model.window_size
    last = len(shapes) - 1
    for i, heads in enumerate(model.vrt.num_heads):
        if i < last:
            yield Windows(shapes[i], heads, (MUTUAL_FRAMES, h, w), mutual=True)
        frames = 1 if i in model.vrt.indep_reconsts else d
        yield Windows(shapes[min(i, last)], heads, (frames, h, w), mutual=False)


def spike_shapes(config: Config, B: int) -> list[Shape]:
    """Features of the spike encoder at four scales; self-attention along time keeps them."""
    encoder = config.model.spike_encoder
    T, S = config.data.clip_len, config.data.crop_size
    shapes: list[Shape] = []
    for i, channels in enumerate(config.model.channels_per_scale):
        if i:
            # A 3x3x3 convolution with padding 1 keeps ceil(size / stride).
            T = -(-T // encoder.temporal_strides[i - 1])
            S = -(-S // encoder.spatial_strides[i - 1])
        shapes.append((B, channels, T, S, S))
    return shapes


def stage_shapes(config: Config, B: int) -> list[Shape]:
    """Features of the backbone's stages 1-7, and of stage 8."""
    widths = config.model.vrt.embed_dims
    T, S = config.data.clip_len, config.data.crop_size
    shapes: list[Shape] = [(B, widths[i], T, S // p.scale, S // p.scale) for i, p in enumerate(PLACES)]
    return [*shapes, (B, widths[-1], T, S, S)]
