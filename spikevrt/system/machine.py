"""Versions and machine, to print next to figures and bug reports."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

import spikevrt

NO_DRIVER = "unknown (nvidia-smi does not run)"


def machine_lines(device: torch.device | None = None) -> list[str]:
    """Lines about versions and machine, to stand above a table; the GPU is `device`, or the first one."""
    packages = ", ".join(f"{name} {installed(name)}" for name in ("torch", "triton", "numba", "numpy"))
    lines = [
        f"spikevrt {spikevrt.__version__}, python {platform.python_version()}, {packages}",
        f"{platform.system()} {platform.release()} {platform.machine()}, {torch.get_num_threads()} threads",
    ]
    if not torch.cuda.is_available():
        return [*lines, "no CUDA device"]
    properties = torch.cuda.get_device_properties(device if device is not None and device.type == "cuda" else 0)
    return [
        *lines,
        f"{properties.name}, sm_{properties.major}{properties.minor}, {properties.total_memory / 2**30:.1f} GiB, "
        f"CUDA {torch.version.cuda}, driver {driver()}",
    ]


def installed(package: str) -> str:
    """Version of a package, or `not installed`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def driver() -> str:
    """Version of the NVIDIA driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return NO_DRIVER
