"""`python -m spikevrt.identify`: finds out what an unknown spike recording is."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from spikevrt.cli import command_parser, file_to_write, path, require_unread, run_command
from spikevrt.config.data import SPIKE_FORMATS
from spikevrt.config.limits import MOST_PIXELS
from spikevrt.errors import one_line, require_between

DESCRIPTION = """Say what an unknown spike recording is: size, geometry, firing rate, and pictures to look at.

  python -m spikevrt.identify recording.dat                        # ranks every geometry that fits
  python -m spikevrt.identify recording.dat --picture sharp.png    # and says whether its rows are upside down
  python -m spikevrt.identify recording.dat --height 360 --width 640

A .dat file has no header: it holds one frame after the other, one bit per pixel, least significant bit first. The score
(0 to 1) measures how much the frames look like one picture under a geometry: how well neighbouring pixels agree when
noise is removed. A vertical flip does not change it, so the flip is reported only if --picture is given.

The PNG shows the TFP picture (mean of 41 spike frames: brightness), the TFI picture (1 / distance of the spikes before
and after the middle: sharper, noisier) and the firing rate over time.
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
