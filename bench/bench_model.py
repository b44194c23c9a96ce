"""The whole VRT in its official configuration, 6 frames: seconds and peak memory by backend.

64x64 on the CPU, where the published code needs 14-16 s and 1.4 GiB for a forward pass, 61 s and 14.2 GiB with backward
(two threads). On a GPU 128x128 under autocast, with one more entry, `by hand`: what a user of the published VRT would
write first (bfloat16, SDPA, `torch.compile` block by block).
"""

import ctypes
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from bench.results.measure import status_kib, synchronised_on
from bench.workloads.workload import BY_HAND, DIRECTIONS
from spikevrt.models import VRT
from spikevrt.models.compiled_parts import compile_parts
from spikevrt.system.device import autocast, half_type
from spikevrt_kernels.core.backends import planning
from spikevrt_kernels.proof.memory import predicted_peak

Step = Callable[[nn.Module, Tensor, torch.dtype | None], Tensor]
"""One step of a model on a clip (1,T,3,H,W), under autocast to the given type; None means float32."""
MORE_ENTRIES = (BY_HAND,) if torch.cuda.is_available() else ()
"""Entries besides the backends. Not on a CPU, where `torch.compile` takes minutes."""
FRAME_COUNT, CPU_SIDE, CUDA_SIDE = 6, 64, 128
GIB = 2**30
RELATIVE_ERROR = {"forward": 1e-4, "forward+backward": 1e-3}
"""Allowed relative difference of two backends in float32: rounding errors through some forty blocks."""
HALF_FACTOR = 3.0
"""Under autocast the allowed error is this factor times the error of `sdpa`, plus the above."""


def compiled_or_not(
    step: Step, model: nn.Module, x: Tensor, half: torch.dtype | None
) -> tuple[Callable[[], Tensor], str]:
    """The step with the model's parts compiled, or without if that fails; and a remark for the printed line.

    Raises:
        torch.OutOfMemoryError: the step does not fit into memory.
    """

    def plainly() -> Tensor:
        with torch.compiler.set_stance("force_eager"):
            return step(model, x, half)

    compile_parts(model)
    try:
        step(model, x, half)
    except Exception as error:  # Compilers raise errors of many types.
        cause = getattr(error, "inner_exception", error)  # Of what torch.compile raises for every error of a compiler.
        if isinstance(cause, torch.OutOfMemoryError):
            raise cause from None
        first = (str(cause).strip().splitlines() or [""])[0]
        return plainly, f", not compiled: {type(cause).__name__}: {first[:120]}"
    return lambda: step(model, x, half), ", compiled"


def official_vrt(attn_backend: str) -> VRT:
    """A model in the configuration of the published deblurring weights, with random weights of a fixed seed."""
    torch.manual_seed(0)
    model = VRT(
        upscale=1,
        img_size=(6, 192, 192),
        window_size=(6, 8, 8),
        depths=[8] * 7 + [4] * 4,
        indep_reconsts=(9, 10),
        embed_dims=[96] * 7 + [120] * 4,
        num_heads=[6] * 11,
        attn_backend=attn_backend,
    )
    return model.eval()


@torch.no_grad()
def correction(model: nn.Module, x: Tensor, half: torch.dtype | None) -> Tensor:
    """Output minus input: what the network adds."""
    with autocast(x.device, half):
        return model(x) - x


