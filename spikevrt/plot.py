"""`python -m spikevrt.plot`: draws the curves of training runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikevrt.cli import command_parser, file_to_write, path, require_unread, run_command
from spikevrt.errors import UserError, one_line, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    Rows = Sequence[Mapping[str, Any]]

DESCRIPTION = """Draw loss, validation and speed of one or several runs over their steps.

  python -m spikevrt.plot runs/first                        # writes runs/first/curves.png
  python -m spikevrt.plot runs/rgb runs/spikes --out curves.png
  python -m spikevrt.plot runs/first --values loss grad_norm lr psnr

A run is the folder of TRAIN.OUTPUT_DIR, while it runs or afterwards. Needs matplotlib: pip install spikevrt[plot]
"""
VALUES = ("loss", "psnr", "ssim", "seconds")
BLURRED_STYLE: dict[str, Any] = {"linestyle": ":", "alpha": 0.7}
"""The blurred input, beside the model that has to surpass it."""
TITLES = {
    "loss": "loss",
    "psnr": "PSNR of validation (dB); dotted: blurred input",
    "ssim": "SSIM of validation; dotted: blurred input",
    "seconds": "seconds a step",
    "grad_norm": "norm of the gradient",
    "lr": "learning rate",
    "wait_share": "share of time that waits for data",
    "memory_gib": "memory (GiB)",
    "skipped": "skipped steps",
}
WIDTH, HEIGHT, COLUMNS = 6.0, 3.6, 2
"""Inches of a diagram, and diagrams side by side."""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("spikevrt.plot", DESCRIPTION)
    parser.add_argument("runs", nargs="+", type=path, metavar="RUN", help="folders of runs")
    parser.add_argument(
        "--out", type=file_to_write, metavar="PNG", help="picture to write (default: curves.png in the first run)"
    )
    parser.add_argument(
        "--values",
        nargs="+",
        choices=TITLES,
        default=VALUES,
        metavar="VALUE",
        help=f"what to draw, out of {', '.join(TITLES)} (default: {' '.join(VALUES)})",
    )
    return parser


def read_run(folder: Path) -> Rows:
    """The rows of a run's log.

    Raises:
        UserError: there is none, or it is empty.
    """
    from spikevrt.training.run_log import LOG_NAME, read_rows

    if not (folder / LOG_NAME).is_file():
        raise UserError(f"{folder}: holds no {LOG_NAME}; name the folder of a run (TRAIN.OUTPUT_DIR)")
    rows = [row for row, _ in read_rows(folder / LOG_NAME)[0]]
    if not rows:
        raise UserError(f"{folder / LOG_NAME}: no step has been logged yet; try again later")
    return rows


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """Runs by their names, or by their whole paths where names are equal."""
    names = [folder.resolve().name for folder in folders]
    return {n if names.count(n) == 1 else str(f): f for n, f in zip(names, folders, strict=True)}


def draw(axes: Axes, value: str, runs: Mapping[str, Rows]) -> None:
    """Draw one value of all runs."""
    from spikevrt.restoration.metrics import BLURRED

    axes.set_title(TITLES[value], fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.grid(alpha=0.3)
    lines: dict[str, Line2D] = {}
    for number, (name, rows) in enumerate(runs.items()):
        colour = f"C{number}"
        for key, style in ((BLURRED + value, BLURRED_STYLE), (value, {})):
            points = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), int | float)]
            if points:
                marker = "." if len(points) < 30 else None
                (lines[name],) = axes.plot(*zip(*points, strict=True), color=colour, marker=marker, **style)
    if lines:
        # Names are no formulas, and may begin with an underscore, which would hide a label.
        for text in axes.legend(list(lines.values()), list(map(shown, lines)), fontsize=8).get_texts():
            text.set_parse_math(False)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, draw and write the picture."""
    args = make_parser().parse_args(argv)
    from spikevrt.data.files.atomic import replacing
    from spikevrt.data.files.images import as_png
    from spikevrt.training.run_log import LOG_NAME

    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("curves need matplotlib: pip install matplotlib") from None
    folders = named(args.runs)
    runs = {name: read_run(folder) for name, folder in folders.items()}
    out = as_png("--out", args.out or args.runs[0] / "curves.png")
    require_unread("--out", out, [folder / LOG_NAME for folder in args.runs])
    rows = -(-len(args.values) // COLUMNS)
    figure = Figure((COLUMNS * WIDTH, rows * HEIGHT), layout="constrained")
    cells = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for value, axes in zip(args.values, cells, strict=False):
        draw(axes, value, runs)
    for axes in list(cells)[len(args.values) :]:
        axes.set_axis_off()
    with replacing(out) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    print(f"{len(runs)} runs in {one_line(str(out))}")
    return 0


if __name__ == "__main__":
    run_command(main)
