"""The operators around window attention, on the shapes at which a configuration runs them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from spikevrt.config import Config
from spikevrt.config.limits import PLACES
from spikevrt.models.vrt.stage import MAX_RESIDUE
from spikevrt_kernels.core.case import Case
from spikevrt_kernels.deform_conv.spec import deform_conv_case
from spikevrt_kernels.geglu_block.spec import fuse_case, geglu_case
from spikevrt_kernels.linear_residual.spec import linear_residual_case
from spikevrt_kernels.norm_linear.spec import norm_linear_case
from spikevrt_kernels.warp_pairs.spec import warp_pairs_case

Shape = tuple[int, int, int, int, int]
"""(B,C,T,H,W)."""
Make = Callable[..., Case]


class Around(NamedTuple):
    """One operator of the backbone on features of one shape."""

    op: str
    shape: Shape
    make: Make
    """Makes the case from (B,T,H,W,C) and the arguments."""
    arguments: tuple[float, ...]

    @property
    def kind(self) -> tuple[object, ...]:
        """What needs another kernel."""
        return self.make, *(a for a in self.arguments if isinstance(a, bool))

    def case(self) -> Case:
        """The operator on random features, as a test case."""
        B, C, T, H, W = self.shape
        return self.make((B, T, H, W, C), *self.arguments)


def operators_around(config: Config, shapes: Sequence[Shape]) -> dict[str, list[Around]]:
    """What runs around the attention in stages of these shapes, which are `stage_shapes`; by operator."""
    found: dict[str, list[Around]] = {}
    for part in parts(config, shapes):
        found.setdefault(part.op, []).append(part)
    return found


def parts(config: Config, shapes: Sequence[Shape]) -> Iterator[Around]:
    """The operators of every stage."""
    vrt = config.model.vrt
    dropping = vrt.drop_path > 0
    for i, shape in enumerate(shapes):
        C, encoder_decoder = shape[1], i < len(PLACES)
        for branches in (1, 2) if encoder_decoder else (1,):
            yield Around("norm_linear", shape, norm_linear_case, (3 * branches * C, branches == 1))
            for scaled in dict.fromkeys((dropping, False)):
                yield Around("linear_residual", shape, linear_residual_case, (branches * C, True, scaled))
        for scaled in dict.fromkeys((dropping, False)):
            yield Around("geglu_block", shape, geglu_case, (int(C * vrt.mlp_ratio), scaled))
        if encoder_decoder:
            yield from reshaping(config, shapes, i)
            yield Around("geglu_block", shape, fuse_case, (3 * C,))
            yield Around("warp_pairs", shape, warp_pairs_case, ())
            yield Around("deform_conv", shape, deform_conv_case, (vrt.deform_groups, C, MAX_RESIDUE / PLACES[i].scale))


def reshaping(config: Config, shapes: Sequence[Shape], i: int) -> Iterator[Around]:
    """The norm and linear layer before a stage, and those at both ends of stage 8."""
    before = config.model.vrt.embed_dims[max(i - 1, 0)]
    widths = {"down": 4 * before, "up": before // 4}.get(PLACES[i].reshape)
    if widths is not None:
        yield of_width(shapes[i], widths, shapes[i][1])
    if i == len(PLACES) - 1:
        last = shapes[-1]
        yield of_width(last, shapes[i][1], last[1])
        yield of_width(last, last[1], shapes[0][1])


def of_width(shape: Shape, C: int, N: int) -> Around:
    """A norm of C channels and a linear layer to N, on the pixels of `shape`."""
    return Around("norm_linear", (shape[0], C, *shape[2:]), norm_linear_case, (N, True))
