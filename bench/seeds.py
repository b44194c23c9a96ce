"""`python -m bench.seeds`: does training with spikes win with every seed, and on every backend alike?"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from bench.results.chart import GREY, INK, TEXT_SIZE, text_width, write
from spikevrt.cli import command_parser, positive, run_command
from spikevrt.config import ATTN_BACKENDS
from spikevrt.data.files.images import write_png
from spikevrt.demo import PHOTOS, bikes_video
from spikevrt.system.subprocesses import Command, call
from spikevrt.table import format_table
from spikevrt.training.run_log import LOG_NAME, read_rows

DESCRIPTION = """Train the demo's model and its twin without spikes, with several seeds and on several backends.

  python -m bench.seeds --out seeds                      # 3 seeds, 200 steps, naive and sdpa: 15 minutes on two cores
  python -m bench.seeds --out seeds --backends triton --steps 2000 --device cuda

Prints the PSNR of the held-out part of the video after the last step, and draws it over the steps: seeds.png in --out.
Runs that are finished there are not trained again.
"""
TWINS = {"VRT": False, "VRT+Spike": True}
"""Name in the table -> whether the model uses spikes."""
COLOURS = {False: "#7a7a7a", True: "#3a9a5c"}
"""Of the curves, by whether the model uses spikes."""
FADED = "--interpolate", "linear"
SHIFTED = "--layers", 0, "--rotation", 0, "--zoom", 0, "--shake", 0
LEARNING = "TRAIN.LOSS=charbonnier", "TRAIN.CHARBONNIER_EPS=0.03", "TRAIN.CLIP_GRAD_NORM=0"
"""The data and the loss with which the figures of docs/cases.md were measured."""
SIZE, MARGIN = (960, 420), 64
"""Width and height of a backend's panel in pixels, and the space for its axes."""
Curve = list[tuple[int, float]]
"""(step, PSNR in dB) of every validation."""


class Key(NamedTuple):
    """One training."""

    backend: str
    seed: int
    spikes: bool

    @property
    def folder(self) -> str:
        """The name of the run's folder."""
        return f"{self.backend}-{self.seed}-{'spikes' if self.spikes else 'rgb'}"


def prepare(out: Path) -> None:
    """Make the clips to train on and to validate, unless they are there."""
    if not (out / "data" / "val").is_dir():
        call(Command("prepare", ("video", bikes_video(), "--out", out / "data", *FADED)))
    if not list(out.glob("data/train/photo-*")):
        call(Command("prepare", ("photos", *PHOTOS, "--out", out / "data", *SHIFTED)))


def training(key: Key, args: argparse.Namespace) -> Command:
    """The command of one training."""
    options = (
        f"DATA.ROOT={args.out / 'data'}",
        f"TRAIN.OUTPUT_DIR={args.out / key.folder}",
        f"TRAIN.MAX_STEPS={args.steps}",
        f"TRAIN.VAL_EVERY={max(1, args.steps // 10)}",
        f"TRAIN.SEED={key.seed}",
        "TRAIN.KEEP_LAST=0",
        *LEARNING,
        f"MODEL.USE_SPIKE={str(key.spikes).lower()}",
    )
    where = ("--attn-backend", key.backend, *(("--device", args.device) if args.device else ()))
    arguments = ("--config", "demo", "--resume", "auto", *where, "--opts", *options)
    return Command("train", arguments, log=args.out / f"{key.folder}.log")


def curve(folder: Path) -> Curve:
    """The validations of a run."""
    rows, _ = read_rows(folder / LOG_NAME)
    return [(row["step"], row["psnr"]) for row, _ in rows if row["kind"] == "val"]


def table(curves: Mapping[Key, Curve]) -> str:
    """The last PSNR of every run, and the gain by spikes of every pair."""
    rows: list[tuple[str, ...]] = []
    for key in (key for key in curves if key.spikes):
        ours, twin = (curves[key._replace(spikes=spikes)][-1][1] for spikes in (True, False))
        rows.append((key.backend, str(key.seed), f"{twin:.2f}", f"{ours:.2f}", f"{ours - twin:+.2f}"))
    rows.append(("mean", "", *(f"{mean(float(row[i]) for row in rows):.2f}" for i in (2, 3, 4))))
    return format_table(("backend", "seed", *TWINS, "gain by spikes"), rows)


