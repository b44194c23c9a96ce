"""`python -m spikevrt.prepare`: makes, links and checks data sets, and makes voxel caches."""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

from spikevrt.cli import (
    Parser,
    add_config_arguments,
    add_subcommand,
    add_subcommands,
    command_parser,
    from_arguments,
    path,
    positive,
    run_command,
    whole,
)
from spikevrt.config import DataConfig, load_config
from spikevrt.config.limits import LEAST_PIXELS, MOST_PIXELS
from spikevrt.data.preparation.names import DATASET_NAMES
from spikevrt.data.preparation.recipe import PHOTO_SIDE, Movement, Recipe
from spikevrt.data.simulation.arguments import add_interpolation, add_light, factor_of
from spikevrt.data.simulation.settings import MOST_SCALE, SpikeCamera
from spikevrt.errors import require_between

DESCRIPTION = """Make a data set of blurred frames, sharp frames and spikes; or check one.

  python -m spikevrt.prepare video bikes.mp4 --out data
  python -m spikevrt.prepare check data

python -m spikevrt.prepare COMMAND --help has the options of each.
"""
VIDEO = """Turn sharp video into blurred frames, sharp frames and simulated spikes.

  python -m spikevrt.prepare video bikes.mp4 --out data      # the first 70% trains, the last 20% is held out

SOURCE is a video file or a folder of consecutive sharp frames; its clip has the same name. Frames are cropped to
multiples of 8 pixels. With --split-by clip, each source is used either for training or for validation.

Blur and spikes come from the same sub-frames, which are rendered along the optical flow between two source frames. A
line says how long an exposure is and how fast the fastest motion; a warning, where it leaves gaps between sub-frames.
"""
PHOTOS = """Add training clips of moving photos: every sub-frame is rendered, none is interpolated.

  python -m spikevrt.prepare photos astronaut rocket --out data
  python -m spikevrt.prepare photos holiday/ portrait.jpg --out data

A photo is shifted, turned and zoomed along smooth paths; pieces of the other photos move before it, each on its own,
and hide it and each other; the camera shakes. NAME is a picture, a folder of pictures, or a photo of the scikit-image
package (pip install scikit-image); without NAME, all photos of that package are used.
"""
IMPORT = """Link a downloaded data set that was unpacked in FOLDER into the unified layout, and check it.

  python -m spikevrt.prepare import spk-gopro DOWNLOAD --out data

spk-gopro: GOPRO_Large/ beside GOPRO_Large_spike_seq/; choose blur or blur_gamma by DATA.BLUR_DIR
spk-x4k:   {split}_blurry_N, {split}_spike_2xds_N, {split}_fullRGB
sreds:     .dat and .png files of one stem
s-sdm:     GOPRO/{split}/spike_data/<clip>/

The check compares counts, names and sizes of the files, and whether spikes and frames show the same scene.
"""
VOXELS = """Make the voxel caches of a data set. They are optional: training can read the spike files themselves.

  python -m spikevrt.prepare voxels data --opts DATA.K=32

Valid cache files are kept; an interrupted run continues where it stopped.
"""
CHECK = """List what is wrong with a data set, file by file; the exit code is 2 if there is a problem.

  python -m spikevrt.prepare check data

It compares counts, names and sizes of the files, and whether spikes and frames show the same scene.
"""


MOST_THREADS = 1024


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add `--out` and the options that say how blurred frames and spikes are made."""
    recipe = Recipe()
    camera = recipe.camera
    parser.add_argument("--out", type=path, required=True, help="folder of the data set to write")
    parser.add_argument("--exposure", type=int, default=recipe.exposure, help="source frames per blurred frame")
    parser.add_argument("--stride", type=int, default=recipe.stride, help="source frames between starts of exposures")
    parser.add_argument("--theta", type=float, default=camera.theta, help="threshold of the spike camera")
    parser.add_argument(
        "--spike-scale", dest="scale", type=int, default=camera.scale, help="RGB pixels per spike pixel"
    )
    add_light(parser, camera)
    parser.add_argument("--noise", action="store_true", help="add spurious spikes")
    parser.add_argument(
        "--frame-noise",
        type=float,
        default=recipe.frame_noise,
        metavar="SIGMA",
        help="add Gaussian noise to the blurred frames: its standard deviation in grey levels (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=camera.seed, help="seed of the camera, the motion and the split")


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe from the options that `add_recipe` and `add_interpolation` add."""
    require_between(1, MOST_SCALE, "--spike-scale", args.scale)
    factor = factor_of(args, Recipe().camera)
    return from_arguments(Recipe, args, camera=from_arguments(SpikeCamera, args, flip=True, factor=factor))


