"""How blurred frames and spikes are made from sharp frames.

Between neighbouring source frames lie `factor` sub-frames; sub-frame j shows time j / factor in source frames.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.errors import UserError

GAMMA = 2.2


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
    """Average light (gamma 2.2) rather than pixel values."""
    noise: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("factor", "exposure", "stride", "spike_scale"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least 1")
        if self.theta < 1:
            raise UserError(f"--theta {self.theta}: must be at least 1, or white fires more than once a sub-frame")

    @property
    def subframes(self) -> int:
        """Sub-frames, and so spike frames, of one exposure."""
        return self.exposure * self.factor

    @property
    def multiple(self) -> int:
        """Frames are cropped to multiples of this, so that the model and the spike pixels fit."""
        return int(np.lcm(8, self.spike_scale))

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


def average(frames: list[NDArray[np.float32]], linear_light: bool) -> NDArray[np.uint8]:
    """Mean of (H,W,3) frames in 0..255, in pixel values or in light, rounded."""
    total = np.zeros_like(frames[0], dtype=np.float64)
    for frame in frames:
        total += (frame / 255.0) ** GAMMA if linear_light else frame
    mean = total / len(frames)
    return np.rint(255.0 * mean ** (1 / GAMMA) if linear_light else mean).astype(np.uint8)
