"""`python -m bench.memory_training`: resident memory while the smallest model trains, and its slope per step.

Each run has a process of its own. Memory that grows with the steps is a leak: caches fill and the allocator settles
in the first half, so the slope is fitted to the second half only.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from spikevrt.cli import command_parser, positive, run_command
from spikevrt.config import Config, load_config
from spikevrt.data.preparation.make import Target, make_clips
from spikevrt.data.preparation.recipe import Recipe
from spikevrt.data.simulation.camera import SpikeCamera
from spikevrt.system.memory import resident_set
from spikevrt.training.distributed import Processes
from spikevrt.training.trainer import Trainer

DESCRIPTION = """Train a very small model for many steps and print how its resident memory grows.

  python -m bench.memory_training                 # 500 steps without and with worker processes
  python -m bench.memory_training --steps 2000 --workers 2

The figures are those of the main process; exit code 1 if the slope of a run is above the limit.
"""
SIZE, FRAMES = (48, 64), 60
SHOWN = 10
"""Lines per run."""
LIMIT_KIB = 16.0
"""Largest slope in KiB per step: 1.6 GB in 100000 steps."""
OPTIONS = (
    "DATA.CLIP_LEN=2",
    "DATA.CROP_SIZE=40",
    "DATA.K=4",
    "MODEL.CHANNELS_PER_SCALE=[8, 8, 8, 8]",
    "MODEL.WINDOW_SIZE=[2, 4, 4]",
    "MODEL.VRT.NUM_HEADS=[2, 2, 2, 2, 2, 2, 2, 2, 2]",
    "MODEL.VRT.DEFORM_GROUPS=2",
    "TRAIN.BATCH_SIZE=1",
    "TRAIN.FREEZE_FLOW_STEPS=0",
    "TRAIN.LOG_EVERY=1",
    "TRAIN.SAVE_EVERY=50",
    "TRAIN.VAL_EVERY=50",
)


def make_data(root: Path) -> None:
    """Write one training clip and one that is held out, of a random texture that moves."""
    recipe = Recipe(exposure=2, stride=2, camera=SpikeCamera(scale=2, factor=4, interpolate="linear"))
    H, W = SIZE
    texture = np.random.default_rng(0).integers(0, 256, (H, W + FRAMES, 3), dtype=np.uint8)
    for split in ("train", "val"):
        frames = (texture[:, FRAMES - t : FRAMES - t + W] for t in range(FRAMES))
        make_clips(frames, [Target(root / split / "clip", recipe.centres(0, FRAMES))], recipe, "moving texture")


def make_config(root: Path, folder: Path, steps: int, workers: int) -> Config:
    """The demo's structure at the smallest size, with validations and checkpoints every 50 steps."""
    own = (f"TRAIN.OUTPUT_DIR={folder}", f"TRAIN.MAX_STEPS={steps}", f"TRAIN.NUM_WORKERS={workers}")
    return load_config("demo", [f"DATA.ROOT={root}", *OPTIONS, *own])


class Watched(Trainer):
    """A trainer that notes the resident set after every step, in bytes."""

    def _steps(self) -> None:
        self.resident: list[int] = []
        super()._steps()

    def _one_step(self, *arguments: object) -> None:
        super()._one_step(*arguments)  # type: ignore[arg-type]
        self.resident.append(resident_set())


def slope_kib(resident: Sequence[int]) -> float:
    """Growth in KiB per step over the second half, by least squares."""
    half = np.asarray(resident[len(resident) // 2 :]) / 1024
    return float(np.polyfit(np.arange(len(half)), half, 1)[0])


def watch(steps: int, workers: int) -> float:
    """Train, print the resident set at regular steps and return the slope in KiB per step."""
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        config = make_config(Path(folder), Path(folder) / "run", steps, workers)
        run = Watched(config, Processes(0, 1, torch.device("cpu")))
        run.run()
    for step in np.linspace(1, steps, min(SHOWN, steps), dtype=int):
        print(f"workers {workers}, step {step}: {run.resident[step - 1] / 2**20:.1f} MiB")
    slope = slope_kib(run.resident)
    print(f"workers {workers}: {slope:.2f} KiB per step over the last {steps - steps // 2} steps (limit {LIMIT_KIB:g})")
    return slope


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.memory_training", DESCRIPTION)
    parser.add_argument("--steps", type=positive, default=500, help="optimiser steps of each run")
    parser.add_argument("--workers", type=int, help="number of worker processes (default: one run with 0, one with 2)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Watch one run in this process, or start a process for each of the two; exit code 1 above the limit."""
    args = make_parser().parse_args(argv)
    if args.workers is not None:
        return int(watch(args.steps, args.workers) > LIMIT_KIB)
    command = [sys.executable, "-m", "bench.memory_training", "--steps", str(args.steps), "--workers"]
    return max(subprocess.run([*command, str(workers)]).returncode for workers in (0, 2))


if __name__ == "__main__":
    run_command(main)
