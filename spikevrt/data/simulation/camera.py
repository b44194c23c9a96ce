"""Simulates an integrate-and-fire spike camera."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.images import GREY_WEIGHTS
from spikevrt.data.files.video import Frame, of_one_size
from spikevrt.data.simulation.settings import SpikeCamera, require_threshold
from spikevrt.errors import UserError
from spikevrt_kernels.core.numba_jit import compiled

NOISE_INTERVAL = 140.0
NOISE_SIGMA = 50.0
"""Mean and standard deviation of the intervals between spurious spikes, in steps (the noise of S-SDM)."""


@compiled()
def integrate_kernel(
    start: NDArray[np.float32],  # (H, W) brightness / 255 of the first step
    slope: NDArray[np.float32],  # (H, W) change of it per step
    charge: NDArray[np.float32],  # (H, W) updated in place
    spikes: NDArray[np.uint8],  # (n, H, W)
    theta: np.float32,
    flip: bool,
) -> None:
    """Simulate n steps of A += I; fire if A >= theta; A -= theta. With `flip`, rows are stored upside down."""
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
    weights: NDArray[np.float32],  # (3, 256) contribution to the brightness, by channel and pixel value
    small: NDArray[np.float32],  # (H / factor, W / factor)
    factor: int,
) -> None:
    """Average the brightness over blocks of factor x factor pixels."""
    share = np.float32(1.0 / (factor * factor))
    for y in range(small.shape[0]):
        for x in range(small.shape[1]):
            total = np.float32(0)
            for i in range(y * factor, (y + 1) * factor):
                for j in range(x * factor, (x + 1) * factor):
                    total += weights[0, frame[i, j, 0]] + weights[1, frame[i, j, 1]] + weights[2, frame[i, j, 2]]
            small[y, x] = total * share


class SpikeSimulator:
    """A += I / 255; fire if A >= theta, then A -= theta; A(0) ~ U(0, theta). The charge A is kept between calls.

    Args:
        height: pixels of the sensor.
        width: pixels of the sensor.
        theta: threshold; brightness I fires at the mean rate I / 255 / theta.
        seed: seed of the initial charge and of the noise.
        noise: whether spurious spikes are added.

    Raises:
        UserError: theta is below 1.
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
        """The spikes (n,H,W), 0 or 1, of n frames of brightness (n,H,W) in 0..255."""
        spikes = np.empty(grey.shape, np.uint8)
        for t, frame in enumerate(grey):
            light = np.ascontiguousarray(frame, np.float32) / np.float32(255)
            self._step(light, self._still, spikes[t : t + 1], False)
        return spikes

    def run_between(self, first: NDArray, last: NDArray, steps: int, flip: bool = True) -> NDArray[np.uint8]:
        """Simulate n steps s at brightness first + (last - first) s / n, and return the spikes as they are stored.

        Args:
            first: (H,W) brightness in 0..255.
            last: (H,W) brightness in 0..255 after n steps.
            steps: n.
            flip: whether rows are stored upside down.

        Returns:
            (n,H*W/8) uint8, one bit per pixel, least significant bit first.

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
    """Computes the brightness of RGB frames at the spike camera's resolution.

    Args:
        scale: RGB pixels per spike pixel, along each axis.
        gamma: every channel is first converted to light, 255 (value / 255)^gamma.
    """

    def __init__(self, scale: int, gamma: float = 1.0) -> None:
        values = np.arange(256, dtype=np.float32)
        light = values if gamma == 1 else 255 * (values / 255) ** np.float32(gamma)
        self.scale = scale
        self._weights = GREY_WEIGHTS[:, None] * light.astype(np.float32)

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Brightness (H/scale,W/scale) in 0..255 of RGB (H,W,3), averaged over blocks; incomplete blocks are cut off.

        Raises:
            UserError: the frame is smaller than one block.
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
    """A sharp frame, and what the simulated camera recorded before it."""

    frame: Frame
    """(H,W,3) uint8."""
    light: NDArray[np.float32]
    """(h,w) brightness in 0..255, at the spike camera's resolution."""
    spikes: NDArray[np.uint8]
    """(n,h*w/8) spike frames as stored, from the previous frame to this one: n = `factor`, or 0 for the first."""


def simulated(frames: Iterable[Frame], camera: SpikeCamera) -> Iterator[Shot]:
    """Simulate a camera on sharp frames (H,W,3); its charge is kept from frame to frame.

    Raises:
        UserError: the frames differ in size, or do not fit the camera's scale.
    """
    sensor = SpikeSensor(camera.scale, camera.gamma)
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


def with_last_twice(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Repeat the last frame: spikes lie between two frames, and those of the last frame need a frame after it."""
    frame: Frame | None = None
    for frame in frames:
        yield frame
    if frame is not None:
        yield frame


def area_downsample(image: NDArray, factor: int) -> NDArray[np.float32]:
    """Average (H,W) over blocks to (H/factor,W/factor); H and W must be multiples of `factor`."""
    H, W = image.shape
    blocks = image.astype(np.float32).reshape(H // factor, factor, W // factor, factor)
    return blocks.mean((1, 3))


def write_geometry(folder: Path, name: str, size: tuple[int, int]) -> None:
    """Write SpikeCV's `config.yaml` for recordings of size (H,W) in `folder`."""
    (folder / "config.yaml").write_text(f"filename: {name}\nspike_h: {size[0]}\nspike_w: {size[1]}\n", "utf-8")
