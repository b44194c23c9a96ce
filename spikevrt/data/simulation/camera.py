"""The integrate-and-fire spike camera."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.images import GREY
from spikevrt.data.files.video import Frame, of_one_size
from spikevrt.data.simulation.settings import GAMMA, SpikeCamera, require_threshold
from spikevrt.errors import UserError
from spikevrt_kernels.core.numba_jit import compiled

NOISE_INTERVAL = 140.0
NOISE_SIGMA = 50.0
"""Spurious spikes come at Gaussian intervals of so many steps (S-SDM's noise)."""


@compiled()
def integrate_kernel(
    start: NDArray[np.float32],  # (H, W) brightness / 255 of the first step
    slope: NDArray[np.float32],  # (H, W) its change from step to step
    charge: NDArray[np.float32],  # (H, W), carried on
    spikes: NDArray[np.uint8],  # (n, H, W)
    theta: np.float32,
    flip: bool,
) -> None:
    """n steps of A += I; fire if A >= theta; A -= theta, with rows upside down where they are to be stored so."""
    n, height, width = spikes.shape
    for t in range(n):
        step = np.float32(t)
        for y in range(height):
            row = height - 1 - y if flip else y
            for x in range(width):
                a = charge[y, x] + (start[y, x] + slope[y, x] * step)
                fire = a >= theta
                spikes[t, row, x] = fire
                charge[y, x] = a - theta if fire else a


@compiled()
def pack_kernel(spikes: NDArray[np.uint8], packed: NDArray[np.uint8]) -> None:
    """(8 m,) bytes of 0 and 1 -> (m,) bytes, least significant bit first."""
    for i in range(len(packed)):
        at = 8 * i
        low = spikes[at] | spikes[at + 1] << 1 | spikes[at + 2] << 2 | spikes[at + 3] << 3
        packed[i] = low | spikes[at + 4] << 4 | spikes[at + 5] << 5 | spikes[at + 6] << 6 | spikes[at + 7] << 7


@compiled()
def grey_kernel(
    frame: NDArray[np.uint8],  # (H, W, 3)
    weights: NDArray[np.float32],  # (3, 256) a channel's share of the brightness, of every value
    small: NDArray[np.float32],  # (H / factor, W / factor)
    factor: int,
) -> None:
    """Brightness, averaged over blocks of factor x factor pixels."""
    share = np.float32(1.0 / (factor * factor))
    for y in range(small.shape[0]):
        for x in range(small.shape[1]):
            total = np.float32(0)
            for i in range(y * factor, (y + 1) * factor):
                for j in range(x * factor, (x + 1) * factor):
                    total += weights[0, frame[i, j, 0]] + weights[1, frame[i, j, 1]] + weights[2, frame[i, j, 2]]
            small[y, x] = total * share


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
        require_threshold(theta)
        self.theta = theta
        self.size = (height, width)
        self._random = np.random.default_rng(seed)
        self._charge = self._random.uniform(0, theta, (height, width)).astype(np.float32)
        self._still = np.zeros((height, width), np.float32)
        self._next_noise = self._random.uniform(0, NOISE_INTERVAL, (height, width)) if noise else None

    def run(self, grey: NDArray) -> NDArray[np.uint8]:
        """(n,H,W) brightness in 0..255 -> (n,H,W) spikes of 0 and 1."""
        spikes = np.empty(grey.shape, np.uint8)
        for t, frame in enumerate(grey):
            light = np.ascontiguousarray(frame, np.float32) / np.float32(255)
            self._step(light, self._still, spikes[t : t + 1], False)
        return spikes

    def run_between(self, first: NDArray, last: NDArray, steps: int, flip: bool = True) -> NDArray[np.uint8]:
        """Steps s = 0 .. steps - 1 at brightness first + (last - first) s / steps, as they are stored.

        Args:
            first: (H,W) brightness in 0..255.
            last: (H,W) brightness in 0..255, `steps` steps later.
            steps: n.
            flip: rows upside down.

        Returns:
            (n,H*W/8) bytes, one bit per pixel, least significant first.

        Raises:
            UserError: H * W is not a multiple of 8.
        """
        height, width = self.size
        if height * width % 8:
            raise UserError(f"spikes of {height}x{width}: {height * width} bits are not whole bytes; crop the frames")
        start = np.asarray(first, np.float32) / np.float32(255)
        slope = (np.asarray(last, np.float32) / np.float32(255) - start) / np.float32(steps)
        spikes = np.empty((steps, height, width), np.uint8)
        self._step(start, slope, spikes, flip)
        packed = np.empty((steps, height * width // 8), np.uint8)
        pack_kernel(spikes.reshape(-1), packed.reshape(-1))
        return packed

    def _step(self, start: NDArray, slope: NDArray, spikes: NDArray[np.uint8], flip: bool) -> None:
        integrate_kernel(start, slope, self._charge, spikes, np.float32(self.theta), flip)
        if self._next_noise is not None:
            for frame in spikes:
                self._add_noise(frame[::-1] if flip else frame, self._next_noise)

    def _add_noise(self, frame: NDArray[np.uint8], following: NDArray) -> None:
        due = following <= 0
        frame[due] = 1
        interval = self._random.normal(NOISE_INTERVAL, NOISE_SIGMA, int(due.sum()))
        following[due] = np.maximum(interval, 1)
        following -= 1


class SpikeSensor:
    """RGB frames in, their brightness at the spike camera's resolution out.

    Args:
        scale: RGB pixels per spike pixel, along each axis.
        linear_light: 255 (value / 255)^2.2 of every channel, rather than its value.
    """

    def __init__(self, scale: int, linear_light: bool = False) -> None:
        values = np.arange(256, dtype=np.float32)
        light = 255 * (values / 255) ** np.float32(GAMMA) if linear_light else values
        self.scale, self._weights = scale, GREY[:, None] * light.astype(np.float32)

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H,W,3) -> (H/scale,W/scale) in 0..255, averaged over blocks; what is beyond whole blocks is left out.

        Raises:
            UserError: no whole block fits.
        """
        if min(frame.shape[:2]) < self.scale:
            raise UserError(
                f"frames of {frame.shape[0]}x{frame.shape[1]} hold no spike pixel of {self.scale}x{self.scale}; "
                "choose a smaller scale"
            )
        small = np.empty((frame.shape[0] // self.scale, frame.shape[1] // self.scale), np.float32)
        grey_kernel(np.ascontiguousarray(frame), self._weights, small, self.scale)
        return small


class Shot(NamedTuple):
    """A sharp frame, and what the simulated camera recorded up to it."""

    frame: Frame
    """(H,W,3)"""
    light: NDArray[np.float32]
    """(h,w) its brightness in 0..255."""
    spikes: NDArray[np.uint8]
    """(n,h*w/8) spike frames as they are stored, from the frame before up to this one: `factor`, none for the first."""


def simulated(frames: Iterable[Frame], camera: SpikeCamera) -> Iterator[Shot]:
    """What a camera records of sharp frames (H,W,3); its charge is carried on from frame to frame.

    Raises:
        UserError: frames change their size, or do not suit the camera's scale.
    """
    sensor = SpikeSensor(camera.scale, camera.linear_light)
    simulator: SpikeSimulator | None = None
    before = np.empty((0, 0), np.float32)
    for frame in of_one_size(frames):
        light = sensor(frame)
        if simulator is None:
            simulator = SpikeSimulator(light.shape[0], light.shape[1], camera.theta, camera.seed, camera.noise)
            spikes = np.empty((0, light.size // 8), np.uint8)
        else:
            spikes = simulator.run_between(before, light, camera.factor, camera.flip)
        yield Shot(frame, light, spikes)
        before = light


def area_downsample(image: NDArray, factor: int) -> NDArray[np.float32]:
    """(H,W) -> (H/factor,W/factor) by averaging; H and W are multiples of the factor."""
    H, W = image.shape
    blocks = image.astype(np.float32).reshape(H // factor, factor, W // factor, factor)
    return blocks.mean((1, 3))


def write_geometry(folder: Path, name: str, size: tuple[int, int]) -> None:
    """SpikeCV's `config.yaml` beside recordings of (H,W)."""
    (folder / "config.yaml").write_text(f"filename: {name}\nspike_h: {size[0]}\nspike_w: {size[1]}\n")
