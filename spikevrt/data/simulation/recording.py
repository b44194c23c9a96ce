"""Sharp frames in, one continuous spike recording out, with the window of every frame."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.atomic import new_folder
from spikevrt.data.simulation.camera import SpikeSensor, SpikeSimulator, write_geometry
from spikevrt.data.spikes.exposures import WINDOWS, write_windows
from spikevrt.errors import UserError

RECORDING = "recording.dat"


@dataclass(frozen=True)
class SpikeCamera:
    """Settings of a simulated camera."""

    theta: float = 2.0
    noise: bool = False
    scale: int = 1
    """RGB pixels a spike pixel, along each axis."""
    linear_light: bool = False
    factor: int = 8
    """Spike frames from one video frame to the next; brightness between them is interpolated linearly."""
    seed: int = 0
    flip: bool = True
    """Store rows upside down, as cameras do."""

    def __post_init__(self) -> None:
        for name in ("scale", "factor"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least 1")
        if not self.theta >= 1:
            raise UserError(f"--theta {self.theta}: must be at least 1, or white fires more than once a spike frame")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: must be at least 0")


@dataclass(frozen=True)
class Recorded:
    """What a simulation gave."""

    size: tuple[int, int]
    """(H,W) of the spikes."""
    frames: int
    """Spike frames."""
    rate: float
    """Spikes a pixel and frame."""
    expected: float
    """The same from the brightness: mean I / 255 / theta, without noise."""


def record(
    frames: Iterable[NDArray[np.uint8]],
    names: Callable[[int], str],
    out: Path,
    camera: SpikeCamera,
) -> Recorded:
    """Write `recording.dat`, `config.yaml` and `windows.csv` into the new folder `out`; whole or not at all.

    Args:
        frames: (H,W,3) sharp frames; two are held at a time.
        names: the stem of frame i.
        out: must not exist, or be empty.
        camera: its settings.

    Raises:
        UserError: `out` holds files already, or fewer than two frames.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; remove it, or choose another --out")
    with new_folder(out) as folder:
        with (folder / RECORDING).open("wb") as file:
            recorded = write_spikes(frames, file.write, camera)
        count = recorded.frames // camera.factor
        windows = {names(i): slice(i * camera.factor, (i + 1) * camera.factor) for i in range(count)}
        write_windows(folder / WINDOWS, windows)
        write_geometry(folder, RECORDING, recorded.size)
    return recorded


def write_spikes(
    frames: Iterable[NDArray[np.uint8]], write: Callable[[bytes], object], camera: SpikeCamera
) -> Recorded:
    """`factor` spike frames from every frame towards the next, stored as they are made."""
    sensor, simulator = SpikeSensor(camera.scale, camera.linear_light), None
    before: NDArray[np.float32] | None = None
    shape: tuple[int, ...] = ()
    spikes, light, steps = 0, 0.0, 0
    for index, frame in enumerate(frames):
        shape = shape or frame.shape
        if frame.shape != shape:
            raise UserError(f"frame {index} is {frame.shape[:2]}, the first one {shape[:2]}: one size is needed")
        now = sensor(frame)
        if simulator is None or before is None:
            simulator = SpikeSimulator(now.shape[0], now.shape[1], camera.theta, camera.seed, camera.noise)
        else:
            packed = simulator.run_between(before, now, camera.factor, camera.flip)
            write(packed.tobytes())
            spikes += int(np.unpackbits(packed).sum())
            # The mean of start + (end - start) s / n over s = 0 .. n - 1.
            end = (camera.factor - 1) / (2 * camera.factor)
            light += camera.factor * float(before.mean() * (1 - end) + now.mean() * end)
            steps += camera.factor
        before = now
    if before is None or steps == 0:
        raise UserError("fewer than two frames: nothing lies between them")
    rate = spikes / (steps * before.size)
    return Recorded((before.shape[0], before.shape[1]), steps, rate, light / steps / 255 / camera.theta)
