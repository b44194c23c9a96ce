"""Settings that say how blurred frames and spikes are made from sharp frames.

There are `factor` sub-frames per source frame; sub-frame j shows the time j / factor, in source frames.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikevrt.config.limits import MULTIPLE
from spikevrt.data.simulation.settings import SpikeCamera
from spikevrt.errors import UserError, require_between, shown

MOST_SOURCES = 100_000
"""Source frames of the longest exposure and stride."""
MOST_NOISE = 255
PHOTO_SIDE = 160
"""Height and width in pixels of clips of moving photos, unless another is asked for."""
HALF_RESOLUTION = SpikeCamera(scale=2)


@dataclass(frozen=True)
class Recipe:
    """Settings of a preparation; all of them are written to every clip's `clip.json`."""

    exposure: int = 5
    """Number of source frames that are averaged for one blurred frame."""
    stride: int = 3
    """Source frames from one blurred frame to the next."""
    camera: SpikeCamera = HALF_RESOLUTION
    """The spike camera; its `gamma` also applies to the blurred frames."""
    frame_noise: float = 0.0
    """Standard deviation in grey levels of Gaussian noise in the blurred frames."""

    def __post_init__(self) -> None:
        require_between(1, MOST_SOURCES, "--exposure", self.exposure)
        require_between(1, MOST_SOURCES, "--stride", self.stride)
        require_up_to("--frame-noise", self.frame_noise, MOST_NOISE)

    @property
    def subframes(self) -> int:
        """Number of sub-frames, and therefore of spike frames, of one exposure."""
        return self.exposure * self.camera.factor

    @property
    def rendered(self) -> "Recipe":
        """The same exposures of a source that holds all sub-frames."""
        stride, camera = self.stride * self.camera.factor, self.camera.rendered
        return replace(self, exposure=self.subframes, stride=stride, camera=camera)

    @property
    def multiple(self) -> int:
        """Frames are cropped to multiples of this many pixels, as the model and the spike pixels need."""
        return int(np.lcm(MULTIPLE, self.camera.scale))

    def exposure_at(self, centre: int) -> range:
        """The sub-frames of the exposure around source frame `centre`."""
        start = centre * self.camera.factor - self.subframes // 2
        return range(start, start + self.subframes)

    def sources(self, centre: int) -> tuple[int, int]:
        """First and last source frame of the exposure around `centre`."""
        exposure, factor = self.exposure_at(centre), self.camera.factor
        return exposure[0] // factor, -(-exposure[-1] // factor)

    def centres(self, start: int, stop: int) -> list[int]:
        """Middle frames of all exposures that fit into the source frames [start, stop)."""
        inside = [c for c in range(start, stop) if self.sources(c)[0] >= start and self.sources(c)[1] < stop]
        return inside[:: self.stride]

    def settings(self) -> dict[str, Any]:
        """All settings, by their names in `clip.json`."""
        return {
            "factor": self.camera.factor,
            "interpolate": self.camera.interpolate,
            "exposure": self.exposure,
            "stride": self.stride,
            "theta": self.camera.theta,
            "spike_scale": self.camera.scale,
            "gamma": self.camera.gamma,
            "noise": self.camera.noise,
            "frame_noise": self.frame_noise,
            "seed": self.camera.seed,
            "light": "gamma" if self.camera.gamma == 1 else "linear",
        }


@dataclass(frozen=True)
class Movement:
    """How a photo and the pieces before it move, beside being shifted."""

    layers: int = 2
    """Pieces of other photos, each with a movement of its own, before each other and before the photo."""
    speed: float = 0.25
    """Typical speed in pixels per sub-frame, twice that of pieces: 40 sub-frames blur over some 10 pixels."""
    rotation: float = 10.0
    """Largest angle in degrees, to either side."""
    zoom: float = 0.1
    """Largest share by which things become larger or smaller."""
    shake: float = 0.5
    """Standard deviation in pixels of the shaking of the camera, which moves all layers."""

    def __post_init__(self) -> None:
        require_between(0, 100, "--layers", self.layers)
        for name, most in (("speed", 100), ("rotation", 180), ("zoom", 0.9), ("shake", 100)):
            require_up_to(f"--{name}", getattr(self, name), most)


def require_up_to(option: str, value: float, most: float) -> None:
    """Raise a `UserError` unless `value` lies in [0, most]."""
    if not 0 <= value <= most:
        raise UserError(f"{option} {shown(value)}: must be between 0 and {most}")


def exposed(sources: dict[int, NDArray[np.uint8]], exposure: range, recipe: Recipe, seed: int) -> NDArray[np.uint8]:
    """The blurred frame (H,W,3): the mean of an exposure's sub-frames with noise; `seed` is its own, of the noise."""
    light = average(sources, exposure, recipe)
    if recipe.frame_noise:
        random = np.random.default_rng((recipe.camera.seed, seed))
        light += random.normal(0, recipe.frame_noise, light.shape)
    return np.rint(light).clip(0, 255).astype(np.uint8)


def average(sources: dict[int, NDArray[np.uint8]], exposure: range, recipe: Recipe) -> NDArray[np.float64]:
    """The mean (H,W,3) of an exposure's sub-frames in 0..255, of pixel values or of light."""
    total = np.zeros(next(iter(sources.values())).shape, np.float64)
    factor = recipe.camera.factor
    gamma = recipe.camera.gamma
    if gamma != 1:
        for j in exposure:
            total += (subframe(sources, j, factor) / np.float32(255)) ** np.float32(gamma)
        return 255.0 * (total / len(exposure)) ** (1 / gamma)
    # Interpolation is linear, so the mean of all sub-frames is a weighted mean of a few source frames.
    weights: dict[int, float] = {}
    for j in exposure:
        base, step = divmod(j, factor)
        for source, weight in ((base, 1 - step / factor), (base + 1, step / factor)):
            weights[source] = weights.get(source, 0) + weight
    for source, weight in weights.items():
        if weight:
            total += sources[source] * weight
    return total / len(exposure)


def subframe(sources: dict[int, NDArray[np.uint8]], j: int, factor: int) -> NDArray[np.float32]:
    """Sub-frame j (H,W,3): a source frame, or the interpolation of two."""
    base, step = divmod(j, factor)
    frame = sources[base].astype(np.float32)
    return frame + (sources[base + 1] - frame) * np.float32(step / factor) if step else frame
