"""`python -m spikevrt.evaluate`: PSNR and SSIM of restored frames, of the blurred ones and of the spikes alone."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spikevrt.cli import (
    add_config_arguments,
    add_prove_again,
    add_tiles,
    command_parser,
    config_options,
    file_to_write,
    home_path,
    measure,
    positive,
    require_unread,
    run_command,
    tile_options,
    whole,
)
from spikevrt.config.limits import MOST_PIXELS, SSIM_SIDE
from spikevrt.errors import UserError, one_line, shown

if TYPE_CHECKING:
    from torch import Tensor

    from spikevrt.config import DataConfig
    from spikevrt.restoration.report import Report

DESCRIPTION = """Measure a trained model on the validation split of a data set.

  python -m spikevrt.evaluate --checkpoint runs/first/best.pt --opts DATA.ROOT=data --json scores.json
  python -m spikevrt.evaluate --checkpoint rgb=runs/rgb/best.pt spikes=runs/spikes/best.pt --crop 256 --picture a.png

Prints PSNR and SSIM per clip and over all clips: of the blurred input, of a picture made from the spikes alone (TFP, in
grey), and of the frames restored by each checkpoint. A checkpoint contains its configuration; --opts changes keys of
all of them.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.evaluate", DESCRIPTION)
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        type=home_path,
        required=True,
        metavar="[NAME=]PATH",
        help="models to compare; NAME labels the table",
    )
    add_config_arguments(parser, default=None)
    add_tiles(parser)
    add_prove_again(parser)
    parser.add_argument(
        "--crop",
        type=whole(SSIM_SIDE, MOST_PIXELS, " (SSIM compares windows of that size)"),
        help="use only the centre CROP x CROP pixels of each frame",
    )
    parser.add_argument("--json", type=file_to_write, help="file for all figures")
    parser.add_argument("--picture", type=file_to_write, help="PNG file that compares all methods on the middle frame")
    parser.add_argument("--picture-frame", metavar="CLIP/STEM", help="use this frame for --picture")
    parser.add_argument(
        "--tfp-window", type=positive, help="spike frames that TFP averages (default: half of the exposure)"
    )
    parser.add_argument(
        "--tfp-rate", type=measure(1), help="firing rate of a white pixel (default: from clip.json, else 0.6)"
    )
    parser.add_argument("--device", help="cuda:N or cpu (default: CUDA if there is a GPU)")
    return parser


def named_checkpoints(arguments: Sequence[str]) -> dict[str, Path]:
    """Checkpoints by name: `NAME=PATH`, or `PATH`, which is called `restored` or, among several, by its folder.

    An equals sign inside the path of a file ends no name: `runs/lr=1e-4/best.pt` is a path.
    """
    from spikevrt.restoration.evaluation import BLURRED, SHARP, TFP

    named: dict[str, Path] = {}
    for argument in arguments:
        file = Path(argument)
        name, equals, below = argument.partition("=")
        if equals and os.sep not in name and not file.exists():
            file = Path(os.path.expanduser(below))
        else:
            name = "restored" if len(arguments) == 1 else file.resolve().parent.name
        if not name or file == Path():
            raise UserError(f"--checkpoint {shown(argument)}: without a name or a path; write NAME=PATH")
        if name in (BLURRED, TFP, SHARP):
            raise UserError(f"--checkpoint {shown(argument)}: {name} is a row of every table; write another NAME=PATH")
        if name in named:
            raise UserError(
                f"--checkpoint {shown(argument)}: two checkpoints are called {shown(name)}; write NAME=PATH"
            )
        named[name] = file
    return named


def pictured(wanted: str | None, clips: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    """Clip and stem of the frame to draw: the requested one, or the middle of the first clip."""
    if wanted is None:
        name, stems = next(iter(clips.items()))
        return name, stems[len(stems) // 2]
    name, _, stem = wanted.rpartition("/")
    if stem not in clips.get(name, ()):
        raise UserError(f"--picture-frame {shown(wanted)}: no such frame; clips: {shown(', '.join(clips))}")
    return name, stem


def run(args: argparse.Namespace) -> tuple[Report, dict[str, Tensor]]:
    """Compute all figures, and the pictures of one frame by every method, behind a progress bar."""
    from tqdm import tqdm

    from spikevrt.data.clips.clip import find_clips
    from spikevrt.models import load_trained_model
    from spikevrt.restoration.evaluation import SHARP, TfpSettings, compare, score
    from spikevrt.restoration.metrics import require_window
    from spikevrt.restoration.report import Report
    from spikevrt.restoration.stream import Restorer
    from spikevrt.system.device import choose_device, settle_float32

    device = choose_device(args.device)
    settle_float32()
    paths = named_checkpoints(args.checkpoint)
    if args.json:
        require_unread("--json", args.json, paths.values())
    options = [*config_options(args), *tile_options(args)]
    loaded = {name: load_trained_model(path, options, args.config, device) for name, path in paths.items()}
    restorers = {name: Restorer(model, config, device) for name, (model, config) in loaded.items()}
    data: DataConfig = next(iter(loaded.values()))[1].data
    need_spikes = any(config.model.use_spike for _, config in loaded.values())
    clips = find_clips(data, data.val_split, need_spikes=need_spikes)
    if not need_spikes and all((clip.folder / data.spike_dir).is_dir() for clip in clips):
        clips = find_clips(data, data.val_split)
    for clip in clips:
        require_window(clip.frame_size, str(clip.folder))
    drawn = pictured(args.picture_frame, {clip.name: clip.stems for clip in clips})
    about = {"root": data.root, "split": data.val_split, "blur": data.blur_dir, "sharp": data.sharp_dir}
    report = Report(about | {"crop": args.crop, "models": {name: str(path) for name, path in paths.items()}})
    tfp = TfpSettings(args.tfp_window, args.tfp_rate)
    pictures: dict[str, Tensor] = {}
    with tqdm(total=sum(len(clip.stems) for clip in clips), desc="evaluate", unit="frame") as bar:
        for clip in clips:
            for frame in compare(clip, data, restorers, args.crop, tfp):
                report.add(clip.name, {m: score(p, frame.sharp) for m, p in frame.pictures.items()})
                if (clip.name, frame.stem) == drawn:
                    pictures = frame.pictures | {SHARP: frame.sharp}
                bar.update()
    return report, pictures


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, evaluate and print the tables."""
    args = make_parser().parse_args(argv)
    from spikevrt.data.files.images import as_png, write_png

    picture = as_png("--picture", args.picture) if args.picture else None
    from spikevrt.models.backends.choose import forget_choices
    from spikevrt.restoration.report import PROTOCOL, comparison

    if args.prove_again:
        forget_choices()
    report, pictures = run(args)
    about = {key: value for key, value in report.about.items() if value is not None and key != "models"}
    print("\n".join(f"{key}: {one_line(str(value))}" for key, value in about.items()))
    print(f"protocol: {PROTOCOL}\n\n{report.tables()}")
    if args.json:
        report.write_json(args.json)
    if picture:
        write_png(picture, comparison(pictures))
    return 0


if __name__ == "__main__":
    run_command(main)