def picture(curves: Mapping[Key, Curve]) -> Image.Image:
    """A panel per backend with the PSNR of all runs over the steps, on one scale."""
    backends = list(dict.fromkeys(key.backend for key in curves))
    image = Image.new("RGB", (SIZE[0], SIZE[1] * len(backends)), "white")
    values = [value for one in curves.values() for _, value in one]
    low, high = min(values), max(values)
    last = max(step for one in curves.values() for step, _ in one)
    for number, backend in enumerate(backends):
        panel = Panel(ImageDraw.Draw(image), number * SIZE[1], (low, high), last)
        panel.axes(backend)
        for key, one in curves.items():
            if key.backend == backend:
                panel.curve(one, COLOURS[key.spikes])
    return image


class Panel(NamedTuple):
    """A diagram of PSNR over steps."""

    draw: ImageDraw.ImageDraw
    top: int
    values: tuple[float, float]
    """Lowest and highest PSNR."""
    last: int
    """The last step."""

    def place(self, step: int, value: float) -> tuple[int, int]:
        """Where a value stands in the picture."""
        low, high = self.values
        width, height = SIZE[0] - 2 * MARGIN, SIZE[1] - 2 * MARGIN
        share = (value - low) / max(high - low, 1e-9)
        return MARGIN + round(width * step / self.last), self.top + MARGIN + round(height * (1 - share))

    def curve(self, points: Curve, colour: str) -> None:
        """Draw a curve."""
        for first, second in pairwise(points):
            self.draw.line((*self.place(*first), *self.place(*second)), colour, 2)

    def axes(self, backend: str) -> None:
        """Draw title, legend and the ends of both axes."""
        write(self.draw, MARGIN, self.top + 16, f"PSNR on the held-out video, {backend}: a curve per seed", 16)
        place = MARGIN
        for name, spikes in TWINS.items():
            write(self.draw, place, self.top + 38, name, colour=COLOURS[spikes])
            place += text_width(self.draw, name) + 24
        (left, bottom), (right, top) = self.place(0, self.values[0]), self.place(self.last, self.values[1])
        self.draw.line((left, top, left, bottom, right, bottom), GREY, 1)
        for value, y in zip(self.values, (bottom, top), strict=True):
            write(self.draw, 8, y - TEXT_SIZE // 2, f"{value:.1f} dB", colour=INK)
        write(self.draw, right - 60, bottom + 8, f"step {self.last}")


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.seeds", DESCRIPTION)
    parser.add_argument("--out", type=Path, required=True, help="folder of data, runs and seeds.png")
    parser.add_argument("--seeds", type=positive, default=3, help="number of seeds")
    parser.add_argument("--steps", type=positive, default=200, help="optimiser steps of each run")
    parser.add_argument("--backends", nargs="+", choices=ATTN_BACKENDS, default=["naive", "sdpa"])
    parser.add_argument("--device", help="cuda:N or cpu (default: CUDA if there is a GPU)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train all, print the table and draw the curves; exit code 1 if a model with spikes is not the better one."""
    args = make_parser().parse_args(argv)
    prepare(args.out)
    curves: dict[Key, Curve] = {}
    for backend in args.backends:
        for seed in range(args.seeds):
            keys = [Key(backend, seed, spikes) for spikes in TWINS.values()]
            call(*(training(key, args) for key in keys))
            curves |= {key: curve(args.out / key.folder) for key in keys}
    print(f"\n{table(curves)}")
    write_png(args.out / "seeds.png", np.asarray(picture(curves)))
    print(f"look at {args.out / 'seeds.png'}")
    return int(
        any(one[-1][1] <= curves[key._replace(spikes=False)][-1][1] for key, one in curves.items() if key.spikes)
    )


if __name__ == "__main__":
    run_command(main)
