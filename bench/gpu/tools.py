"""NVIDIA's tools, where a machine has them."""

import os
import shutil
from pathlib import Path

NCU, COMPUTE_SANITIZER = "ncu", "compute-sanitizer"


def tool(name: str) -> str | None:
    """Path of a tool: on PATH, or in CUDA's own folder, which often is not on it; None where it is not here."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    return shutil.which(name) or shutil.which(name, path=str(toolkit / "bin"))
