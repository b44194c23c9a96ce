"""`python -m bench.streams`: peak memory and speed of restoring videos of several lengths, files to files."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from torch import Tensor, nn

from spikevrt import deblur, models
from spikevrt.cli import command_parser, path, positive, run_command
from spikevrt.config import Config
from spikevrt.data.files.video_writing import video_writer
from spikevrt.data.simulation.camera import write_geometry
from spikevrt.data.spikes.recording import write_packed
from spikevrt.restoration.window import WindowRestorer
from spikevrt.table import markdown_table
from spikevrt.weights import TINY

DESCRIPTION = """Restore a video of 1280x720 pixels with its spikes into a video, in a process for each length.

  python -m bench.streams                                          # seconds: a model that changes nothing
  python -m bench.streams --model tiny --opts TEST.TILE_SIZE=384   # an hour on two cores

Prints peak resident memory, frames a second, and the share of time in the model. The video is a noise that moves; all
exposures of spikes are links to a few files. Memory must not grow with the length.
"""
SIDE = 1280, 720
VIDEO, SPIKES = "blurred.mp4", "spikes"
EXPOSURE = 40
"""Spike frames of a frame; they have half its height and width."""
FILES = 8
"""Exposures that differ."""
PERIOD = 64
"""Frames after which the noise is where it was."""
UNCHANGED = "unchanged"
"""Stands for a model that returns its frames: what is left is decoding, spikes, windows, blending, encoding."""


class Unchanged(nn.Module):
    """Returns the blurred frames."""

    def forward(self, rgb: Tensor, *others: Any, **flows: Any) -> Tensor:
        """The frames (B,T,3,H,W) as they are."""
        return rgb


def write_clip(folder: Path, frames: int) -> None:
    """Write a video of `frames` frames and a folder with an exposure of spikes for each."""
    random = np.random.default_rng(0)
    W, H = SIDE
    noise = random.integers(0, 256, (H // 8, (W + 8 * PERIOD) // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    video = folder / VIDEO
    with video_writer(video, fps=25) as write:
        for number in range(frames):
            start = 8 * (number % PERIOD)
            write(np.ascontiguousarray(noise[:, start : start + W]))
    spikes = folder / SPIKES
    spikes.mkdir()
    for number in range(frames):
        file = spikes / f"{number:06}.dat"
        if number < FILES:
            write_packed(file, random.integers(0, 5, (EXPOSURE, H // 2, W // 2), np.uint8) == 0)
        else:
            file.symlink_to(spikes / f"{number % FILES:06}.dat")
    write_geometry(spikes, "", (H // 2, W // 2))


def restore(folder: Path, model: str, options: Sequence[str]) -> dict[str, Any]:
    """Restore the video of a folder in this process; returns the figures."""
    spent, load, whole = 0.0, models.load_trained_model, WindowRestorer.restore

    def loaded(*arguments: Any) -> tuple[nn.Module, Config]:
        found, config = load(*arguments)
        return (Unchanged() if model == UNCHANGED else found), config

    def timed(*arguments: Any) -> Tensor:
        nonlocal spent
        start = time.perf_counter()
        result = whole(*arguments)
        spent += time.perf_counter() - start
        return result

    weights = TINY if model == UNCHANGED else model
    places = str(folder / VIDEO), "--spikes", str(folder / SPIKES), "--out", str(folder / "sharp.mp4")
    given = ("--opts", *options) if options else ()
    start = time.perf_counter()
    with patch.object(models, "load_trained_model", loaded), patch.object(WindowRestorer, "restore", timed):
        deblur.main([*places, "--weights", weights, "--device", "cpu", *given])
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "model_seconds": spent, "peak": peak}


def measured(frames: int, model: str, options: Sequence[str]) -> dict[str, Any]:
    """Figures of a process that restores `frames` frames."""
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder), frames)
        line = [sys.executable, "-m", "bench.streams", "--inside", folder, "--model", model]
        done = subprocess.run([*line, *(("--opts", *options) if options else ())], stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)  # It has said why.
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(frames: int, figures: dict[str, Any]) -> tuple[str, ...]:
    """Figures of one length as text."""
    seconds = figures["seconds"]
    share = figures["model_seconds"] / seconds
    return str(frames), f"{figures['peak'] / 2**20:,.0f}", f"{frames / seconds:.3g}", f"{share:.0%}"


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.streams", DESCRIPTION)
    parser.add_argument("--frames", type=positive, nargs="+", default=[60, 300], help="lengths (default: 60 300)")
    parser.add_argument("--model", default=UNCHANGED, help=f"weights, or {UNCHANGED} (default)")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY=VALUE", help="configuration keys to override")
    parser.add_argument("--inside", type=path, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each length in a process of its own, and print a table."""
    args = make_parser().parse_args(argv)
    if args.inside:
        print("\n" + json.dumps(restore(args.inside, args.model, args.opts)))
        return 0
    rows = []
    for frames in args.frames:
        rows.append(row(frames, measured(frames, args.model, args.opts)))
        print(f"{frames} frames: {rows[-1][1]} MiB", flush=True)
    print("\n" + markdown_table(("frames", "peak, MiB", "frames a second", "in the model"), rows))
    return 0


if __name__ == "__main__":
    run_command(main)
