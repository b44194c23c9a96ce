"""How blurred frames and spikes are made from sharp frames.

Between neighbouring source frames lie `factor` sub-frames; sub-frame j shows time j / factor in source frames.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.config.limits import MULTIPLE
from spikevrt.data.simulation.camera import GAMMA
from spikevrt.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """Settings of a preparation; all are written into every clip's `clip.json`."""

    factor: int = 8
    """Sub-frames from one source frame to the next, by linear interpolation; 1 = the source is fast already."""
    exposure: int = 5
    """Source frames that one blurred frame integrates."""
    stride: int = 3
    """Source frames from one blurred frame to the next."""
    theta: float = 2.0
    """Threshold of the spike camera."""
    spike_scale: int = 2
    """RGB pixels a spike pixel, along each axis."""
    linear_light: bool = False
    """Average light (gamma 2.2) rather than pixel values, and let the spike camera integrate light."""
    noise: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("factor", "exposure", "stride", "spike_scale"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least 1")
        if not self.theta >= 1:
            raise UserError(f"--theta {self.theta}: must be at least 1, or white fires more than once a sub-frame")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: must be at least 0")

    @property
    def subframes(self) -> int:
        """Sub-frames, and so spike frames, of one exposure."""
        return self.exposure * self.factor

    @property
    def multiple(self) -> int:
        """Frames are cropped to multiples of this, so that the model and the spike pixels fit."""
        return int(np.lcm(MULTIPLE, self.spike_scale))

    def window(self, centre: int) -> range:
        """Sub-frames of the exposure whose middle is source frame `centre`."""
        start = centre * self.factor - self.subframes // 2
        return range(start, start + self.subframes)

    def sources(self, centre: int) -> tuple[int, int]:
        """First and last source frame that the exposure touches."""
        window = self.window(centre)
        return window[0] // self.factor, -(-window[-1] // self.factor)

    def centres(self, start: int, stop: int) -> list[int]:
        """Middle frames of all exposures that lie inside source frames [start, stop)."""
        inside = [c for c in range(start, stop) if self.sources(c)[0] >= start and self.sources(c)[1] < stop]
        return inside[:: self.stride]

    def settings(self) -> dict[str, Any]:
        """For `clip.json`."""
        return asdict(self) | {"light": "linear" if self.linear_light else "gamma"}


def average(sources: dict[int, NDArray[np.uint8]], window: range, recipe: Recipe) -> NDArray[np.uint8]:
    """Mean of the sub-frames of an exposure (H,W,3), in pixel values or in light, rounded; from the source frames."""
    total = np.zeros(next(iter(sources.values())).shape, np.float64)
    if recipe.linear_light:
        for j in window:
            total += (subframe(sources, j, recipe.factor) / np.float32(255)) ** np.float32(GAMMA)
        return np.rint(255.0 * (total / len(window)) ** (1 / GAMMA)).astype(np.uint8)
    # Interpolation is linear: the mean of all sub-frames is a weighted mean of few source frames.
    weights: dict[int, float] = {}
    for j in window:
        base, step = divmod(j, recipe.factor)
        for source, weight in ((base, 1 - step / recipe.factor), (base + 1, step / recipe.factor)):
            weights[source] = weights.get(source, 0) + weight
    for source, weight in weights.items():
        if weight:
            total += sources[source] * weight
    return np.rint(total / len(window)).astype(np.uint8)


def subframe(sources: dict[int, NDArray[np.uint8]], j: int, factor: int) -> NDArray[np.float32]:
    """(H,W,3) sub-frame j, which lies between two source frames or on one."""
    base, step = divmod(j, factor)
    frame = sources[base].astype(np.float32)
    return frame + (sources[base + 1] - frame) * np.float32(step / factor) if step else frame
