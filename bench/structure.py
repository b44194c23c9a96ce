"""`python -m bench.structure`: figures of the source tree, of this checkout or of another one."""

import io
import json
import tokenize
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bench.source_tree.functions import SHARED, Function, functions, shared_pairs
from bench.source_tree.layers import LAYERS, circular_arrows, folder_of, parts_without_layer, upward_imports
from spikevrt.cli import command_parser, run_command
from spikevrt.errors import UserError
from spikevrt.table import format_table

DESCRIPTION = """Print figures of the structure: sizes, parameter lists, repeated lines, imports, types, words.

  python -m bench.structure                    # this checkout
  python -m bench.structure ../other --json    # another one, for a program
  python -m bench.structure --pairs            # also the pairs of functions that repeat lines

Tests are left out. Three figures with slashes are median, 90th percentile and maximum. A kernel is a function that
Triton or Numba compiles; every other function is a host function. Two functions share lines where their texts (with
signature and docstring, without indentation and blank lines) have six or more equal lines in a row. An upward import
breaks the layers of bench/source_tree/layers.py. An arrow in a circle is an import between two parts of a package
that reach each other by imports; it needs no layers, so it also compares checkouts whose parts have other names.
"""
PACKAGES = ("spikevrt", "spikevrt_kernels", "bench")
HERE = Path(__file__).resolve().parents[1]
LISTS_SHOWN = 5
"""Parameter lists that are shown."""
DIRECTIVES = ("# type:", "# fmt:", "# noqa")
"""Comments for tools."""


def figures(root: Path, packages: Sequence[str]) -> dict[str, Any]:
    """The figures of some packages together."""
    texts = {path: path.read_text() for name in packages for path in sorted(folder_of(root, name).rglob("*.py"))}
    sizes = [len(text.splitlines()) for text in texts.values()]
    found = [one for path in texts for one in functions(path, root)]
    host = [one for one in found if not one.kernel]
    public = [one for one in host if not one.nested and not one.name.startswith("_")]
    layered = [name for name in LAYERS if name.split(".")[0] in packages]
    return {
        "files": len(sizes),
        "lines": sum(sizes),
        "files per 1,000 lines": percent(len(sizes), sum(sizes), 1000),
        "lines of a file": spread(sizes),
        "lines of a host function": spread([one.size for one in host]),
        "lines of a kernel": spread([one.size for one in found if one.kernel]),
        "longest parameter list": max((one.parameters for one in host), default=0),
        f"pairs that share {SHARED} lines": len(shared_pairs(found)),
        "upward imports": sum(len(upward_imports(root, name)) for name in layered),
        "parts without a layer": sum(len(parts_without_layer(root, name)) for name in layered),
        "arrows in circles": sum(len(circular_arrows(root, name)) for name in layered),
        "typed host functions, %": percent(sum(one.typed for one in host), len(host)),
        "public functions with docstring, %": percent(sum(one.documented for one in public), len(public)),
        "comment lines, %": percent(sum(map(comment_lines, texts.values())), sum(sizes)),
    }


def percent(part: int, whole: int, unit: int = 100) -> float:
    """A part in units of the whole; 0 of nothing."""
    return round(unit * part / whole, 1) if whole else 0.0


def comment_lines(text: str) -> int:
    """Lines with a comment for people."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(t.type == tokenize.COMMENT and not t.string.startswith(DIRECTIVES) for t in tokens)


def spread(sizes: Sequence[int]) -> list[int]:
    """Median, 90th percentile and maximum; nothing of nothing."""
    if len(sizes) < 2:
        return [*sizes] * 3
    return [round(x) for x in (median(sizes), quantiles(sizes, n=10, method="inclusive")[-1], max(sizes))]


def longest_parameter_lists(found: Sequence[Function]) -> list[dict[str, Any]]:
    """The host functions with the most parameters."""
    host = sorted((one for one in found if not one.kernel), key=lambda one: -one.parameters)
    return [{"parameters": one.parameters, "name": one.name, "place": one.place} for one in host[:LISTS_SHOWN]]


def figures_and_lists(root: Path) -> dict[str, Any]:
    """Everything that is printed, as plain values."""
    columns = {name: figures(root, [name]) for name in PACKAGES} | {"all": figures(root, PACKAGES)}
    paths = (path for name in PACKAGES for path in sorted(folder_of(root, name).rglob("*.py")))
    found = [one for path in paths for one in functions(path, root)]
    pairs = [{"lines": size, "pair": [f"{one.place} {one.name}" for one in two]} for size, *two in shared_pairs(found)]
    return {"figures": columns, "longest parameter lists": longest_parameter_lists(found), "pairs": pairs}


def text_of(found: dict[str, Any], pairs: bool) -> str:
    """The figures_and_lists for people."""
    columns = found["figures"]
    rows = [[name, *(cell(column[name]) for column in columns.values())] for name in columns["all"]]
    lines = [format_table(("", *columns), rows), "", "longest parameter lists of host functions:"]
    lines += [f"  {one['parameters']:3} {one['name']} ({one['place']})" for one in found["longest parameter lists"]]
    if pairs:
        lines += ["", "pairs of functions that share lines:"]
        lines += [f"  {one['lines']:3} {'  '.join(one['pair'])}" for one in found["pairs"]]
    return "\n".join(lines)


def cell(value: float | list[int]) -> str:
    """A figure, or three."""
    return " / ".join(map(str, value)) if isinstance(value, list) else f"{value:,}"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, count, print."""
    parser = command_parser("bench.structure", DESCRIPTION)
    parser.add_argument("root", type=Path, nargs="?", default=HERE, help="a checkout (default: this one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--pairs", action="store_true", help="list the pairs of functions that share lines")
    args = parser.parse_args(argv)
    if not folder_of(args.root, PACKAGES[0]).is_dir():
        raise UserError(f"{args.root}: no folder {PACKAGES[0]}/ here; give the top folder of a checkout")
    found = figures_and_lists(args.root)
    print(json.dumps(found, indent=1) if args.json else text_of(found, args.pairs))
    return 0


if __name__ == "__main__":
    run_command(main)
