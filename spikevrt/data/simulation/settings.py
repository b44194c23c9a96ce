"""Settings of a simulated spike camera."""

from dataclasses import dataclass

from spikevrt.errors import UserError, require_at_least

GAMMA = 2.2
"""Exponent of linear light: light = value^2.2."""


@dataclass(frozen=True)
class SpikeCamera:
    """Settings of a simulated spike camera."""

    theta: float = 2.0
    """Threshold; a white pixel fires every theta spike frames."""
    noise: bool = False
    """Whether spurious spikes are added."""
    scale: int = 1
    """RGB pixels per spike pixel, along each axis."""
    linear_light: bool = False
    """Whether light (gamma 2.2) is integrated instead of pixel values."""
    factor: int = 8
    """Spike frames per video frame; the brightness between video frames is interpolated linearly."""
    seed: int = 0
    """Seed of the initial charge and of the noise."""
    flip: bool = True
    """Whether rows are stored upside down, as cameras do."""

    def __post_init__(self) -> None:
        require_at_least(1, "--scale", self.scale)
        require_at_least(1, "--factor", self.factor)
        require_at_least(0, "--seed", self.seed)
        require_threshold(self.theta)


def require_threshold(theta: float) -> None:
    """Raise a `UserError` for a threshold at which white would fire more than once per spike frame."""
    if not theta >= 1:
        raise UserError(f"--theta {theta}: must be at least 1, or white fires more than once a spike frame")
