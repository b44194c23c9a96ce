"""The whole VRT in its official configuration, 6 frames of 64x64 on the CPU: seconds and peak memory by backend.

The published code needs 14-16 s and 1.4 GiB there for a forward pass, 61 s and 14.2 GiB with backward (two threads).
"""

import ctypes
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from bench.process_memory import status_kib
from bench.workload import DIRECTIONS
from spikevrt.models import VRT

SHAPE = (1, 6, 3, 64, 64)
RELATIVE_ERROR = {"forward": 1e-4, "forward+backward": 1e-3}
"""Float32 runs of two backends differ by rounding, some forty blocks deep, and as deep again with backward."""


def official_vrt(attn_backend: str) -> VRT:
    """The configuration of the published deblurring weights, with seeded weights of our own."""
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
def correction(model: VRT, x: Tensor) -> Tensor:
    """What the network adds to its input."""
    return model(x) - x


def gradients(model: VRT, x: Tensor) -> Tensor:
    """Of the correction's mean square, all parameters' in one vector."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad((model(x) - x).square().mean(), parameters)
    return torch.cat([g.flatten() for g in found])


STEPS: dict[str, Callable[[VRT, Tensor], Tensor]] = dict(zip(DIRECTIONS, (correction, gradients), strict=True))


def clip() -> Tensor:
    """The same random frames for every backend."""
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


def peak_memory(attn_backend: str, direction: str) -> float:
    """GiB resident at most in a process that builds the model and runs one step."""
    # What this process has freed goes back first: with backward two of them would not fit 24 GiB.
    ctypes.CDLL(None).malloc_trim(0)
    command = [sys.executable, "-m", "bench.bench_model", attn_backend, direction]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 2**20


@pytest.mark.benchmark(group="VRT, official configuration, 6x64x64, CPU")
@pytest.mark.parametrize("direction", DIRECTIONS, scope="module")
def test_model(
    benchmark: BenchmarkFixture,
    attn_backend: str,
    direction: str,
    capsys: pytest.CaptureFixture[str],
    reference: Tensor,
) -> None:
    model, x, step = official_vrt(attn_backend), clip(), STEPS[direction]
    out = step(model, x)
    assert (out - reference).norm() < RELATIVE_ERROR[direction] * reference.norm()
    benchmark.pedantic(step, (model, x), rounds=2, warmup_rounds=0)
    benchmark.extra_info["peak_gib"] = peak = peak_memory(attn_backend, direction)
    with capsys.disabled():
        median = benchmark.stats.stats.median
        print(f"\n{attn_backend}, {direction}: {median:.1f} s, peak {peak:.2f} GiB resident")


@pytest.fixture(scope="module")
def reference(direction: str) -> Tensor:
    """What `naive` makes of the clip."""
    return STEPS[direction](official_vrt("naive"), clip())


if __name__ == "__main__":
    STEPS[sys.argv[2]](official_vrt(sys.argv[1]), clip())
    # `getrusage` would count the process that started this one, too.
    print(status_kib("VmHWM"))
