"""The shapes at which a configuration runs each operator, as trials for its backends."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple, TypeVar

from spikevrt.config import Config, TemporalAttnConfig
from spikevrt.config.limits import PLACES
from spikevrt.models.backends.around import Around, Shape, operators_around
from spikevrt.models.temporal import chunking
from spikevrt.models.vrt.stage import MUTUAL_FRAMES
from spikevrt_kernels.checks.fastest import Trials
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.temporal_block.spec import temporal_block_case
from spikevrt_kernels.window_attention.spec import window_attention_case

LARGEST_SIDE = 64
"""Largest side of a feature map that is checked against float64; it contains every kind of window, mask and tile."""
ODD_MAPS = ((8, 9), (6, 10), (6, 9), (7, 9))
"""Feature maps whose pixel counts are divisible by 8, 4, 2 and 1, but not by twice as many. 1/8 of a padded frame may
have any number of pixels, and kernels along time read 16 bytes at once only if 16 divides it."""
Size3 = tuple[int, int, int]


class Block(NamedTuple):
    """One attention block along time in a model."""

    shape: Shape
    Tk: int | None
    """Frames of the context, or None for self-attention."""
    section: TemporalAttnConfig

    @property
    def kind(self) -> bool:
        """Whether there is a context, which needs another kernel."""
        return self.Tk is not None

    def case(self) -> Case:
        """The block on random features, as a test case."""
        B, C, T, H, W = self.shape
        section = self.section
        return temporal_block_case((B, C, T, self.Tk, H, W), section.heads, section.mlp_ratio, chunking(section))


class Windows(NamedTuple):
    """The window attention of one group, without a shift or shifted by half a window."""

    shape: Shape
    heads: int
    window: Size3
    mutual: bool
    shifted: bool = False

    @property
    def kind(self) -> bool:
        """Whether there is mutual attention, which needs more kernels."""
        return self.mutual

    def case(self) -> Case:
        """The attention on random features, as a test case."""
        B, C, T, H, W = self.shape
        half = (self.window[0] // 2, self.window[1] // 2, self.window[2] // 2)
        shift = half if self.shifted else (0, 0, 0)
        # The projection before self-attention adds the offsets.
        return window_attention_case((B, T, H, W), C, self.heads, self.window, shift, self.mutual, not self.mutual)


def operator_trials(config: Config, B: int, training: bool = True) -> dict[str, Trials]:
    """Trials by operator. The checked cases run every kernel that the model runs.

    Dropout is left out, because its random numbers have no reference.

    Args:
        config: configuration of the model.
        B: clips per batch.
        training: True = crops of DATA.CROP_SIZE only; False = frames of any size, without gradients.
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
        **{
            op: Trials(each_once([cut(part) for part in parts]), each_once(parts), each_once(one_of_each(parts)))
            for op, parts in operators_around(config, stage_shapes(config, B)).items()
        },
    }


P = TypeVar("P", Block, Windows, Around)


def each_once(parts: Sequence[Block] | Sequence[Windows] | Sequence[Around]) -> tuple[Case, ...]:
    """Cases in order, without repetitions: a window as large as its feature map is never shifted."""
    found: dict[object, Case] = {}
    for part in parts:
        case = part.case()
        found.setdefault(case.key, case)
    return tuple(found.values())


def one_of_each(parts: Sequence[P]) -> list[P]:
    """The part with the smallest feature map of each kind: self- and cross-attention, or with and without mutual."""
    return list(
        {part.kind: cut(part) for part in sorted(parts, key=lambda part: prod(part.shape), reverse=True)}.values()
    )


def on_map(part: P, H: int, W: int) -> P:
    """The same part on a feature map of H x W pixels."""
    return part._replace(shape=(*part.shape[:3], H, W))


def cut(part: P) -> P:
    """The same part on a feature map of at most LARGEST_SIDE x LARGEST_SIDE pixels."""
    return on_map(part, min(part.shape[3], LARGEST_SIDE), min(part.shape[4], LARGEST_SIDE))


def padded(group: Windows) -> Windows:
    """The same group on 3 x 3 windows of which the last ones are half outside, as at 1/8 of a padded frame."""
    _, h, w = group.window
    return on_map(group, 2 * h + -(-h // 2), 2 * w + -(-w // 2))


def temporal_blocks(config: Config, B: int) -> list[Block]:
    """Self-attention of the spike features and the fusion, at every scale."""
    blocks: list[Block] = []
    for spikes, frames in zip(spike_shapes(config, B), stage_shapes(config, B), strict=False):
        blocks += [Block(spikes, None, config.model.spike_tsa), Block(frames, spikes[2], config.model.fuse)]
    return blocks


def window_groups(config: Config, B: int) -> Iterator[Windows]:
    """Both attention groups of stages 1-7, then the groups of stage 8."""
    model, shapes = config.model, stage_shapes(config, B)
    d, h, w = model.window_size
    last = len(shapes) - 1
    for i, heads in enumerate(model.vrt.num_heads):
        if i < last:
            yield Windows(shapes[i], heads, (MUTUAL_FRAMES, h, w), mutual=True)
        frames = 1 if i in model.vrt.indep_reconsts else d
        yield Windows(shapes[min(i, last)], heads, (frames, h, w), mutual=False)


def spike_shapes(config: Config, B: int) -> list[Shape]:
    """Shapes of the spike encoder's features at the four scales; self-attention does not change them."""
    encoder = config.model.spike_encoder
    T, S = config.data.clip_len, config.data.crop_size
    shapes: list[Shape] = []
    for i, channels in enumerate(config.model.channels_per_scale):
        if i:
            # A 3x3x3 convolution with padding 1 and a stride gives ceil(size / stride).
            T = -(-T // encoder.temporal_strides[i - 1])
            S = -(-S // encoder.spatial_strides[i - 1])
        shapes.append((B, channels, T, S, S))
    return shapes


def stage_shapes(config: Config, B: int) -> list[Shape]:
    """Shapes of the backbone's features in stages 1-7 and in stage 8."""
    widths = config.model.vrt.embed_dims
    T, S = config.data.clip_len, config.data.crop_size
    shapes: list[Shape] = [(B, widths[i], T, S // p.scale, S // p.scale) for i, p in enumerate(PLACES)]
    return [*shapes, (B, widths[-1], T, S, S)]
