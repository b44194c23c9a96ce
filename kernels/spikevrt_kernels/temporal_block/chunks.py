"""How the pixels of a feature map are cut so that memory stays bounded."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt


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


def spans(length: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover `length`."""
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
