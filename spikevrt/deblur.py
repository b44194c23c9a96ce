"""`python -m spikevrt.deblur`: restores sharp frames from blurred frames and their spikes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spikevrt.cli import (
    VIDEOS,
    add_config_arguments,
    add_prove_again,
    add_tiles,
    command_parser,
    config_options,
    frame_rate,
    is_video,
    names_video,
    path,
    positive,
    require_unread,
    run_command,
    tile_options,
)
from spikevrt.errors import UserError, one_line, quoted
from spikevrt.weights import SHIPPED

if TYPE_CHECKING:
    from spikevrt.config import DataConfig
    from spikevrt.restoration.results import Results, Share
    from spikevrt.restoration.sources import Source
    from spikevrt.restoration.stream import Restorer

DESCRIPTION = """Restore a clip of any length and size.

  python -m spikevrt.deblur clip/ --weights tiny --out sharp/           # a clip of the unified layout, no training
  python -m spikevrt.deblur clip/ --checkpoint runs/first/best.pt --out sharp/
  python -m spikevrt.deblur frames/ --spikes spikes/ --checkpoint best.pt --out sharp/
  python -m spikevrt.deblur blurred.mp4 --spikes spikes/ --checkpoint best.pt --out sharp.mp4
  torchrun --nproc-per-node 4 -m spikevrt.deblur long.mp4 --spikes spikes/ --checkpoint best.pt --out sharp.mp4 --resume
  python -m spikevrt.deblur blurred.mp4 --weights 006_VRT_videodeblurring_GoPro.pth --out sharp.mp4    # no spikes

INPUT is a folder of pictures, a video file, or a clip (a folder with blur/ and spike/ inside). --spikes is a folder
with one .dat file per frame: with the frame's name for pictures, in order for a video. Or it is one recording of all
frames, or its folder: a windows.csv beside it (stem,start,length) or --opts DATA.RECORDING.SPIKE_RATE=...
DATA.RECORDING.FRAME_RATE=... says which spike frames belong to which frame. The size of the spike frames comes from a
config.yaml in that folder (spike_h, spike_w) or from --opts DATA.SPIKE_HEIGHT=... DATA.SPIKE_WIDTH=...
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.deblur", DESCRIPTION)
    parser.add_argument("input", type=path, metavar="INPUT", help="pictures, a video, or a clip of a data set")
    parser.add_argument("--spikes", type=path, help="spike files, one per frame, in a folder; or one recording")
    trained = parser.add_mutually_exclusive_group(required=True)
    trained.add_argument(
        "--checkpoint",
        type=path,
        help=f"a model trained by spikevrt, or one that comes with it ({', '.join(SHIPPED)})",
    )
    trained.add_argument(
        "--weights",
        dest="checkpoint",
        type=path,
        help="the same; published VRT weights (.pth); others with --config",
    )
    parser.add_argument("--out", type=path, required=True, help=f"a folder for PNGs, or a file ({', '.join(VIDEOS)})")
    parser.add_argument("--fps", type=frame_rate, help="frames per second of a video (default: INPUT's times, else 24)")
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist at --out")
    parser.add_argument("--start", type=positive, metavar="N", help="first frame to restore, counted from 1")
    parser.add_argument("--end", type=positive, metavar="N", help="last frame to restore (default: the last one)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the frames that are in --out already, and restore the others; of a video, frames are kept in "
        "VIDEO.frames until all are there. The same weights and settings give what an uninterrupted run gives",
    )
    add_quality(parser)
    add_config_arguments(parser, default=None)
    add_tiles(parser)
    add_prove_again(parser)
    parser.add_argument("--device", help="cuda:N or cpu (default: CUDA if there is a GPU)")
    return parser


def add_quality(parser: argparse.ArgumentParser) -> None:
    """`--crf`, `--chroma`, `--lossless` and `--png-depth`: how near the results are to the restored frames."""
    parser.add_argument(
        "--crf",
        type=constant_rate_factor,
        metavar="N",
        help="quality of a video, from 0 (best, largest) to 51 (default: 4, at which every frame is within 45 dB PSNR)",
    )
    parser.add_argument(
        "--chroma",
        choices=("444", "420"),
        help="444 (default) stores the colour of every pixel, which players built on FFmpeg show (mpv, VLC, ...); 420 "
        "that of every fourth, for phones, televisions, QuickTime and most browsers: 36 to 44 dB, whatever --crf",
    )
    parser.add_argument(
        "--lossless",
        action="store_true",
        help="store a video's 8-bit frames bit by bit, as RGB: up to five times as large; for players built on FFmpeg",
    )
    parser.add_argument(
        "--png-depth", type=int, choices=(8, 16), help="bits a channel of PNGs (default: 8); 16 rounds 256 times finer"
    )


