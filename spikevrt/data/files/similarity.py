"""Measures whether two pictures show the same scene."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIMILAR = 0.5
"""Smallest correlation of two pictures of the same scene; correct pairs reach 0.9, wrong ones hardly 0.2."""


class Similarity(NamedTuple):
    """Correlations of a picture with a view, in [-1,1]."""

    as_given: float
    flipped: float
    """With the view turned upside down."""


def similarity(grey: NDArray[np.float32], view: NDArray[np.float32]) -> Similarity:
    """Correlations of a picture (H,W) with a view (h,w), upright and upside down; the sizes may differ."""
    small = resized(grey, (view.shape[0], view.shape[1]))
    return Similarity(correlation(small, view), correlation(small, view[::-1]))


def correlation(a: NDArray, b: NDArray) -> float:
    """Pearson's correlation of two pictures of the same size; 0 if one of them is constant."""
    x, y = a.ravel() - a.mean(dtype=np.float64), b.ravel() - b.mean(dtype=np.float64)
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else 0.0


def resized(grey: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a picture (H,W) to (h,w) by averaging over areas."""
    return np.asarray(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BOX), np.float32)
