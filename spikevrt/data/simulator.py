"""The integrate-and-fire spike camera."""

import numba
import numpy as np
from numpy.typing import NDArray

GREY = np.array([0.3, 0.59, 0.11], np.float32)
"""Weights of R, G, B."""
NOISE_INTERVAL = 140.0
NOISE_SIGMA = 50.0
"""Spurious spikes come at Gaussian intervals of so many steps (S-SDM's noise)."""


@numba.njit(nogil=True, cache=True)
def integrate_kernel(
    frames: NDArray[np.float32],  # (n, H, W) brightness / 255
    charge: NDArray[np.float32],  # (H, W), carried on
    spikes: NDArray[np.uint8],  # (n, H, W)
    theta: float,
) -> None:
    n, height, width = frames.shape
    for t in range(n):
        for y in range(height):
            for x in range(width):
                a = charge[y, x] + frames[t, y, x]
                fire = a >= theta
                spikes[t, y, x] = fire
                charge[y, x] = a - theta if fire else a


class SpikeSimulator:
    """A += I / 255; fire if A >= theta, then A -= theta; A(0) ~ U(0, theta). The charge is carried on.

    Args:
        height: of the sensor, pixels.
        width: of the sensor, pixels.
        theta: threshold; the mean rate of brightness I is I / 255 / theta.
        seed: of the initial charge and the noise.
        noise: OR spurious spikes in.
    """

    def __init__(self, height: int, width: int, theta: float = 2.0, seed: int = 0, noise: bool = False) -> None:
        if theta < 1:
            raise ValueError(f"theta = {theta}: must be at least 1, or white fires more than once a frame")
        self.theta, self.noise = theta, noise
        self._random = np.random.default_rng(seed)
        self._charge = self._random.uniform(0, theta, (height, width)).astype(np.float32)
        self._next_noise = self._random.uniform(0, NOISE_INTERVAL, (height, width))

    def run(self, grey: NDArray) -> NDArray[np.uint8]:
        """(n,H,W) brightness in 0..255 -> (n,H,W) spikes of 0 and 1."""
        frames = np.ascontiguousarray(grey, np.float32) / np.float32(255)
        spikes = np.empty(frames.shape, np.uint8)
        integrate_kernel(frames, self._charge, spikes, self.theta)
        if self.noise:
            self._add_noise(spikes)
        return spikes

    def _add_noise(self, spikes: NDArray[np.uint8]) -> None:
        for frame in spikes:
            due = self._next_noise <= 0
            frame[due] = 1
            interval = self._random.normal(NOISE_INTERVAL, NOISE_SIGMA, int(due.sum()))
            self._next_noise[due] = np.maximum(interval, 1)
            self._next_noise -= 1


def to_grey(rgb: NDArray) -> NDArray[np.float32]:
    """(...,3) RGB -> (...) brightness on the same scale: 0.3 R + 0.59 G + 0.11 B."""
    return rgb.astype(np.float32) @ GREY


def area_downsample(image: NDArray, factor: int) -> NDArray[np.float32]:
    """(H,W) -> (H/factor,W/factor) by averaging; H and W are multiples of the factor."""
    H, W = image.shape
    blocks = image.astype(np.float32).reshape(H // factor, factor, W // factor, factor)
    return blocks.mean((1, 3))
