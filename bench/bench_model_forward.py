"""The whole VRT in its official configuration, 6 frames of 64x64 on the CPU: seconds and peak memory by backend.

The published code needs 14-16 s and 1.4 GiB there (two threads).
"""

import resource
import subprocess
import sys

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from spikevrt.models import VRT

SHAPE = (1, 6, 3, 64, 64)
RELATIVE_ERROR = 1e-4
"""Float32 runs of two backends differ by rounding, some forty blocks deep."""


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


def clip() -> Tensor:
    """The same random frames for every backend."""
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


def peak_memory(attn_backend: str) -> float:
    """GiB resident at most in a process that builds the model and restores one clip."""
    command = [sys.executable, "-m", "bench.bench_model_forward", attn_backend]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 2**20


@pytest.mark.benchmark(group="VRT, official configuration, forward at 6x64x64, CPU")
def test_forward(
    benchmark: BenchmarkFixture, attn_backend: str, capsys: pytest.CaptureFixture[str], reference: Tensor
) -> None:
    model, x = official_vrt(attn_backend), clip()
    out = correction(model, x)
    assert (out - reference).norm() < RELATIVE_ERROR * reference.norm()
    benchmark.pedantic(correction, (model, x), rounds=3, warmup_rounds=0)
    benchmark.extra_info["peak_gib"] = peak = peak_memory(attn_backend)
    with capsys.disabled():
        print(f"\n{attn_backend}: {benchmark.stats.stats.median:.1f} s, peak {peak:.2f} GiB resident")


@pytest.fixture(scope="module")
def reference() -> Tensor:
    """What `naive` makes of the clip."""
    return correction(official_vrt("naive"), clip())


if __name__ == "__main__":
    correction(official_vrt(sys.argv[1]), clip())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
