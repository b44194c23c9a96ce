"""`python -m spikevrt.playback`: makes pictures or a video from spikes alone."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from spikevrt.cli import (
    VIDEOS,
    add_config_arguments,
    command_parser,
    frame_rate,
    measure,
    names_video,
    path,
    pngs_in,
    positive,
    require_unread,
    run_command,
    whole,
)
from spikevrt.data.spikes.methods import LARGEST_WINDOW, STEP, WINDOWS
from spikevrt.errors import UserError, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikevrt.config import DataConfig
    from spikevrt.data.spikes.playback import Playback

FPS = 24
"""Pictures per second of a video."""
DESCRIPTION = f"""Make pictures from spikes alone: of a whole recording, as PNGs or as a video.

  python -m spikevrt.playback recording.dat --out pictures/           # a PNG every {STEP} spike frames
  python -m spikevrt.playback recording.dat --out slow.mp4            # the same as a video, {FPS} pictures a second
  python -m spikevrt.playback recording.dat --out slow.mp4 --time --spike-rate 20000     # with the time in ms
  python -m spikevrt.playback recording.dat --out sharp.mp4 --method tfi --step 10       # what moves fast
  python -m spikevrt.playback night.npz --out night.mp4 --window 200                     # what is dark
  python -m spikevrt.playback recording.dat --out real.mp4 --step 800 --fps 25           # real time at 20000 a second

RECORDING is a .dat or .npz file, a folder of them, which are played in the order of their names, or a clip with such a
folder. The size of the spike frames comes from a config.yaml in that folder (spike_h, spike_w), from the .npz, or from
--opts DATA.SPIKE_HEIGHT=... DATA.SPIKE_WIDTH=...; python -m spikevrt.identify finds it and prints these options.

The first picture shows the first --window spike frames, each further one begins --step later. What makes the picture:

  tfp  texture from playback: the mean of the spikes. A longer window has less noise and more greys, and blurs what
       moves.
  tfi  texture from interval: by the time between the spikes of a pixel, from the last one before the window to the
       first one behind it. Sharper where things move, as its window is shorter: where it is dark, one interval is
       enough; where it is bright, all that touch the window are averaged. --window 1 is the classical TFI, which has
       few greys where it is bright.

A video takes (spike frames a second) / (--step * --fps) times as long as what it shows: at 20000 spike frames a second,
--step {STEP} and --fps {FPS} are 20 times slower. For real time, take --step = (spike frames a second) / --fps.

Pictures are upright if DATA.SPIKE_FLIP is right. It is true unless you set it (cameras store the last row first), but
false for .npz files, most of which hold the first row first; the command says which. Brightness is linear in the firing
rate; white is the rate that 0.5% of the pixels exceed in the brightest of a few pictures, the same for all pictures.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.playback", DESCRIPTION)
    parser.add_argument("recording", type=path, metavar="RECORDING", help="a .dat or .npz file, or a folder of them")
    parser.add_argument(
        "--out",
        type=path,
        required=True,
        metavar="DIR|VIDEO",
        help=f"a folder for PNGs, or a file ({', '.join(VIDEOS)})",
    )
    parser.add_argument("--method", choices=tuple(WINDOWS), default="tfp", help="how spikes become a picture")
    usual = ", ".join(f"{window} for {method}" for method, window in WINDOWS.items())
    parser.add_argument(
        "--window", type=whole(1, LARGEST_WINDOW), help=f"spike frames that one picture shows (default: {usual})"
    )
    parser.add_argument("--step", type=positive, default=STEP, help="spike frames from one picture to the next")
    parser.add_argument("--fps", type=frame_rate, help=f"pictures per second of a video (default: {FPS})")
    parser.add_argument(
        "--time", action="store_true", help="write the time of its window's middle into each picture, in ms"
    )
    parser.add_argument(
        "--spike-rate",
        type=measure(),
        metavar="HZ",
        help="spike frames per second of the camera, for --time and to say how slow a video is (default: "
        "DATA.RECORDING.SPIKE_RATE)",
    )
    parser.add_argument(
        "--white", type=measure(1), metavar="RATE", help="firing rate of white, up to 1 (default: from the recording)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist at --out")
    add_config_arguments(parser, default=None, backend=False)
    return parser


