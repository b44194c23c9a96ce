"""`python -m spikevrt.identify`: finds out what an unknown spike recording is."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from spikevrt.cli import command_parser, file_to_write, path, require_unread, run_command
from spikevrt.config.data import SPIKE_FORMATS
from spikevrt.config.limits import MOST_PIXELS
from spikevrt.data.spikes.methods import TFI, TFP, WINDOWS
from spikevrt.errors import one_line, require_between

DESCRIPTION = f"""Say what an unknown spike recording is: size, geometry, firing rate, and pictures to look at.

  python -m spikevrt.identify recording.dat                        # ranks every geometry that fits
  python -m spikevrt.identify recording.dat --picture sharp.png    # and says whether its rows are upside down
  python -m spikevrt.identify recording.dat --height 360 --width 640

A .dat file has no header: it holds one frame after the other, one bit per pixel, least significant bit first. So every
height and width that divide its size could be right, and most show nothing but shifted rows. The score finds the one
that shows a picture:

  In a picture, a pixel is about as bright as its neighbours; in rows that are shifted against each other, it is not.
  The score is the correlation of neighbours, beside or below each other, whichever is less. The neighbour is taken from
  other spike frames, whose noise is independent, so that noise lowers no score.

  about 1     the frames show one smooth picture: the geometry is right
  0.3 to 0.8  parts of a picture fall onto each other: often a multiple of the right height or width
  about 0     noise: a wrong geometry, or no spike recording

identify says whether it is sure: of a high score that is clearly above the next one. A vertical flip does not change
the score, so the flip is reported only if --picture is given. An .npz states its size itself, and gets no score.

The PNG shows two pictures of the middle of the recording, and the firing rate over time:

  TFP, texture from playback   the mean of {WINDOWS[TFP]} spike frames: little noise, but it blurs what moves
  TFI, texture from interval   by the time between a pixel's spikes, over {WINDOWS[TFI]} frames: sharper where it moves

spikevrt.playback makes such pictures of a whole recording, as PNGs or as a video.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.identify", DESCRIPTION)
    parser.add_argument("file", type=path, metavar="FILE", help="a .dat or .npz recording")
    parser.add_argument("--height", type=int, help="pixel rows of a stored frame, if known")
    parser.add_argument("--width", type=int, help="pixels per stored row, if known")
    parser.add_argument("--format", choices=SPIKE_FORMATS, help="packed bits or one byte per pixel, if known")
    parser.add_argument("--picture", type=path, metavar="GT", help="a picture of the scene, halfway through FILE")
    parser.add_argument(
        "--out", type=file_to_write, metavar="PNG", help="PNG to write (default: ./NAME.identified.png)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and print the report."""
    args = make_parser().parse_args(argv)
    for name in ("height", "width"):
        value = getattr(args, name)
        if value is not None:
            require_between(1, MOST_PIXELS, f"--{name}", value)
    from spikevrt.data.files.images import as_png
    from spikevrt.data.files.stems import name_of
    from spikevrt.data.identification.report import identify

    png = as_png("--out", args.out or Path(f"{name_of(args.file)}.identified.png"))
    require_unread("--out", png, (args.file, args.picture))
    for line in identify(args.file, args.height, args.width, args.format, args.picture, png):
        print(one_line(line))
    return 0


if __name__ == "__main__":
    run_command(main)
