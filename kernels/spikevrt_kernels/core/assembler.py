"""Which assembler turns kernels into machine code: on sm_90 the newest at hand, where Triton takes an older one.

Triton brings two: `ptxas`, which it takes below sm_100, and a newer `ptxas-blackwell`. The older one is known to
miscompile the products that most of our kernels hold on sm_90 (see `FAULTS`).
"""

import ctypes
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import triton
from triton.backends.nvidia import compiler

WHEEL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TRITONS_PATH = "TRITON_PTXAS_PATH"
"""Triton's own variable. A user's value is never touched; child processes inherit ours."""
TAKEN = "SPIKEVRT_PTXAS_TAKEN"
"""Marks a value of TRITON_PTXAS_PATH as ours."""
OPTION = "SPIKEVRT_PTXAS"
"""`default` leaves the choice to Triton, `newest` (as without it) takes the newest on sm_90."""
MENDED = (90,)
"""Architectures that take the newest; the others keep Triton's default."""

Version = tuple[int, ...]


class Assembler(NamedTuple):
    """A `ptxas` on this machine."""

    version: Version
    path: Path

    def __str__(self) -> str:
        return f"ptxas {dotted(self.version)} ({self.path.name} of {self.origin})"

    @property
    def origin(self) -> str:
        """Whom it came with."""
        return f"triton {triton.__version__}" if self.path.parent == WHEEL else str(self.path.parent)


class Fault(NamedTuple):
    """A pair of Triton and assembler that is known to make wrong code."""

    what: str
    architectures: tuple[int, ...]
    source: str
    """Public reports."""
    assembler_before: Version | None = None
    """The first assembler without it; None = any assembler has it."""
    triton_first: Version = (0,)
    triton_last: Version = (1 << 30,)
    """Inclusive."""

    def holds(self, triton_version: Version, ptxas_version: Version, architecture: int) -> bool:
        """Whether the pair has it there."""
        old = self.assembler_before is None or ptxas_version < self.assembler_before
        return old and architecture in self.architectures and self.triton_first <= triton_version <= self.triton_last


FAULTS = (
    Fault(
        "registers of an asynchronous product with an operand in registers are used again too early",
        (90,),
        "triton#11781, #9433, #11366, #11854",
        assembler_before=(13, 3),
    ),
    Fault(
        "a product with the transposed result of another product is wrong",
        (90,),
        "flash-linear-attention#640, #983, #984, #988",
        triton_first=(3, 4, 0),
        triton_last=(3, 7, 1),
    ),
    Fault(
        "several products of tiles 32 wide at 4 warps read shared memory that is not theirs",
        (90,),
        "triton#11366, #10486",
        triton_first=(3, 7, 1),
        triton_last=(3, 7, 1),
    ),
)


def known_faults(triton_version: str, ptxas_version: str, architecture: int) -> list[str]:
    """A line for each known fault of a pair: versions as `3.7.1` and `12.8.93`, architecture as 90 for sm_90."""
    pair = version_of(triton_version), version_of(ptxas_version)
    return [f"{f.what} ({f.source})" for f in FAULTS if f.holds(*pair, architecture)]


def version_of(text: str) -> Version:
    """The numbers at the start of `3.7.1+git`: (3,7,1)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(n) for n in found[0].split(".")) if found else ()


def dotted(version: Version) -> str:
    """(12,8,93) as `12.8.93`."""
    return ".".join(map(str, version))


@cache
def ask(path: Path) -> Assembler | None:
    """The assembler of a path, or None where it does not answer."""
    try:
        said = subprocess.run([path, "--version"], check=True, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bV(\d+(?:\.\d+)+)", said)
    return Assembler(version_of(found[1]), path) if found else None


@cache
def assembles(path: Path, architecture: int) -> bool:
    """Whether its list of GPUs holds sm_<architecture>, for 90 and above in the form that Triton asks for (sm_90a)."""
    name = f"sm_{architecture}{'a' * (architecture >= 90)}"
    listed = subprocess.run([path, "--help"], check=False, capture_output=True, text=True, timeout=30).stdout
    return f"'{name}'" in listed


def at_hand() -> list[Assembler]:
    """Those that Triton brings and the one on PATH, the newest first."""
    found = shutil.which("ptxas")
    paths = [*sorted(WHEEL.glob("ptxas*")), *([Path(found)] if found else [])]
    return sorted((a for a in map(ask, paths) if a is not None), key=lambda a: a.version, reverse=True)


def driver_release() -> int | None:
    """The major release of CUDA that the driver has (13), or None without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    answer = driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000 if answer == 0 else None


def newest(architecture: int, release: int | None) -> Assembler | None:
    """The newest that assembles for an architecture, of no later major release than the driver, which must load it."""
    fitting = (a for a in at_hand() if release is None or a.version[0] <= release)
    return next((a for a in fitting if assembles(a.path, architecture)), None)


def in_use(architecture: int) -> Assembler | None:
    """The one that Triton would run now for an architecture."""
    return ask(Path(compiler.get_ptxas(architecture).path))


def use_newest_assembler(architecture: int) -> str:
    """Let this process and its children assemble for sm_<architecture> by the newest assembler at hand on sm_90.

    It is for the time before the first kernel: what a process has compiled stays. Elsewhere Triton's default comes
    back. A user's TRITON_PTXAS_PATH and SPIKEVRT_PTXAS=default win.

    Returns:
        One line: which assembler is used, and why.
    """
    why = reason_to_stay(architecture)
    best = None if why else newest(architecture, driver_release())
    if not why and best is None:
        why = "no other is at hand"
    if TAKEN in os.environ or best is not None:
        point_triton_at(best)
    used = in_use(architecture)
    return f"kernels for sm_{architecture}: {used}, {why or 'the newest at hand'}"


def reason_to_stay(architecture: int) -> str | None:
    """Why Triton's choice is left alone, or None where it is not."""
    if os.environ.get(TRITONS_PATH, "") not in ("", os.environ.get(TAKEN)):
        return f"as {TRITONS_PATH} says"
    if os.environ.get(OPTION, "newest") == "default":
        return f"Triton's default, as {OPTION} says"
    return None if architecture in MENDED else "Triton's default"


def point_triton_at(assembler: Assembler | None) -> None:
    """Set Triton's variable, or give it back (None); a user's value stays."""
    ours = os.environ.pop(TAKEN, None)
    if assembler is not None:
        os.environ[TRITONS_PATH] = os.environ[TAKEN] = str(assembler.path)
    elif ours is not None and os.environ.get(TRITONS_PATH) == ours:
        del os.environ[TRITONS_PATH]
    # The version is part of the key by which binaries are kept on disk, and Triton asks for it once.
    for asked in (compiler.get_ptxas_version, compiler.get_features, compiler.CUDABackend.hash):
        asked.cache_clear()
