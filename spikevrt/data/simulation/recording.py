"""Turns sharp frames into one continuous spike recording, and notes which spike frames belong to which frame."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikevrt.data.files.atomic import new_folder
from spikevrt.data.files.video import Frame
from spikevrt.data.simulation.camera import simulated, with_last_twice, write_geometry
from spikevrt.data.simulation.interpolation import subframes
from spikevrt.data.simulation.motion import Motion, measured
from spikevrt.data.simulation.settings import SpikeCamera
from spikevrt.data.spikes.exposures import write_exposure_table
from spikevrt.errors import UserError

RECORDING = "recording.dat"


@dataclass(frozen=True)
class Recorded:
    """The result of a simulation."""

    size: tuple[int, int]
    """(H,W) of the spikes."""
    frames: int
    """Number of spike frames."""
    rate: float
    """Spikes per pixel and spike frame."""
    expected: float
    """The rate that the brightness predicts: mean I / 255 / theta, without noise."""


def record(
    frames: Iterable[Frame],
    names: Callable[[int], str],
    out: Path,
    camera: SpikeCamera,
    motion: Motion | None = None,
) -> Recorded:
    """Write `recording.dat`, `config.yaml` and `windows.csv` into the new folder `out`, completely or not at all.

    Args:
        frames: (H,W,3) sharp frames; only two are in memory at a time.
        names: maps the number of a frame to its stem.
        out: a folder that does not exist yet or is empty.
        camera: settings of the camera.
        motion: notes how fast what the frames show moves.

    Raises:
        UserError: `out` already holds files, there are fewer than two frames, or OpenCV, which is needed, is not
            installed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; remove it, or choose another --out")
    with new_folder(out) as folder:
        with (folder / RECORDING).open("wb") as file:
            held = with_last_twice(frames)
            if camera.follows_flow:
                recorded = write_spikes(subframes(held, camera.factor, motion), file.write, camera.rendered)
            else:
                recorded = write_spikes(measured(held, motion), file.write, camera)
        if recorded.frames <= camera.factor:
            raise UserError("fewer than two frames: spikes lie between two frames; use a longer source")
        count = recorded.frames // camera.factor
        exposures = {names(i): slice(i * camera.factor, (i + 1) * camera.factor) for i in range(count)}
        write_exposure_table(folder, exposures)
        write_geometry(folder, RECORDING, recorded.size)
    return recorded


def write_spikes(frames: Iterable[Frame], write: Callable[[bytes], object], camera: SpikeCamera) -> Recorded:
    """Write `factor` spike frames from each frame to the next as soon as they are simulated."""
    before: NDArray[np.float32] | None = None
    spikes, light, steps = 0, 0.0, 0
    # Weight of the end brightness: the mean of s / n over s = 0 .. n - 1.
    end = (camera.factor - 1) / (2 * camera.factor)
    for shot in simulated(frames, camera):
        if before is not None:
            write(shot.spikes.tobytes())
            spikes += int(np.unpackbits(shot.spikes).sum())
            light += camera.factor * float(before.mean() * (1 - end) + shot.light.mean() * end)
            steps += camera.factor
        before = shot.light
    if before is None or not steps:
        raise UserError("fewer than two frames: spikes lie between two frames; use a longer source")
    return Recorded(
        size=(before.shape[0], before.shape[1]),
        frames=steps,
        rate=spikes / (steps * before.size),
        expected=light / steps / 255 / camera.theta,
    )
