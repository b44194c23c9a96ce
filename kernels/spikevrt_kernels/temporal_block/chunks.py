"""How the pixels of a feature map are cut so that memory stays bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chunking:
    """A chunk holds at most min(chunk_size^2, max_batch_tokens // B) pixels, shaped square, wide or tall."""

    max_batch_tokens: int = 49152
    chunk_size: int = 64
    shape: str = "square"

    def pixels(self, batch: int) -> int:
        """The most pixels a chunk may hold (at least one)."""
        return max(1, min(self.chunk_size**2, self.max_batch_tokens // batch))

    def tile(self, batch: int, height: int, width: int) -> tuple[int, int]:
        """Height and width of a chunk of a (height, width) map."""
        pixels = self.pixels(batch)
        if self.shape == "wide":
            w = min(width, pixels)
            return min(height, pixels // w), w
        if self.shape == "tall":
            h = min(height, pixels)
            return h, min(width, pixels // h)
        h = min(height, isqrt(pixels))
        return h, min(width, pixels // h)


def tiles(h: int, w: int, *maps: Tensor) -> list[list[tuple[Tensor, ...]]]:
    """Rows of chunks (...,h,w) that cover maps (...,H,W), one of every map together.

    Split rather than sliced: the gradients of the chunks are joined in one copy.
    """
    rows = zip(*(x.split(h, -2) for x in maps), strict=True)
    return [list(zip(*(part.split(w, -1) for part in row), strict=True)) for row in rows]


def join(parts: Sequence[Tensor], dim: int) -> Tensor:
    """The parts side by side; one alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim)