def add_video(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `video`."""
    parser.add_argument("sources", nargs="+", type=path, metavar="SOURCE", help="a video file or a folder of frames")
    parser.add_argument("--start", type=positive, metavar="N", help="first frame of SOURCE to use, counted from 1")
    parser.add_argument("--end", type=positive, metavar="N", help="last frame of SOURCE to use (default: the last one)")
    add_recipe(parser)
    add_interpolation(parser, Recipe().camera)
    parser.add_argument(
        "--split-by", choices=("time", "clip"), default="time", help="split each source, or the sources"
    )
    parser.add_argument("--train", type=float, default=0.7, help="share of the time for training (--split-by time)")
    parser.add_argument("--val", type=float, default=0.2, help="share of the time or of the clips for validation")


def video(args: argparse.Namespace, data: DataConfig) -> int:
    """Run `video`."""
    from spikevrt.data.preparation.jobs import prepare_videos

    splits = data.train_split, data.val_split
    recipe, shares = recipe_of(args), (args.train, args.val)
    prepare_videos(args.sources, args.out, recipe, args.split_by, *shares, splits, args.start, args.end)
    return 0


def add_photos(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `photos`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="a picture, a folder or a photo's name")
    add_recipe(parser)
    camera = Recipe().camera
    parser.add_argument("--factor", type=int, help=f"spike frames per frame of a video (default: {camera.factor})")
    parser.set_defaults(interpolate=camera.interpolate)  # Only the rate matters: every sub-frame is rendered.
    usual = Movement()
    parser.add_argument("--layers", type=int, default=usual.layers, help="pieces of other photos that move before it")
    parser.add_argument("--speed", type=float, default=usual.speed, help="typical pixels from a sub-frame to the next")
    parser.add_argument("--rotation", type=float, default=usual.rotation, help="largest angle in degrees")
    parser.add_argument("--zoom", type=float, default=usual.zoom, help="largest share by which things change in size")
    parser.add_argument("--shake", type=float, default=usual.shake, help="typical shaking of the camera in pixels")
    parser.add_argument(
        "--size",
        type=whole(LEAST_PIXELS, MOST_PIXELS),
        default=PHOTO_SIDE,
        help="height and width of the clips in pixels",
    )
    parser.add_argument("--split", help="split to add the clips to (default: the training split)")


def photos(args: argparse.Namespace, data: DataConfig) -> int:
    """Run `photos`."""
    from spikevrt.data.preparation.jobs import prepare_photos

    split, movement = args.split or data.train_split, from_arguments(Movement, args)
    prepare_photos(args.out, args.names, recipe_of(args), split, movement, args.size)
    return 0


def add_import(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `import`."""
    parser.add_argument("dataset", choices=DATASET_NAMES, metavar="DATASET", help=", ".join(DATASET_NAMES))
    parser.add_argument("folder", type=path, metavar="FOLDER", help="folder in which the download was unpacked")
    parser.add_argument("--out", type=path, required=True, help="folder of the data set to make")


def import_download(args: argparse.Namespace, data: DataConfig) -> int:
    """Run `import`."""
    from spikevrt.data.preparation.jobs import import_dataset

    return import_dataset(args.dataset, args.folder, args.out, data)


def add_voxels(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `voxels`."""
    parser.add_argument("root", type=path, metavar="ROOT", help="folder of the data set")
    parser.add_argument("--workers", type=int, help="threads (default: one per core)")


def voxels(args: argparse.Namespace, data: DataConfig) -> int:
    """Run `voxels`."""
    from spikevrt.data.preparation.jobs import build_caches

    if args.workers is not None:
        require_between(1, MOST_THREADS, "--workers", args.workers)
    return build_caches(args.root, data, args.workers)


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.add_argument("root", type=path, metavar="ROOT", help="folder of the data set")


def check(args: argparse.Namespace, data: DataConfig) -> int:
    """Run `check`."""
    from spikevrt.data.preparation.jobs import check_tree

    return check_tree(args.root, data)


class Job(NamedTuple):
    """One sub-command."""

    help: str
    """Its line in the list of all sub-commands."""
    description: str
    add: Callable[[argparse.ArgumentParser], None]
    """Adds its arguments, without those of the configuration."""
    run: Callable[[argparse.Namespace, DataConfig], int]
    """Runs it and returns the exit code."""


JOBS = {
    "video": Job("make a data set from sharp video", VIDEO, add_video, video),
    "photos": Job("add training clips of moving photos", PHOTOS, add_photos, photos),
    "import": Job("link a downloaded data set", IMPORT, add_import, import_download),
    "voxels": Job("make voxel caches of a data set (optional)", VOXELS, add_voxels, voxels),
    "check": Job("list what is wrong with a data set", CHECK, add_check, check),
}
"""The sub-commands by name."""


def make_parser() -> Parser:
    """A parser with all sub-commands, their options and defaults."""
    parser = command_parser("spikevrt.prepare", DESCRIPTION)
    commands = add_subcommands(parser)
    for name, job in JOBS.items():
        below = add_subcommand(commands, name, job.help, job.description)
        job.add(below)
        add_config_arguments(below, backend=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and run the sub-command."""
    args = make_parser().parse_args(argv)
    return JOBS[args.command].run(args, load_config(args.config, args.opts).data)


if __name__ == "__main__":
    run_command(main)
