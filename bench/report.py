"""`python -m bench.report`: the results of the benchmarks as tables and a picture."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.results.chart import chart
from bench.results.rows import from_json, tables
from spikevrt.cli import command_parser, run_command
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import UserError

DESCRIPTION = """Print and draw the results of a benchmark run: time and memory by backend.

  pytest bench --benchmark-only --benchmark-json out.json
  python -m bench.report out.json                       # print the tables, write out.png
  python -m bench.report out.json --picture bench.png
"""


def make_parser() -> argparse.ArgumentParser:
    """All options with their defaults."""
    parser = command_parser("bench.report", DESCRIPTION)
    parser.add_argument("results", type=Path, metavar="JSON", help="what --benchmark-json wrote")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="where the picture goes (default: beside JSON)")
    return parser


def read_results(path: Path) -> dict[str, Any]:
    """Read the file of pytest-benchmark.

    Raises:
        UserError: it is not JSON.
    """
    try:
        document = json.loads(path.read_text())
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UserError(f"{path}: not a results file; make one with pytest bench --benchmark-only --benchmark-json")
    return document


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, and draw the picture."""
    args = make_parser().parse_args(argv)
    document = read_results(args.results)
    try:
        rows = from_json(document)
    except ValueError as error:
        raise UserError(f"{args.results}: {error}") from None
    notes = document.get("machine_info", {}).get("spikevrt", [])
    print("\n".join([*notes, "", *tables(rows)]))
    picture = args.picture or args.results.with_suffix(".png")
    with replacing(picture) as path:
        chart(rows, notes).save(path)
    print(f"picture: {picture}")
    return 0


if __name__ == "__main__":
    run_command(main)
