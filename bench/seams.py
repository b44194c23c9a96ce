"""`python -m bench.seams`: do tiles show? Tiled results beside those of whole frames, and a picture of both."""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikevrt import Restorer
from spikevrt.cli import command_parser, path, positive, run_command
from spikevrt.data.clips.clip import open_clip
from spikevrt.data.files.images import as_png, write_png
from spikevrt.errors import UserError
from spikevrt.restoration.sources import clip_source
from spikevrt.table import markdown_table
from spikevrt.weights import TINY

DESCRIPTION = """Restore the first frames of clips whole and in tiles, and compare.

  python -m bench.seams data/val/bikes --tile 128 --out difference.png

Prints, beyond 32 pixels of the border, the mean difference in grey levels of 255, and the gradient across seams (where
tiles begin or end) as a share of that elsewhere: of the whole result, of the tiled one, and their ratio, which is 1 if
no seam shows. The picture has the tiled result of a middle frame, and 16 times its difference from grey.
"""
BORDER = 32
AMPLIFIED = 16


class Seams(NamedTuple):
    """How a tiled result differs from a whole one."""

    difference: float
    """Mean absolute difference in grey levels of 255, beyond the border."""
    whole: float
    """Gradient across seams over that elsewhere, of the result without tiles."""
    tiled: float
    """The same of the result in tiles."""


def compared(whole: NDArray[np.float64], tiled: NDArray[np.float64], places: Sequence[Sequence[int]]) -> Seams:
    """Compare results (T,3,H,W) in [0,1]; `places` are the rows and the columns at which tiles begin or end."""
    inner = np.s_[..., BORDER:-BORDER, BORDER:-BORDER]
    difference = 255 * np.abs(tiled - whole)[inner].mean()
    return Seams(float(difference), *(across_seams(x, places) for x in (whole, tiled)))


def across_seams(x: NDArray[np.float64], places: Sequence[Sequence[int]]) -> float:
    """The mean gradient of x (T,3,H,W) across seams as a share of that elsewhere."""
    at, elsewhere = [], []
    for axis, seams in zip((-2, -1), places, strict=True):
        steps = np.abs(np.diff(x, axis=axis)).mean(tuple(i for i in range(4) if i != axis % 4))
        here = np.isin(np.arange(1, len(steps) + 1), seams)
        at += list(steps[here])
        elsewhere += list(steps[~here])
    return float(np.mean(at) / np.mean(elsewhere))


def restored(clip: Path, frames: int, weights: str, options: Sequence[str]) -> tuple[NDArray[np.float64], Restorer]:
    """The first frames (T,3,H,W) of a clip, restored, and by what."""
    restorer = Restorer.from_pretrained(weights, options, "cpu")
    data = restorer.config.data
    source = clip_source(open_clip(clip, data, False, restorer.needs_spikes), data)
    results = restorer.restore(source, wanted=range(min(frames, len(source))))
    return np.array([result.double().numpy() for result in results]), restorer


def measured(clip: Path, args: argparse.Namespace) -> tuple[Seams, NDArray[np.uint8]]:
    """Figures of a clip, and its picture (H,2W,3)."""
    whole, _ = restored(clip, args.frames, args.weights, ["TEST.TILE_SIZE=none"])
    tiled, restorer = restored(
        clip, args.frames, args.weights, [f"TEST.TILE_SIZE={args.tile}", f"TEST.TILE_OVERLAP={args.tile_overlap}"]
    )
    tiling = restorer.window.last
    if tiling is None or tiling.whole:
        raise UserError(f"{clip}: its frames are not larger than --tile {args.tile}; give a smaller one")
    places = [
        sorted({place for before, after in pairwise(spans) for place in (before.end, after.start)})
        for spans in (tiling.rows, tiling.columns)
    ]
    middle = len(whole) // 2
    shown = np.concatenate([tiled[middle], 0.5 + AMPLIFIED * (tiled[middle] - whole[middle])], -1)
    return compared(whole, tiled, places), (255 * shown.clip(0, 1)).round().astype(np.uint8).transpose(1, 2, 0)


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.seams", DESCRIPTION)
    parser.add_argument("clips", type=path, nargs="+", metavar="CLIP", help="folders of clips")
    parser.add_argument("--weights", default=TINY, help="a checkpoint or a name of weights")
    parser.add_argument("--tile", type=positive, default=128, help="largest side of a tile")
    parser.add_argument("--tile-overlap", type=positive, default=64, help="pixels that neighbours share at least")
    parser.add_argument("--frames", type=positive, default=4, help="how many are restored")
    parser.add_argument("--out", type=path, help="PNG file for the picture of the last clip")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all clips and print a table."""
    args = make_parser().parse_args(argv)
    out = as_png("--out", args.out) if args.out else None
    rows, picture = [], None
    for clip in args.clips:
        seams, picture = measured(clip, args)
        figures = (seams.difference, seams.whole, seams.tiled, seams.tiled / seams.whole)
        rows.append((clip.name, *(f"{figure:.3f}" for figure in figures)))
    print(markdown_table(("clip", "difference", "gradient, whole", "gradient, tiles", "ratio"), rows))
    if out and picture is not None:
        write_png(out, picture)
    return 0


if __name__ == "__main__":
    run_command(main)
