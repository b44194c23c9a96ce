"""Cuts a feature map into chunks of pixels, so that memory stays bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chunking:
    """Chunks of at most min(chunk_size^2, max_batch_tokens // B) pixels, with a square, wide or tall shape."""

    max_batch_tokens: int = 49152
    chunk_size: int = 64
    shape: str = "square"

    def pixels(self, batch: int) -> int:
        """Largest number of pixels per chunk (at least one)."""
        return max(1, min(self.chunk_size**2, self.max_batch_tokens // batch))

    def tile(self, batch: int, height: int, width: int) -> tuple[int, int]:
        """Height and width of a chunk for a map of (height, width)."""
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
    """Rows of chunks (...,h,w) that cover the maps (...,H,W); each chunk has one part of every map.

    The maps are split, not sliced, so that autograd joins the gradients of all chunks in one copy.
    """
    rows = zip(*(x.split(h, -2) for x in maps), strict=True)
    return [list(zip(*(part.split(w, -1) for part in row), strict=True)) for row in rows]


def join(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Concatenate the parts; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim)
