"""`python -m spikevrt.prepare`: video into the unified layout, checks of a layout, voxel caches."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from spikevrt.cli import add_config_arguments, command_parser, config_from_arguments, from_arguments, run_command
from spikevrt.data.preparation.downloads import DATASETS
from spikevrt.data.preparation.jobs import build_caches, check_tree, import_dataset, prepare_photos, prepare_videos
from spikevrt.data.preparation.recipe import Recipe
from spikevrt.data.simulation.camera import SpikeCamera
from spikevrt.errors import UserError, require_at_least

DESCRIPTION = """Turn sharp video into blurred frames, sharp frames and spikes; or check such a data set.

  python -m spikevrt.prepare video.mp4 --out data                 # first 70% trains, last 20% is held out
  python -m spikevrt.prepare a.mp4 b.mp4 frames/ --out data --split-by clip
  python -m spikevrt.prepare --photos --out data                  # moved scikit-image photos, for training
  python -m spikevrt.prepare --import spk-gopro DOWNLOAD --out data
  python -m spikevrt.prepare --check data                         # what is wrong, file by file
  python -m spikevrt.prepare --voxels data --opts DATA.K=32       # voxel caches (optional)

A source is a video file or a folder of consecutive sharp frames. Frames are cropped to multiples of 8 pixels.

--import links a data set as it is unpacked: spk-gopro (GOPRO_Large/ beside GOPRO_Large_spike_seq/; choose blur or
blur_gamma by DATA.BLUR_DIR), spk-x4k ({split}_blurry_N, {split}_spike_2xds_N, {split}_fullRGB), sreds (.dat and .png of
one stem), s-sdm (GOPRO/{split}/spike_data/<clip>/). Then it is checked: counts, stems, sizes, and whether the spikes
show what the frames show.
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    recipe = Recipe()
    camera = recipe.camera
    parser = command_parser("spikevrt.prepare", DESCRIPTION)
    parser.add_argument("sources", nargs="*", type=Path, metavar="SOURCE", help="video files or folders of frames")
    parser.add_argument("--out", type=Path, help="root of the data set to write")
    parser.add_argument(
        "--photos", nargs="*", metavar="NAME", help="add clips of moved scikit-image photos (all of them without names)"
    )
    parser.add_argument("--photo-split", metavar="SPLIT", help="where they go (default: the training split)")
    parser.add_argument("--check", type=Path, metavar="ROOT", help="check an existing tree and exit")
    parser.add_argument(
        "--import", dest="dataset", choices=DATASETS, help="link a downloaded data set, named by SOURCE"
    )
    parser.add_argument("--voxels", type=Path, metavar="ROOT", help="make the voxel caches of an existing tree")
    parser.add_argument("--workers", type=int, help="threads of --voxels (default: one a core)")
    parser.add_argument("--factor", type=int, default=camera.factor, help="sub-frames between source frames")
    parser.add_argument("--exposure", type=int, default=recipe.exposure, help="source frames in a blurred frame")
    parser.add_argument("--stride", type=int, default=recipe.stride, help="source frames between blurred frames")
    parser.add_argument("--theta", type=float, default=camera.theta, help="threshold of the spike camera")
    parser.add_argument(
        "--spike-scale", dest="scale", type=int, default=camera.scale, help="RGB pixels per spike pixel"
    )
    parser.add_argument("--linear-light", action="store_true", help="average light instead of pixel values")
    parser.add_argument("--noise", action="store_true", help="spurious spikes")
    parser.add_argument("--seed", type=int, default=camera.seed)
    parser.add_argument("--split-by", choices=("time", "clip"), default="time")
    parser.add_argument("--train", type=float, default=0.7, help="share of the time that trains")
    parser.add_argument("--val", type=float, default=0.2, help="share of the time, or of the clips, held out")
    add_config_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run the jobs asked for."""
    args = make_parser().parse_args(argv)
    data = config_from_arguments(args).data
    if args.check:
        return check_tree(args.check, data)
    if args.voxels:
        if args.workers is not None:
            require_at_least(1, "--workers", args.workers)
        return build_caches(args.voxels, data, args.workers)
    if args.dataset:
        if not args.out or len(args.sources) != 1:
            raise UserError("--import: name the one folder of the download, and --out")
        return import_dataset(args.dataset, args.sources[0], args.out, data)
    if not args.out or not (args.sources or args.photos is not None):
        raise UserError("nothing to do: name sources (or --photos, --import) and --out, or --check or --voxels ROOT")
    require_at_least(1, "--spike-scale", args.scale)
    recipe = from_arguments(Recipe, args, camera=from_arguments(SpikeCamera, args, flip=True))
    splits = (data.train_split, data.val_split)
    if args.sources:
        prepare_videos(args.sources, args.out, recipe, args.split_by, args.train, args.val, splits)
    if args.photos is not None:
        prepare_photos(args.out, args.photos, recipe, args.photo_split or splits[0])
    return 0


if __name__ == "__main__":
    run_command(main)