def constant_rate_factor(text: str) -> int:
    """Parse `--crf`."""
    value = int(text)
    if not 0 <= value <= 51:
        raise argparse.ArgumentTypeError(f"{quoted(value)} must be from 0 to 51")
    return value


# argparse prints this name in its messages.
constant_rate_factor.__name__ = "whole number"


def require_fitting_quality(args: argparse.Namespace) -> None:
    """Raise a `UserError` for an option of quality that --out, or another of them, leaves without a meaning."""
    of_video = {"--crf": args.crf is not None, "--chroma": args.chroma is not None, "--lossless": args.lossless}
    given = [name for name, used in of_video.items() if used]
    if not is_video(args.out):
        if given or args.fps:
            option = (*given, "--fps")[0]
            raise UserError(f"{option}: is for a video, and --out is a folder; name a video ({', '.join(VIDEOS)})")
        if args.overwrite and args.resume:
            raise UserError("--overwrite: --resume keeps the pictures that are in --out; give one of them")
    elif args.png_depth is not None:
        raise UserError(f"--png-depth {args.png_depth}: is for PNGs, and --out is a video; name a folder")
    elif args.lossless and len(given) > 1:
        raise UserError(f"--lossless: leaves nothing to {given[0]}; give one of them")


def open_source(args: argparse.Namespace, data: DataConfig, use_spike: bool) -> Source:
    """Open INPUT and --spikes, and look at all files before anything is written."""
    from spikevrt.restoration.sources import recording_source

    frames, spikes = args.input, args.spikes
    if (frames / data.blur_dir).is_dir():
        spikes = spikes or frames / data.spike_dir
        frames = frames / data.blur_dir
    return recording_source(frames, spikes if use_spike else None, data)


def open_results(args: argparse.Namespace, source: Source, share: Share) -> Results:
    """Where the results go.

    Raises:
        UserError: results are there already, or a part of the clip is named that it does not have.
    """
    from spikevrt.data.files.video import chosen, warn_of_pixel_aspect
    from spikevrt.data.files.video_writing import CRF, Quality
    from spikevrt.restoration.results import Results

    # What several processes write is looked at by the first one, before any of them writes.
    if names_video(args.out, args.overwrite or args.resume or share.rank > 0):
        crf = CRF if args.crf is None else args.crf
        quality = Quality(crf, half_chroma=args.chroma == "420", lossless=args.lossless)
    else:
        quality = None
        warn_of_pixel_aspect(source.frames)
    part, deep = chosen(len(source), args.start, args.end), args.png_depth == 16
    results = Results(args.out, source.names, part, source.frames, quality, args.fps, deep, args.resume, share)
    for written in results.places():
        require_unread("--out", written, [source.frames])
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, restore the clip and write it."""
    args = make_parser().parse_args(argv)
    require_fitting_quality(args)
    from spikevrt.models import load_trained_model
    from spikevrt.models.backends.choose import forget_choices
    from spikevrt.restoration.results import Share
    from spikevrt.restoration.stream import Restorer
    from spikevrt.system.device import choose_device, settle_float32
    from spikevrt.system.process import place_of_process

    if args.prove_again:
        forget_choices()
    share = Share(*place_of_process())
    device = choose_device(args.device, share.local)
    settle_float32()
    options = [*config_options(args), *tile_options(args)]
    model, config = load_trained_model(args.checkpoint, options, args.config, device)
    source = open_source(args, config.data, config.model.use_spike)
    if args.resume and is_video(args.out) and args.out.exists() and not args.overwrite:
        print(f"{one_line(str(args.out))}: is complete; nothing is left to do")
        return 0
    results = open_results(args, source, share)
    with share.together():
        results.begin()
        restore(Restorer(model, config, device), source, results)
    return 0


def restore(restorer: Restorer, source: Source, results: Results) -> None:
    """Restore what is missing, and write it."""
    from tqdm import tqdm

    numbers = results.missing(source.size)
    kept = len(results.share.of(results.part)) - len(numbers)
    if kept:
        print(f"{kept} frames are there already, {len(numbers)} are left")
    restored = restorer.restore(source, wanted=numbers) if numbers else iter(())
    with (
        results.writing(numbers) as write,
        tqdm(restored, "deblur", len(numbers), unit="frame", disable=results.share.rank > 0) as frames,
    ):
        for frame in frames:
            write(frame)
    cut = f", in {restorer.tiles}" if restorer.tiles else ""
    size = f"{source.size[1]}x{source.size[0]}"
    print(f"{len(numbers)} frames of {size} in {one_line(str(results.out))}{cut}")


if __name__ == "__main__":
    run_command(main)
