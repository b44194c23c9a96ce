"""`python -m spikevrt.deblur`: restores sharp frames from blurred frames and their spikes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spikevrt.cli import (
    add_config_arguments,
    add_prove_again,
    add_tiles,
    command_parser,
    config_options,
    measure,
    path,
    require_unread,
    run_command,
    tile_options,
)
from spikevrt.errors import UserError, one_line, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from spikevrt.config import DataConfig
    from spikevrt.restoration.sources import Source

VIDEOS = (".mp4", ".mkv", ".mov", ".avi")
DESCRIPTION = """Restore a clip of any length and size.

  python -m spikevrt.deblur clip/ --checkpoint runs/first/best.pt --out sharp/        # a clip of the unified layout
  python -m spikevrt.deblur frames/ --spikes spikes/ --checkpoint best.pt --out sharp/
  python -m spikevrt.deblur blurred.mp4 --spikes spikes/ --checkpoint best.pt --out sharp.mp4
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
    trained.add_argument("--checkpoint", type=path, help="a model trained by this project")
    trained.add_argument(
        "--weights", dest="checkpoint", type=path, help="published VRT weights (.pth), or others with --config"
    )
    parser.add_argument("--out", type=path, required=True, help=f"a folder for PNGs, or a file ({', '.join(VIDEOS)})")
    parser.add_argument(
        "--fps", type=measure(1000), help="frames per second of --out (default: INPUT's times, else 24)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist at --out")
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
    if args.out.suffix.lower() not in VIDEOS:
        if given:
            raise UserError(f"{given[0]}: is for a video, and --out is a folder; name a video ({', '.join(VIDEOS)})")
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


@contextmanager
def open_output(args: argparse.Namespace, source: Source) -> Iterator[Callable[[Tensor], None]]:
    """Accept restored frames (3,H,W) in [0,1] in order; a video appears once it is complete, PNGs appear one by one."""
    from spikevrt.data.files.images import write_png
    from spikevrt.data.files.video import warn_of_pixel_aspect
    from spikevrt.data.files.video_writing import CRF, Quality, video_writer
    from spikevrt.restoration.comparison import to_bytes

    out: Path = args.out
    require_unread("--out", out, [source.frames])
    is_video = out.suffix.lower() in VIDEOS
    taken = out.exists() if is_video else out.is_dir() and any(out.glob("*.png"))
    if taken and not args.overwrite:
        raise UserError(f"{out}: holds results already; name another --out, or give --overwrite")
    if is_video:
        crf = CRF if args.crf is None else args.crf
        quality = Quality(crf, half_chroma=args.chroma == "420", lossless=args.lossless)
        with video_writer(out, args.fps, source.frames, quality) as write:
            yield lambda frame: write(to_bytes(frame))
        return
    if out.is_file():
        raise UserError(f"{out}: is a file; --out names a folder, or a video ({', '.join(VIDEOS)})")
    warn_of_pixel_aspect(source.frames)
    names = iter(source.names)
    to_pixels = to_words if args.png_depth == 16 else to_bytes
    yield lambda frame: write_png(out / f"{next(names)}.png", to_pixels(frame))


def to_words(frame: Tensor) -> NDArray[np.uint16]:
    """Convert (3,H,W) in [0,1] to uint16 (H,W,3), rounded."""
    return (frame.clamp(0, 1) * 65535).round().permute(1, 2, 0).numpy().astype("uint16")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, restore the clip and write it."""
    args = make_parser().parse_args(argv)
    require_fitting_quality(args)
    from tqdm import tqdm

    from spikevrt.models import load_trained_model
    from spikevrt.models.backends.choose import forget_choices
    from spikevrt.restoration.stream import Restorer
    from spikevrt.system.device import choose_device, settle_float32

    if args.prove_again:
        forget_choices()
    device = choose_device(args.device)
    settle_float32()
    model, config = load_trained_model(
        args.checkpoint, [*config_options(args), *tile_options(args)], args.config, device
    )
    source = open_source(args, config.data, config.model.use_spike)
    restored = Restorer(model, config, device).restore(source)
    with open_output(args, source) as write, tqdm(restored, "deblur", len(source), unit="frame") as frames:
        for frame in frames:
            write(frame)
    print(f"{len(source)} frames of {source.size[1]}x{source.size[0]} in {one_line(str(args.out))}")
    return 0


if __name__ == "__main__":
    run_command(main)
