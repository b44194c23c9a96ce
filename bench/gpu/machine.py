"""The first part: versions, and whether everything that the others need is here."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import import_module

import torch

from bench.gpu.rows import ReportRow
from bench.gpu.setting import Setting
from bench.gpu.tools import COMPUTE_SANITIZER, NCU, tool
from spikevrt.system.machine import machine_lines
from spikevrt_kernels.core.processes import cores

MODULES = ("spikevrt.train", "spikevrt.deblur", "spikevrt.selftest", "spikevrt.prepare", "spikevrt_kernels.registry")


def environment(setting: Setting) -> Iterator[ReportRow]:
    """Says what the machine is.

    Raises:
        ImportError: a module is missing.
        RuntimeError: there is no C compiler, or no GPU that answers.
    """
    for line in machine_lines(setting.device):
        yield ReportRow("machine", line)
    for module in MODULES:
        import_module(module)
    compiler = shutil.which(os.environ.get("CC", "gcc")) or shutil.which("clang")
    cache = os.environ.get("TRITON_CACHE_DIR", "Triton's own")
    yield ReportRow(
        "machine", f"python {platform.python_version()}, {cores()} cores, C compiler {compiler}, cache {cache}"
    )
    yield ReportRow("machine", f"ncu {tool(NCU)}, compute-sanitizer {tool(COMPUTE_SANITIZER)}")
    if compiler is None:
        raise RuntimeError("no C compiler: Triton builds its launchers with one; install gcc or set CC")
    torch.empty(1, device=setting.device)
