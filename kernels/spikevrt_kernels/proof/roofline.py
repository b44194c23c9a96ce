"""A lower bound on time from counts: predicted, never measured.

max(bytes / (85% of bandwidth), FLOPs / (60% of the tensor rate)) + launches * 3 us.
"""

from typing import NamedTuple

BANDWIDTH_SHARE, TENSOR_SHARE, LAUNCH_SECONDS = 0.85, 0.60, 3e-6


class Gpu(NamedTuple):
    """Peaks of a GPU's data sheet."""

    name: str
    architecture: int
    bandwidth: float
    """Bytes per second."""
    tensor_rate: float
    """Dense FLOP per second with 16-bit inputs and fp32 sums."""


GPUS = (
    Gpu("A100 80 GB", 80, 2.039e12, 312e12),
    Gpu("RTX A6000", 86, 0.768e12, 154.8e12),
    Gpu("RTX 4090", 89, 1.008e12, 165.2e12),
    Gpu("H100 SXM", 90, 3.35e12, 989e12),
    Gpu("B200", 100, 8.0e12, 2250e12),
    Gpu("RTX 5090", 120, 1.792e12, 209.5e12),
)


class Bound(NamedTuple):
    """A predicted bound in seconds."""

    memory: float
    compute: float
    launches: float

    @property
    def seconds(self) -> float:
        """Memory and compute overlap, launches do not."""
        return max(self.memory, self.compute) + self.launches

    @property
    def limit(self) -> str:
        """What bounds the kernels: memory or compute."""
        return "memory" if self.memory >= self.compute else "compute"


def predict(gpu: Gpu, moved_bytes: float, flops: float, launches: int) -> Bound:
    """The bound of work that moves `moved_bytes`, computes `flops` and is launched `launches` times."""
    return Bound(
        memory=moved_bytes / (BANDWIDTH_SHARE * gpu.bandwidth),
        compute=flops / (TENSOR_SHARE * gpu.tensor_rate),
        launches=launches * LAUNCH_SECONDS,
    )
