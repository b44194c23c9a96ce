"""Settings of a simulated spike camera."""

from dataclasses import dataclass

from spikevrt.errors import UserError, require_at_least

GAMMA = 2.2
"""Of linear light: light = value^2.2."""


@dataclass(frozen=True)
class SpikeCamera:
    """Settings of a simulated camera."""

    theta: float = 2.0
    """Threshold: white fires every theta spike frames."""
    noise: bool = False
    """Spurious spikes."""
    scale: int = 1
    """RGB pixels per spike pixel, along each axis."""
    linear_light: bool = False
    """Integrate light (gamma 2.2) rather than pixel values."""
    factor: int = 8
    """Spike frames from one video frame to the next; brightness between them is interpolated linearly."""
    seed: int = 0
    """Of the first charge and the noise."""
    flip: bool = True
    """Store rows upside down, as cameras do."""

    def __post_init__(self) -> None:
        require_at_least(1, "--scale", self.scale)
        require_at_least(1, "--factor", self.factor)
        require_at_least(0, "--seed", self.seed)
        require_threshold(self.theta)


def require_threshold(theta: float) -> None:
    """Raise a `UserError` for a threshold that white would pass more than once in a spike frame."""
    if not theta >= 1:
        raise UserError(f"--theta {theta}: must be at least 1, or white fires more than once a spike frame")