def gradients(model: nn.Module, x: Tensor, half: torch.dtype | None) -> Tensor:
    """Gradients of the correction's mean square by all parameters, in one vector."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with autocast(x.device, half):
        out = model(x) - x
    found = torch.autograd.grad(out.float().square().mean(), parameters)
    return torch.cat([g.flatten() for g in found])


STEP_OF: dict[str, Step] = dict(zip(DIRECTIONS, (correction, gradients), strict=True))


def clip(device: str = "cpu") -> Tensor:
    """The same random frames for every entry."""
    side = CUDA_SIDE if device == "cuda" else CPU_SIDE
    return torch.rand((1, FRAME_COUNT, 3, side, side), generator=torch.Generator().manual_seed(1)).to(device)


def runner(entry: str, direction: str, device: str) -> tuple[Callable[[], Tensor], str]:
    """A function that runs one step of an entry on a device, and a remark for the printed line."""
    half, x, step = half_type(torch.device(device), "auto"), clip(device), STEP_OF[direction]
    model = official_vrt("sdpa" if entry == BY_HAND else entry).to(device)
    if entry == BY_HAND:
        return compiled_or_not(step, model, x, half)
    return lambda: step(model, x, half), ""


def peak_of_entry(entry: str, direction: str, device: str, run: Callable[[], Tensor]) -> int:
    """Peak memory in bytes: allocated on a GPU; on the CPU resident, in a new process that runs one step."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    # Return freed memory to the system first: two processes with backward would not fit 24 GiB.
    ctypes.CDLL(None).malloc_trim(0)
    command = [sys.executable, "-m", "bench.bench_model", entry, direction]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024


def predicted_memory(entry: str, direction: str) -> int:
    """Peak memory of the same step on a GPU in bytes, predicted on tensors without storage."""
    with planning(for_cuda=True), torch.device("meta"):
        model = official_vrt(entry)

    def setup() -> Callable[[], Tensor]:
        whole, x = model.to_empty(device="cpu"), torch.empty(1, FRAME_COUNT, 3, CUDA_SIDE, CUDA_SIDE)
        return lambda: STEP_OF[direction](whole, x, torch.bfloat16)

    return predicted_peak(setup, iterations=1, for_cuda=True)


def allowed_error(direction: str, device: str, reference: Tensor) -> float:
    """The largest allowed relative error of an entry."""
    if device != "cuda":
        return RELATIVE_ERROR[direction]
    run, _ = runner("sdpa", direction, device)
    return HALF_FACTOR * float((run() - reference).norm() / reference.norm()) + RELATIVE_ERROR[direction]


@pytest.mark.benchmark(group="VRT, official configuration, 6 frames")
@pytest.mark.parametrize("direction", DIRECTIONS, scope="module")
def test_model(
    benchmark: BenchmarkFixture,
    attn_backend: str,
    direction: str,
    device: str,
    capsys: pytest.CaptureFixture[str],
    reference: tuple[Tensor, float],
) -> None:
    exact, allowed = reference
    try:
        run, said = runner(attn_backend, direction, device)
        assert (run() - exact).norm() < allowed * exact.norm()
    except torch.OutOfMemoryError:
        pytest.skip("out of GPU memory")
    benchmark.pedantic(synchronised_on(torch.device(device), run), rounds=2, warmup_rounds=0)
    peak = peak_of_entry(attn_backend, direction, device, run)
    benchmark.extra_info["peak_gib"] = peak / GIB
    line = f"{attn_backend}, {direction}: {benchmark.stats.stats.median:.3f} s, peak {peak / GIB:.2f} GiB{said}"
    if device == "cuda" and attn_backend != BY_HAND:
        benchmark.extra_info["predicted_gib"] = predicted = predicted_memory(attn_backend, direction) / GIB
        line += f", {peak / GIB / predicted:.2f} of the {predicted:.2f} GiB predicted"
    with capsys.disabled():
        print(f"\n{line}")


@pytest.fixture(scope="module")
def reference(direction: str) -> tuple[Tensor, float]:
    """The float32 result of the model on the clip, and the largest allowed relative error of an entry.

    Computed by `naive`; on a GPU by `sdpa`, because `naive` in float32 does not fit.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    exact = STEP_OF[direction](official_vrt("sdpa" if device == "cuda" else "naive").to(device), clip(device), None)
    return exact, allowed_error(direction, device, exact)


if __name__ == "__main__":
    STEP_OF[sys.argv[2]](official_vrt(sys.argv[1]), clip(), None)
    # `getrusage` would count the process that started this one, too.
    print(status_kib("VmHWM"))
