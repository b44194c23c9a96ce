"""`python -m spikevrt.simulate`: simulates the spikes that a camera would have recorded of a video."""

import argparse
from collections.abc import Sequence

from spikevrt.cli import command_parser, from_arguments, path, run_command
from spikevrt.data.simulation.arguments import add_interpolation, add_light, factor_of
from spikevrt.data.simulation.settings import SpikeCamera
from spikevrt.errors import one_line, warn

DESCRIPTION = """Simulate a spike camera that watches a video: A += I / 255; fire where A >= theta; A -= theta.

  python -m spikevrt.simulate video.mp4 --out spikes                    # 8 spike frames per video frame
  python -m spikevrt.simulate frames/ --out spikes --scale 2 --theta 1  # half the resolution, twice the spikes
  python -m spikevrt.simulate fast/ --out spikes --interpolate none     # SOURCE has a spike camera's frame rate

SOURCE is a video file or a folder of sharp frames. The folder --out receives one packed recording.dat, its config.yaml
(spike_h, spike_w) and a windows.csv with the spike frames of every video frame, as deblur --spikes reads them. The
spike frames of a video frame reach to the next one; the last video frame stands still for its own. spikevrt.prepare
uses the same simulator to make whole data sets, with blurred and sharp frames.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    camera = SpikeCamera()
    parser = command_parser("spikevrt.simulate", DESCRIPTION)
    parser.add_argument("source", type=path, metavar="SOURCE", help="a video file, or a folder of sharp frames")
    parser.add_argument("--out", type=path, required=True, help="folder to make")
    parser.add_argument("--theta", type=float, default=camera.theta, help="threshold; white fires once per theta steps")
    parser.add_argument("--noise", action="store_true", help="add spurious spikes at Gaussian intervals (140, 50)")
    parser.add_argument("--scale", type=int, default=camera.scale, help="RGB pixels per spike pixel, along each axis")
    add_light(parser, camera)
    add_interpolation(parser, camera)
    parser.add_argument("--seed", type=int, default=camera.seed, help="seed of the initial charge and the noise")
    parser.add_argument(
        "--no-flip",
        dest="flip",
        action="store_false",
        help="store row 0 first (default: rows upside down, as cameras do)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, simulate, and print the firing rate next to the expected one."""
    args = make_parser().parse_args(argv)
    camera = from_arguments(SpikeCamera, args, factor=factor_of(args, SpikeCamera()))
    from tqdm import tqdm

    from spikevrt.data.files.video import count_frames, exactly, frame_names, read_frames
    from spikevrt.data.simulation.motion import Motion
    from spikevrt.data.simulation.recording import record

    count, stems = count_frames(args.source), frame_names(args.source)
    read = exactly(read_frames(args.source), count, args.source)
    motion = Motion()
    with tqdm(read, "simulate", count, unit="frame") as frames:
        made = record(frames, lambda i: stems[i] if stems else f"{i + 1:06}", args.out, camera, motion)
    print(f"{one_line(str(args.out))}: {made.frames} spike frames of {made.size[0]}x{made.size[1]}{motion.line()}")
    if warning := motion.warning(camera):
        warn(args.source, warning)
    note = " (without the noise)" if camera.noise else ""
    print(f"firing rate {made.rate:.6f}, from the brightness {made.expected:.6f}{note}")
    return 0


if __name__ == "__main__":
    run_command(main)
