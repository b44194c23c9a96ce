"""A part that failed, once more under compute-sanitizer: which kernel touched memory that is not its own."""

import subprocess
from collections.abc import Iterator

from bench.gpu.part import command
from bench.gpu.rows import ReportRow
from bench.gpu.setting import Setting
from bench.gpu.tools import COMPUTE_SANITIZER, tool

PREFIX = "========="
SHOWN, KEPT = 24, 6
"""Lines of its output that are rows, and those that the summary repeats."""
OPTIONS = ("--tool", "memcheck", "--print-limit", "5")


def again(setting: Setting, job: str, *arguments: str) -> Iterator[ReportRow]:
    """Run a part under the sanitizer; its lines are rows."""
    sanitizer = tool(COMPUTE_SANITIZER)
    if sanitizer is None:
        yield ReportRow("note", "compute-sanitizer is not on this machine")
        return
    watched = [sanitizer, *OPTIONS, *command(setting.dry, job, *arguments)]
    with subprocess.Popen(watched, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        shown = 0
        for line in process.stdout:
            if line.startswith(PREFIX) and shown < SHOWN:
                yield ReportRow("sanitizer", f"{job} {' '.join(arguments)}: {said(line)}", keep=shown < KEPT)
                shown += 1
            else:
                print(line, end="", flush=True)


def said(line: str) -> str:
    """A line of the sanitizer without its rule."""
    return line.removeprefix(PREFIX).strip()
