"""`python -m spikevrt.evaluate`: scores restored frames, the blurred ones and pictures from the spikes alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
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
    path,
    positive,
    run_command,
    tile_options,
    whole,
)
from spikevrt.config.limits import MOST_PIXELS, SSIM_SIDE
from spikevrt.config.train import PROTOCOLS
from spikevrt.errors import UserError, one_line, shown
from spikevrt.weights import SHIPPED

if TYPE_CHECKING:
    from spikevrt.restoration.html_report import Album
    from spikevrt.restoration.measuring import Setting
    from spikevrt.restoration.report import Report

DESCRIPTION = """Measure trained models, and the results of other programs, on the validation split of a data set.

  python -m spikevrt.evaluate --checkpoint runs/first/best.pt --opts DATA.ROOT=data --json scores.json
  python -m spikevrt.evaluate --checkpoint rgb=runs/rgb/best.pt spikes=runs/spikes/best.pt --crop 256 --picture a.png
  python -m spikevrt.evaluate --checkpoint best.pt --pictures theirs=out/ --protocol kair-gopro --markdown scores.md
  python -m spikevrt.evaluate --checkpoint best.pt --report report.html   # to look at in a browser
  python -m spikevrt.evaluate --checkpoint best.pt --save pictures/     # for tools with other metrics

Prints PSNR and SSIM per clip and over all clips: of the blurred input, of pictures made from the spikes alone (TFP and
TFI, in grey), of the frames restored by each checkpoint, and of the pictures in each folder of --pictures. A checkpoint
holds its configuration; --opts changes keys of all of them. Without --checkpoint, --config and --opts name the data.

Where OpenCV is installed (pip install opencv-python-headless), the warp error says how steady frames are: how much each
differs from the one before, moved by the optical flow of the sharp frames, without what that frame did not show. It is
in grey levels of 255, and lower is better. Compare with the row of the sharp frames, which shows what the flow cannot
explain; frames without fine detail can be below it.