def read_data(args: argparse.Namespace) -> DataConfig:
    """The DATA section; for `.npz` files alone, DATA.SPIKE_FLIP is false unless somebody says otherwise."""
    from spikevrt.config import load_config
    from spikevrt.data.spikes.geometry import only_arrays
    from spikevrt.data.spikes.playback import recordings_at

    data = load_config(args.config or "default", args.opts).data
    if args.config is None and only_arrays(recordings_at(args.recording, data)):
        return load_config("default", ["DATA.SPIKE_FLIP=false", *args.opts]).data
    return data


@contextmanager
def open_output(args: argparse.Namespace, is_video: bool) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Accept pictures (H,W) in order; a video appears once it is complete, PNGs appear one by one."""
    import numpy as np

    from spikevrt.data.files.images import write_png
    from spikevrt.data.files.video_writing import video_writer

    out: Path = args.out
    if is_video:
        with video_writer(out, args.fps or FPS) as write:
            yield lambda picture: write(np.repeat(picture[..., None], 3, axis=2))
        return
    names = (f"{number:06}.png" for number in count(1))
    yield lambda picture: write_png(out / next(names), picture)


def require_meaning(args: argparse.Namespace, is_video: bool, rate: float | None) -> None:
    """Raise a `UserError` for options that cannot do what they are for."""
    if args.fps and not is_video:
        raise UserError(f"--fps {args.fps:g}: PNGs have no pace; leave it out, or let --out name a video")
    if args.time and rate is None:
        raise UserError("--time: needs to know how many spike frames the camera takes a second; give --spike-rate (HZ)")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, make the pictures, and say what they show."""
    args = make_parser().parse_args(argv)
    is_video = names_video(args.out, args.overwrite)
    from tqdm import tqdm

    from spikevrt.data.files.images import with_text
    from spikevrt.data.spikes.playback import open_playback
    from spikevrt.data.spikes.tfp import as_picture

    data = read_data(args)
    rate = args.spike_rate or data.recording.spike_rate
    require_meaning(args, is_video, rate)
    playback = open_playback(args.recording, data, args.method, args.window, args.step)
    require_unread("--out", args.out, [args.recording, *(file.path for file in playback.files)])
    white = args.white or playback.white()
    with (
        open_output(args, is_video) as write,
        tqdm(playback.pictures(), "playback", len(playback), unit="picture") as pictures,
    ):
        for middle, firing in pictures:
            picture = as_picture(firing, white)
            write(with_text(picture, in_ms(middle, rate)) if args.time and rate else picture)
    print("\n".join(summary(args, playback, is_video, rate, white)))
    return 0


def in_ms(spike_frames: float, rate: float) -> str:
    """A time as text, with as many decimals as tell one spike frame from the next."""
    decimals = max(0, math.ceil(math.log10(rate / 1000)))
    return f"{spike_frames / rate * 1000:.{decimals}f} ms"


def summary(
    args: argparse.Namespace, playback: Playback, is_video: bool, rate: float | None, white: float
) -> Iterator[str]:
    """Lines that say what was made, and what to do where it does not look right."""
    geometry = playback.files[0].geometry
    yield f"{len(playback)} pictures of {geometry.width}x{geometry.height} in {one_line(str(args.out))}"
    others = 0 if is_video else pngs_in(args.out) - len(playback)
    if others:
        yield f"that folder also holds {others} PNGs that were there before; remove them if they are of another run"
    yield (
        f"{args.method}, {playback.window} spike frames a picture, {playback.step} from one to the next; white fires "
        f"{white:.4f} times a spike frame"
    )
    if len(playback.files) > 1:
        yield f"{len(playback.files)} recordings, in the order of their names, as if there were no gaps between them"
    if is_video and rate:
        yield f"the video takes {rate / (args.fps or FPS) / playback.step:.3g} times as long as what it shows"
    flip = f"DATA.SPIKE_FLIP={str(geometry.flip).lower()}"
    other = f"DATA.SPIKE_FLIP={str(not geometry.flip).lower()}"
    assumed = " (other commands need this option)" if not geometry.flip else ""
    yield f"read with {flip}{assumed}; if the pictures are upside down, give --opts {other}"


if __name__ == "__main__":
    run_command(main)
