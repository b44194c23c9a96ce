"""Settings of a simulated spike camera."""

from dataclasses import dataclass, replace

from spikevrt.errors import UserError, require_between, shown

GAMMA = 2.2
"""Exponent of linear light: light = value^2.2, about the curve of sRGB."""
GAMMAS = 0.1, 10
"""Bounds of exponents."""
MOST_SCALE, MOST_FACTOR, MOST_THETA = 1024, 10_000, 10_000
"""Bounds of the settings below; a camera of 30 frames a second and 300,000 spike frames has factor 10,000."""
MOST_SEED = 2**63 - 1

FLOW, LINEAR, NONE = "flow", "linear", "none"
INTERPOLATIONS = {
    FLOW: "what moves is carried along its optical flow, so that it draws a streak; needs OpenCV (the extra flow)",
    LINEAR: "frames fade into each other, so that what moves fast becomes a row of ghosts",
    NONE: "the source has the frame rate of the spike camera",
}
"""Ways to make the sub-frames between two frames of a source."""


@dataclass(frozen=True)
class SpikeCamera:
    """Settings of a simulated spike camera."""

    theta: float = 2.0
    """Threshold; a white pixel fires every theta spike frames."""
    noise: bool = False
    """Whether spurious spikes are added."""
    scale: int = 1
    """RGB pixels per spike pixel, along each axis."""
    gamma: float = 1.0
    """What is integrated is light, value^gamma; 1 = pixel values."""
    factor: int = 8
    """Spike frames per video frame."""
    interpolate: str = FLOW
    """How the sub-frames between two video frames are made; see `INTERPOLATIONS`."""
    seed: int = 0
    """Seed of the initial charge and of the noise."""
    flip: bool = True
    """Whether rows are stored upside down, as cameras do."""

    @property
    def follows_flow(self) -> bool:
        """Whether there are sub-frames, which are rendered along optical flow."""
        return self.factor > 1 and self.interpolate == FLOW

    @property
    def rendered(self) -> "SpikeCamera":
        """The same camera before a source that holds all sub-frames."""
        return replace(self, factor=1, interpolate=NONE)

    def __post_init__(self) -> None:
        require_between(1, MOST_SCALE, "--scale", self.scale)
        require_between(1, MOST_FACTOR, "--factor", self.factor)
        require_between(0, MOST_SEED, "--seed", self.seed)
        if not GAMMAS[0] <= self.gamma <= GAMMAS[1]:
            raise UserError(f"--gamma {shown(self.gamma)}: must be between {GAMMAS[0]} and {GAMMAS[1]}")
        if self.interpolate not in INTERPOLATIONS:
            raise UserError(f"--interpolate {shown(self.interpolate)}: must be {', '.join(INTERPOLATIONS)}")
        if self.interpolate == NONE and self.factor != 1:
            raise UserError(f"--factor {self.factor}: must be 1 with --interpolate none, where no frame is made")
        require_threshold(self.theta)


def require_threshold(theta: float) -> None:
    """Raise a `UserError` for a threshold at which white would fire more than once per spike frame."""
    if not theta >= 1:
        raise UserError(f"--theta {shown(theta)}: must be at least 1, or white fires more than once a spike frame")
    if theta > MOST_THETA:
        raise UserError(f"--theta {shown(theta)}: must be at most {MOST_THETA}, or nothing fires")
