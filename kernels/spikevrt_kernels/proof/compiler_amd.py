"""Compilation for AMD's gfx942, only for information: nothing is tuned for it, and nothing depends on it."""

import re

from triton.backends.compiler import GPUTarget

from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.proof.compiler import Resources, build

GFX942 = 942
"""Stands for gfx942 among architectures."""
WAVE = 64
MATRIX = re.compile(r"\bv_mfma_")
WIDE_LOAD = re.compile(r"\b(?:global|buffer|flat)_load_dwordx4\b")
LOCAL_LOAD, LOCAL_STORE = re.compile(r"\bscratch_load"), re.compile(r"\bscratch_store")


def compile_for_amd(launch: Launch, fresh: bool = False) -> Resources:
    """Compile the kernel of a launch for gfx942 and read its assembly; registers are vector registers."""
    options = {name: value for name, value in launch.options.items() if name != "maxnreg"}
    compiled, seconds = build(launch, GPUTarget("hip", "gfx942", WAVE), options, fresh)
    code = compiled.asm["amdgcn"]
    return Resources(
        kernel=launch.kernel.__name__,
        architecture=GFX942,
        warps=compiled.metadata.num_warps,
        registers=metadata(code, "vgpr_count"),
        stack=metadata(code, "private_segment_fixed_size"),
        shared=compiled.metadata.shared,
        local_loads=len(LOCAL_LOAD.findall(code)),
        local_stores=len(LOCAL_STORE.findall(code)),
        tensor_core=len(MATRIX.findall(code)),
        wide_loads=len(WIDE_LOAD.findall(code)),
        seconds=seconds,
    )


def metadata(code: str, name: str) -> int:
    """A number from the kernel's metadata at the end of its assembly."""
    found = re.findall(rf"\.{name}:\s*(\d+)", code)
    return int(found[0]) if found else 0
