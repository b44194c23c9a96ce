"""Ahead-of-time compilation: the binary that a GPU of NVIDIA or AMD would load, built and read without a driver."""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend

from spikevrt_kernels.core.keys import signature_of
from spikevrt_kernels.core.launch import Launch
from spikevrt_kernels.proof.machine_code import register_operands

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
WARP, HOPPER = 32, 90
ASSEMBLERS = ("ptxas", "ptxas-blackwell")
"""Assemblers in Triton's wheel: the first one for sm_90 and older, the other one for newer architectures."""
USAGE_TOOL = ("cuobjdump", "--dump-resource-usage")
VERSION = re.compile(r"V(\d+\.\d+\.\d+)")
TENSOR_CORE = re.compile(r"\b(?:HMMA|HGMMA|UTC\w*MMA)\b")
WIDE_LOAD = re.compile(r"\bLDG\.\S*128|\bLDGSTS\.\S*128|\bUTMALDG")
LOCAL_LOAD, LOCAL_STORE = re.compile(r"\bLDL\b"), re.compile(r"\bSTL\b")
USAGE = re.compile(r"REG:(\d+) STACK:(\d+)")


class Assembled(NamedTuple):
    """Registers and stack of a kernel by one assembler."""

    version: str
    """12.8.93."""
    registers: int
    stack: int


@dataclass(frozen=True)
class Resources:
    """Resources that a compiled kernel needs."""

    kernel: str
    architecture: int
    """80 for sm_80."""
    warps: int
    registers: int
    """Registers per thread."""
    stack: int
    """Bytes per thread. `LOCAL` is 0 even if a kernel spills; `STACK`, LDL and STL are not."""
    shared: int
    """Bytes of shared memory per program."""
    local_loads: int
    local_stores: int
    tensor_core: int
    """HMMA, HGMMA and tcgen05 instructions."""
    wide_loads: int
    """128-bit loads from global memory."""
    seconds: float | None
    """Compile time; None when the binary was in Triton's cache."""
    register_operands: int = 0
    """Hopper's matrix products (HGMMA) with an operand in registers; older assemblers may get them wrong."""
    assembled: tuple[Assembled, ...] = ()
    """On sm_90, by each assembler of the wheel; empty elsewhere."""

    @property
    def spills(self) -> bool:
        """Whether registers were spilled to memory."""
        return bool(self.stack or self.local_loads or self.local_stores)


def compile_launch(launch: Launch, architecture: int) -> Resources:
    """Compile the kernel of a launch for sm_<architecture> and read the binary.

    Args:
        launch: its tensors may live on the meta device: only types, alignment and numbers matter.
        architecture: 80, 86, 89, 90, 100 or 120.

    Raises:
        RuntimeError: the kernel is interpreted in this process.
    """
    if not hasattr(launch.kernel, "params"):
        raise RuntimeError("kernels are interpreted here: unset TRITON_INTERPRET before Python starts to compile them")
    compiled, seconds = build(launch, GPUTarget("cuda", architecture, WARP), dict(launch.options))
    usage, code = read_binary(compiled.asm["cubin"])
    registers, stack = usage_of(usage)
    return Resources(
        kernel=launch.kernel.__name__,
        architecture=architecture,
        warps=compiled.metadata.num_warps,
        registers=registers,
        stack=stack,
        shared=compiled.metadata.shared,
        local_loads=len(LOCAL_LOAD.findall(code)),
        local_stores=len(LOCAL_STORE.findall(code)),
        tensor_core=len(TENSOR_CORE.findall(code)),
        wide_loads=len(WIDE_LOAD.findall(code)),
        seconds=seconds,
        register_operands=register_operands(code),
        assembled=assembled_by_all(launch, compiled.asm["ptx"]) if architecture == HOPPER else (),
    )


def build(launch: Launch, target: GPUTarget, options: dict[str, Any]) -> tuple[Any, float | None]:
    """The launch's kernel compiled by Triton for `target`, and the seconds this took; None if its cache had it."""
    signature, constants, attributes = signature_of(launch)
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    hits: list[bool] = []

    def note(cache_hit: bool, **_: Any) -> None:
        hits.append(cache_hit)

    start = time.perf_counter()
    with triton.knobs.compilation.scope():
        triton.knobs.compilation.listener = note
        compiled = triton.compile(source, target=target, options=options)
    return compiled, None if any(hits) else time.perf_counter() - start


def usage_of(printed: str) -> tuple[int, int]:
    """Registers and stack of a thread, from what cuobjdump prints."""
    registers, stack = USAGE.findall(printed)[0]
    return int(registers), int(stack)


def assembled_by_all(launch: Launch, ptx: str) -> tuple[Assembled, ...]:
    """Assemble a launch's PTX for sm_90 with every assembler of the wheel, with Triton's options."""
    target = GPUTarget("cuda", HOPPER, WARP)
    backend = make_backend(target)
    options, found = backend.parse_options(dict(launch.options)), []
    for name in ASSEMBLERS:
        with triton.knobs.nvidia.scope():
            triton.knobs.nvidia.ptxas = str(TOOLS / name)
            cubin = backend.make_cubin(ptx, {}, options, HOPPER)
        with in_file(cubin) as path:
            found.append(Assembled(version_of(name), *usage_of(tool(*USAGE_TOOL, path))))
    return tuple(found)


@cache
def version_of(name: str) -> str:
    """Version of an assembler."""
    return VERSION.findall(tool(name, "--version"))[0]


@lru_cache(maxsize=4)
def read_binary(cubin: bytes) -> tuple[str, str]:
    """Resource usage and machine code of a binary, as cuobjdump and nvdisasm print them."""
    with in_file(cubin) as path:
        return tool(*USAGE_TOOL, path), tool("nvdisasm", "-c", path)


@contextmanager
def in_file(cubin: bytes) -> Iterator[str]:
    """A file that holds a binary for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        yield str(path)


def tool(name: str, *arguments: str) -> str:
    """Output of a tool that ships inside the triton package."""
    return subprocess.run([TOOLS / name, *arguments], check=True, capture_output=True, text=True).stdout


GFX942 = 942
"""Stands for gfx942 among architectures."""
WAVE = 64
MATRIX = re.compile(r"\bv_mfma_")
AMD_WIDE_LOAD = re.compile(r"\b(?:global|buffer|flat)_load_dwordx4\b")
AMD_LOCAL_LOAD, AMD_LOCAL_STORE = re.compile(r"\bscratch_load"), re.compile(r"\bscratch_store")


def compile_for_amd(launch: Launch) -> Resources:
    """Compile the kernel of a launch for gfx942 and read its assembly; registers are vector registers."""
    options = {name: value for name, value in launch.options.items() if name != "maxnreg"}
    compiled, seconds = build(launch, GPUTarget("hip", "gfx942", WAVE), options)
    code = compiled.asm["amdgcn"]
    return Resources(
        kernel=launch.kernel.__name__,
        architecture=GFX942,
        warps=compiled.metadata.num_warps,
        registers=metadata(code, "vgpr_count"),
        stack=metadata(code, "private_segment_fixed_size"),
        shared=compiled.metadata.shared,
        local_loads=len(AMD_LOCAL_LOAD.findall(code)),
        local_stores=len(AMD_LOCAL_STORE.findall(code)),
        tensor_core=len(MATRIX.findall(code)),
        wide_loads=len(AMD_WIDE_LOAD.findall(code)),
        seconds=seconds,
    )


def metadata(code: str, name: str) -> int:
    """A number from the kernel's metadata at the end of its assembly."""
    found = re.findall(rf"\.{name}:\s*(\d+)", code)
    return int(found[0]) if found else 0
