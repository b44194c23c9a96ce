"""Chooses the assembler of kernels: on sm_90 the newest on this machine, where Triton would use an older one.

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
"""Triton's environment variable. A user's value is never changed; child processes inherit ours."""
TAKEN = "SPIKEVRT_PTXAS_TAKEN"
"""Variable that marks a value of TRITON_PTXAS_PATH as ours."""
OPTION = "SPIKEVRT_PTXAS"
"""Variable of the user: `default` leaves the choice to Triton, `newest` (the default) uses the newest on sm_90."""
MENDED = (90,)
"""Architectures that use the newest assembler; others keep Triton's default."""

Version = tuple[int, ...]


class Assembler(NamedTuple):
    """A `ptxas` on this machine."""

    version: Version
    path: Path

    def __str__(self) -> str:
        return f"ptxas {dotted(self.version)} ({self.path.name} of {self.origin})"

    @property
    def origin(self) -> str:
        """Where it comes from."""
        return f"triton {triton.__version__}" if self.path.parent == WHEEL else str(self.path.parent)


class Fault(NamedTuple):
    """A known fault: versions of Triton and assembler that together make wrong code."""

    what: str
    architectures: tuple[int, ...]
    source: str
    """Links to public reports."""
    assembler_before: Version | None = None
    """The first assembler version without the fault; None means that all have it."""
    triton_first: Version = (0,)
    triton_last: Version = (1 << 30,)
    """Range of versions of Triton, both ends included."""

    def holds(self, triton_version: Version, ptxas_version: Version, architecture: int) -> bool:
        """Whether the pair has the fault on an architecture."""
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
    """A line for each known fault of a pair, given versions as `3.7.1` and `12.8.93`, architecture as 90 for sm_90."""
    pair = version_of(triton_version), version_of(ptxas_version)
    return [f"{f.what} ({f.source})" for f in FAULTS if f.holds(*pair, architecture)]


def version_of(text: str) -> Version:
    """The numbers of a version: (3,7,1) for `3.7.1+git`."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(n) for n in found[0].split(".")) if found else ()


def dotted(version: Version) -> str:
    """A version as text: `12.8.93` for (12,8,93)."""
    return ".".join(map(str, version))


@cache
def ask(path: Path) -> Assembler | None:
    """The assembler at a path, or None if it does not run."""
    try:
        said = subprocess.run([path, "--version"], check=True, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bV(\d+(?:\.\d+)+)", said)
    return Assembler(version_of(found[1]), path) if found else None


@cache
def assembles(path: Path, architecture: int) -> bool:
    """Whether it supports sm_<architecture>; from 90 on in the form that Triton uses (sm_90a)."""
    name = f"sm_{architecture}{'a' * (architecture >= 90)}"
    listed = subprocess.run([path, "--help"], check=False, capture_output=True, text=True, timeout=30).stdout
    return f"'{name}'" in listed


def at_hand() -> list[Assembler]:
    """The assemblers of Triton's wheel and the one on PATH, the newest first."""
    found = shutil.which("ptxas")
    paths = [*sorted(WHEEL.glob("ptxas*")), *([Path(found)] if found else [])]
    return sorted((a for a in map(ask, paths) if a is not None), key=lambda a: a.version, reverse=True)


def driver_release() -> int | None:
    """The driver's major release of CUDA, for example 13; None without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    answer = driver.cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000 if answer == 0 else None


def newest(architecture: int, release: int | None) -> Assembler | None:
    """The newest assembler for an architecture that is not of a later major release than the driver."""
    fitting = (a for a in at_hand() if release is None or a.version[0] <= release)
    return next((a for a in fitting if assembles(a.path, architecture)), None)


def in_use(architecture: int) -> Assembler | None:
    """The assembler that Triton would use now for an architecture."""
    return ask(Path(compiler.get_ptxas(architecture).path))


def use_newest_assembler(architecture: int) -> str:
    """Let this process and its children use the newest assembler for sm_<architecture>, if that is sm_90.

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
    """Why Triton's choice is kept, or None if it is changed."""
    if os.environ.get(TRITONS_PATH, "") not in ("", os.environ.get(TAKEN)):
        return f"as {TRITONS_PATH} says"
    if os.environ.get(OPTION, "newest") == "default":
        return f"Triton's default, as {OPTION} says"
    return None if architecture in MENDED else "Triton's default"


def point_triton_at(assembler: Assembler | None) -> None:
    """Set Triton's variable, or remove it (None); a user's value stays."""
    ours = os.environ.pop(TAKEN, None)
    if assembler is not None:
        os.environ[TRITONS_PATH] = os.environ[TAKEN] = str(assembler.path)
    elif ours is not None and os.environ.get(TRITONS_PATH) == ours:
        del os.environ[TRITONS_PATH]
    # The version is part of the key by which binaries are kept on disk, and Triton asks for it once.
    for asked in (compiler.get_ptxas_version, compiler.get_features, compiler.CUDABackend.hash):
        asked.cache_clear()