LPIPS and the like are those of the piq library (pip install piq torchvision): --metrics lpips dists fsim. It
downloads the weights of lpips and dists when they are first used. Other tools read what --save writes.
"""

FURTHER = "lpips", "dists", "fsim", "vsi", "haarpsi", "gmsd", "mdsi"
"""The names of `restoration.perceptual.OFFERS`, here so that --help needs no PyTorch."""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.evaluate", DESCRIPTION)
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        type=home_path,
        default=[],
        metavar="[NAME=]PATH",
        help=f"models to compare, also {', '.join(SHIPPED)} and published VRT weights; NAME labels the table",
    )
    parser.add_argument(
        "--pictures",
        nargs="+",
        type=home_path,
        default=[],
        metavar="[NAME=]DIR",
        help="results of other programs to compare: DIR/CLIP/STEM.png, with the names of the clips and frames",
    )
    add_config_arguments(parser, default=None)
    add_tiles(parser)
    add_prove_again(parser)
    parser.add_argument(
        "--crop",
        type=whole(SSIM_SIDE, MOST_PIXELS, " (SSIM compares windows of that size)"),
        help="use only the centre CROP x CROP pixels of each frame",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="how frames are compared (TEST.PROTOCOL; default: rgb-float). y-uint8: Y of BT.601 of 8 bits. kair-gopro: "
        "RGB of 8 bits, mean over clips",
    )
    parser.add_argument(
        "--border", type=whole(0, MOST_PIXELS), default=0, help="pixels at each side that are left out (default: 0)"
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=FURTHER,
        default=[],
        metavar="NAME",
        help=f"further metrics of frames in colour, by the piq library: {', '.join(FURTHER)}",
    )
    parser.add_argument("--json", type=file_to_write, help="file for all figures, also those of every frame")
    parser.add_argument("--csv", type=file_to_write, help="file for the figures of every frame, a line for each method")
    parser.add_argument("--markdown", type=file_to_write, help="file for the tables, to paste into a document")
    parser.add_argument(
        "--save",
        type=path,
        metavar="DIR",
        help="folder for all pictures: reference/CLIP/STEM.png and METHOD/CLIP/STEM.png",
    )
    parser.add_argument(
        "--report",
        type=file_to_write,
        metavar="HTML",
        help="one HTML file with tables, curves, and the chosen, the worst and the best frame to compare by a slider",
    )
    parser.add_argument("--picture", type=file_to_write, help="PNG file that compares all methods on the middle frame")
    parser.add_argument("--picture-frame", metavar="CLIP/STEM", help="use this frame for --picture and --report")
    parser.add_argument(
        "--tfp-window", type=positive, help="spike frames that TFP averages (default: half of the exposure)"
    )
    parser.add_argument(
        "--tfp-rate", type=measure(1), help="firing rate of white in TFP and TFI (default: from clip.json, else 0.6)"
    )
    parser.add_argument("--device", help="cuda:N or cpu (default: CUDA if there is a GPU)")
    return parser


def pictured(wanted: str | None, clips: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    """Clip and stem of the frame to draw: the requested one, or the middle of the first clip."""
    if wanted is None:
        name, stems = next(iter(clips.items()))
        return name, stems[len(stems) // 2]
    name, _, stem = wanted.rpartition("/")
    if stem not in clips.get(name, ()):
        raise UserError(f"--picture-frame {shown(wanted)}: no such frame; clips: {shown(', '.join(clips))}")
    return name, stem


def open_all(args: argparse.Namespace) -> Setting:
    """Load models and look at the data set, so that what is wrong is found before anything is computed."""
    from spikevrt.config import load_config
    from spikevrt.data.clips.clip import find_clips
    from spikevrt.data.simulation.optical_flow import flow_finder
    from spikevrt.models import load_trained_model
    from spikevrt.models.weights.origin import described_file
    from spikevrt.restoration.evaluation import Methods, SpikeSettings
    from spikevrt.restoration.measuring import Setting
    from spikevrt.restoration.metrics import require_window
    from spikevrt.restoration.named import named_checkpoints, named_folders, require_apart, require_distinct
    from spikevrt.restoration.perceptual import Perceptual
    from spikevrt.restoration.report import Report
    from spikevrt.restoration.stream import Restorer
    from spikevrt.system.device import choose_device, settle_float32

    device = choose_device(args.device)
    settle_float32()
    paths = named_checkpoints(args.checkpoint)
    folders = named_folders(args.pictures, paths)
    if not paths and not folders:
        raise UserError("nothing to compare: name models by --checkpoint, or folders by --pictures")
    names = ("json", "csv", "markdown", "report", "picture")
    files = {f"--{name}": file for name in names if (file := getattr(args, name))}
    require_distinct(files, [*paths.values(), *folders.values()])
    options = [*config_options(args), *tile_options(args)]
    options += [f"TEST.PROTOCOL={args.protocol}"] if args.protocol else []
    loaded = {name: load_trained_model(path, options, args.config, device) for name, path in paths.items()}
    configs = [config for _, config in loaded.values()] or [load_config(args.config or "default", options)]
    data, need_spikes = configs[0].data, any(config.model.use_spike for _, config in loaded.values())
    clips = find_clips(data, data.val_split, need_spikes=need_spikes)
    if not need_spikes and all((clip.folder / data.spike_dir).is_dir() for clip in clips):
        clips = find_clips(data, data.val_split)
    require_apart(files, args.save, [*paths, *folders], [*(clip.folder.parent for clip in clips), *folders.values()])
    perceptual = Perceptual(args.metrics, device) if args.metrics else None
    for clip in clips:
        most = args.crop or MOST_PIXELS
        compared = tuple(min(side, most) - 2 * args.border for side in clip.frame_size)
        require_window(compared, str(clip.folder))
        if perceptual:
            perceptual.require_room(compared, str(clip.folder))
    about: dict[str, object] = {"root": data.root, "split": data.val_split, "blur": data.blur_dir}
    about |= {
        "sharp": data.sharp_dir,
        "crop": args.crop,
        "models": {name: described_file(path) for name, path in paths.items()},
    }
    restorers = {name: Restorer(model, config, device) for name, (model, config) in loaded.items()}
    methods, flow = Methods(restorers, folders, SpikeSettings(args.tfp_window, args.tfp_rate)), flow_finder()
    report = Report(about, configs[0].test.protocol, args.border, pairs=flow is not None, perceptual=perceptual)
    return Setting(data, clips, args.crop, methods, flow, report)


def run(args: argparse.Namespace) -> tuple[Report, Album]:
    """Compute all figures, and keep the pictures of some frames by every method, behind a progress bar."""
    from tqdm import tqdm

    from spikevrt.restoration.html_report import Album
    from spikevrt.restoration.measuring import measured

    setting = open_all(args)
    stems = {clip.name: clip.stems for clip in setting.clips}
    ours = next(iter([*setting.methods.restorers, *setting.methods.pictures]))
    album = Album(ours, pictured(args.picture_frame, stems))
    frames = measured(setting, album, args.save)
    for _ in tqdm(frames, "evaluate", sum(map(len, stems.values())), unit="frame"):
        pass
    return setting.report, album


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, evaluate and print the tables."""
    args = make_parser().parse_args(argv)
    from spikevrt.data.files.images import as_png, write_png

    picture = as_png("--picture", args.picture) if args.picture else None
    from spikevrt.models.backends.choose import forget_choices
    from spikevrt.restoration.comparison import comparison
    from spikevrt.restoration.consistency import MISSING
    from spikevrt.restoration.html_report import write_html

    if args.prove_again:
        forget_choices()
    report, album = run(args)
    about = {key: value for key, value in report.about.items() if value is not None and key != "models"}
    print("\n".join(f"{key}: {one_line(str(value))}" for key, value in about.items()))
    print(f"protocol: {report.protocol} ({report.protocol_text})\n\n{report.text()}\n")
    if not report.pairs:
        print(MISSING)
    print(report.speed_text())
    for file, write in (
        (args.json, report.write_json),
        (args.csv, report.write_csv),
        (args.markdown, report.write_markdown),
    ):
        if file:
            write(file)
    if picture:
        write_png(picture, comparison(album.kept["chosen"].pictures))
    if args.report:
        write_html(args.report, report, album)
    return 0


if __name__ == "__main__":
    run_command(main)
