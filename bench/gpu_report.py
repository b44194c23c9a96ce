"""`python -m bench.gpu_report` (make gpu-report): what a GPU does with the kernels, in one file to send on.

Every part runs in a process of its own: what fails or runs out of memory is a line of the report, not its end.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from spikevrt.cli import command_parser, run_command
from spikevrt.data.atomic import replacing
from spikevrt.errors import UserError
from spikevrt.table import format_table
from spikevrt.versions import machine_lines

DESCRIPTION = """Gather self-test, bench, a training step by backend, and predicted beside measured peak memory.

  python -m bench.gpu_report --out gpu_report.md        # some ten minutes on a GPU

Writes one Markdown file, the bench's JSON beside it, and the pictures that bench.report draws.
"""
BACKENDS = ("naive", "sdpa", "triton", "auto")
GIB = 2**30
HEADER = ("training step of default", "seconds", "peak GiB, measured", "peak GiB, predicted", "what it says")


class Done(NamedTuple):
    """A process that ended."""

    code: int
    out: str
    errors: str

    @property
    def last_error(self) -> str:
        """The last line on stderr, which is what it ended with."""
        return (self.errors.strip().splitlines() or ["no output"])[-1]


Run = Callable[[Sequence[str]], Done]
"""Runs `python -m` with these arguments."""


def run_module(arguments: Sequence[str]) -> Done:
    """Run a module in a process of its own."""
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


def selftest_part(run: Run) -> str:
    """Every kernel against float64."""
    done = run(["spikevrt.selftest"])
    verdict = {0: "All right.", 1: "**Something is wrong.**"}.get(done.code, f"Did not end: {done.last_error}")
    return f"## Self-test\n\n{verdict}\n\n{fenced(done.out)}"


def bench_part(run: Run, json_path: Path) -> str:
    """The suite of `bench/`, and its tables."""
    suite = run(["pytest", "bench", "--benchmark-only", "--benchmark-quiet", f"--benchmark-json={json_path}"])
    last = (suite.out.strip().splitlines() or [suite.last_error])[-1]
    ended = "Passed." if suite.code == 0 else f"**Ended with code {suite.code}:** {last}"
    tables = run(["bench.report", str(json_path)])
    picture = json_path.with_suffix(".png")
    drawn = f"\n![time and memory by backend]({picture.name})\n" if picture.is_file() else ""
    return f"## Bench\n\n{ended}\n\n{fenced(tables.out if tables.code == 0 else suite.out)}{drawn}"


def training_part(run: Run) -> str:
    """One step of `default` at its own crop, by backend."""
    rows = [training_row(backend, run) for backend in BACKENDS]
    return f"## One training step\n\n{fenced(format_table(HEADER, rows))}"


def training_row(backend: str, run: Run) -> tuple[str, ...]:
    """A backend's figures, the prediction in a run of its own: it stands where the step does not fit."""
    measured = run(["bench.training_step", "--config", "default", "--attn-backend", backend])
    *said, line = measured.out.strip().splitlines() or [""]
    if measured.code == 0:
        figures, remark = json.loads(line), " ".join(said)
    else:
        predicted = run(["bench.training_step", "--config", "default", "--attn-backend", backend, "--predict"])
        figures = json.loads(predicted.out.strip().splitlines()[-1]) if predicted.code == 0 else {}
        remark = measured.last_error
    seconds = figures.get("seconds")
    return (
        backend,
        "-" if seconds is None else f"{seconds:.3f}",
        gib(figures.get("peak")),
        gib(figures.get("predicted")),
        remark,
    )


def gib(size: int | None) -> str:
    """Bytes as GiB."""
    return "-" if size is None else f"{size / GIB:.2f}"


def fenced(text: str) -> str:
    """Text as it was printed."""
    return f"```\n{text.strip()}\n```\n"


def main(argv: Sequence[str] | None = None, run: Run = run_module) -> int:
    """Parse, run the parts, write the file."""
    parser = command_parser("bench.gpu_report", DESCRIPTION)
    parser.add_argument("--out", type=Path, default=Path("gpu_report.md"), help="the file to write")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        raise UserError(
            "no CUDA device here: run make gpu-report on a machine with one (nvidia-smi must run, and torch must be "
            "a CUDA build); make selftest and make bench say what can be said without"
        )
    json_path = args.out.with_suffix(".json")
    parts = {
        "self-test": lambda: selftest_part(run),
        "training step": lambda: training_part(run),
        "bench": lambda: bench_part(run, json_path),
    }
    sections = []
    bar = tqdm(parts, unit="part")
    for name in bar:
        bar.set_description(name)
        sections.append(parts[name]())
    with replacing(args.out) as temporary:
        temporary.write_text("\n".join(["# GPU report\n", fenced("\n".join(machine_lines())), *sections]))
    print(f"written: {args.out}, {json_path}")
    return 0


if __name__ == "__main__":
    run_command(main)
