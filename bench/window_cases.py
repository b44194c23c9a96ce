"""Cases of window attention: the groups of the model and of the official configuration, at full resolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import torch
from torch import Tensor

from bench.cases import Case, Function, leaf
from spikevrt_kernels.window_attention import KeptBias, RelativeBias, window_attention
from spikevrt_kernels.window_attention.windows import Size3

BACKENDS = ("naive", "sdpa", "triton")
HEADS = 6
FULL_SIZE, REDUCED_SIZE, CHECKED_SIZE = 256, 64, 20
"""Side of the frames; entries are checked on the last, which has shifted, whole and padded windows."""


@dataclass(frozen=True)
class Group:
    """A kind of shifted block."""

    name: str
    frames: int
    channels: int
    window: Size3
    mutual: bool = False

    @property
    def shift(self) -> Size3:
        """Of the shifted blocks, on these frames."""
        d, h, w = self.window
        return 0 if self.frames <= d else d // 2, h // 2, w // 2


GROUPS = {
    "self": Group("window attention", 5, 96, (5, 8, 8)),
    "mutual": Group("mutual and self window attention", 5, 96, (2, 8, 8), mutual=True),
    "frames": Group("window attention inside frames", 5, 96, (1, 8, 8)),
    "official-self": Group("window attention", 6, 96, (6, 8, 8)),
    "official-mutual": Group("mutual and self window attention", 6, 96, (2, 8, 8), mutual=True),
    "official-stage8": Group("window attention", 6, 120, (6, 8, 8)),
    "official-frames": Group("window attention inside frames", 6, 120, (1, 8, 8)),
}


@dataclass(frozen=True, kw_only=True)
class WindowCase(Case):
    """A case whose unit is a feature tensor of width C, and whose entries are checked on small frames.

    A float64 reference of all windows would need tens of GB.
    """

    channels: int
    width: int
    """Of the output."""
    small: Case | None = None

    @property
    def unit(self) -> int:
        """Bytes of one feature tensor."""
        return self.tokens * self.channels * self.x.element_size()

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient of the output, drawn once, without the output."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(*self.x.shape[:4], self.width, generator=generator).to(self.x)

    def check(self, entry: str) -> float:
        """As `Case.check`, on the small frames."""
        return super().check(entry) if self.small is None else self.small.check(entry)


@lru_cache(maxsize=1)
def window_case(group: Group, size: int, dtype: torch.dtype, device: str) -> WindowCase:
    """Seeded projections and parameters; the last case is kept, since its entries follow one another."""
    small = None if size == CHECKED_SIZE else window_case.__wrapped__(group, CHECKED_SIZE, dtype, device)
    generator = torch.Generator().manual_seed(0)
    like = torch.empty(0, dtype=dtype, device=device)
    width = (6 if group.mutual else 3) * group.channels
    shapes: list[tuple[int, ...]] = [(1, group.frames, size, size, width), (3 * group.channels,)]
    shapes.append((prod(2 * s - 1 for s in group.window), HEADS))
    if group.mutual:
        shapes.append((prod(group.window[1:]), 3 * group.channels))
    leaves = [leaf(generator, *shape, like=like) for shape in shapes]
    functions = {backend: attention(group, backend) for backend in BACKENDS}
    name = f"{group.frames}x{size}x{size}x{group.channels}, windows {'x'.join(map(str, group.window))}, shifted"
    tokens, out = group.frames * size**2, width // 3
    return WindowCase(group.name, name, leaves, 1, functions, tokens, channels=group.channels, width=out, small=small)


def attention(group: Group, backend: str) -> Function:
    """The operator as a shifted block of the group calls it."""
    kept = KeptBias()

    def run(leaves: Sequence[Tensor]) -> Tensor:
        qkv, offset, table, *places = leaves
        bias = RelativeBias(table, group.window, kept)
        mutual_offset = places[0] if places else None
        return window_attention(qkv, offset, bias, HEADS, group.window, group.shift, mutual_offset, backend)

    return run
