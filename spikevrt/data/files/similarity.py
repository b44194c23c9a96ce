"""Do two pictures show the same scene?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIMILAR = 0.5
"""Least correlation of two pictures of one scene; right ones reach 0.9, wrong ones hardly 0.2."""


class Similarity(NamedTuple):
    """Correlations with a view, -1 to 1."""

    as_given: float
    flipped: float
    """With the view upside down."""


def similarity(grey: NDArray[np.float32], view: NDArray[np.float32]) -> Similarity:
    """How much a picture (H,W) looks like a view (h,w) of perhaps another size, and like the view upside down."""
    small = resized(grey, (view.shape[0], view.shape[1]))
    return Similarity(correlation(small, view), correlation(small, view[::-1]))


def correlation(a: NDArray, b: NDArray) -> float:
    """Pearson's, of two pictures of one size; 0 where one of them is flat."""
    x, y = a.ravel() - a.mean(dtype=np.float64), b.ravel() - b.mean(dtype=np.float64)
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else 0.0


def resized(grey: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H,W) -> (h,w) by area."""
    return np.asarray(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BOX), np.float32)
