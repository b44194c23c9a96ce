"""`python -m bench.quick_reference`: writes docs/quick_reference.md and its Chinese form from templates."""

import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bench.documents.memory import KEPT, cases, kept_figures, predicted
from bench.documents.page import quick_reference
from spikevrt.cli import command_parser, path, run_command
from spikevrt.data.files.atomic import replacing

DESCRIPTION = """Write docs/quick_reference.md and docs/quick_reference.zh.md; every number is computed.

  python -m bench.quick_reference                  # all figures; the memory of training steps is traced for minutes
  python -m bench.quick_reference --kept-memory    # seconds; memory as it was traced last (bench/documents/memory.json)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Compute the figures and write both documents."""
    parser = command_parser("bench.quick_reference", DESCRIPTION)
    parser.add_argument("--out", type=path, default=Path("docs"), help="folder of the documents")
    parser.add_argument("--kept-memory", action="store_true", help="trace nothing")
    args = parser.parse_args(argv)
    if not args.kept_memory:
        found = {case.name: predicted(case) for case in tqdm(cases(), "trace", unit="step")}
        write(KEPT, json.dumps(found, indent=1) + "\n")
    for name, text in quick_reference(kept_figures()):
        write(args.out / name, text)
    return 0


def write(file: Path, text: str) -> None:
    """Write a file as a whole, and say so."""
    with replacing(file) as unfinished:
        unfinished.write_text(text, "utf-8")
    print(f"{file}: written")


if __name__ == "__main__":
    run_command(main)
