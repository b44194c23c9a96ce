"""A lower bound on time from counts: predicted, never measured.

Six terms, of which the largest binds: bytes at 85% of the bandwidth, tensor FLOPs at 60% of their rate, exponentials,
float32 operations and issued instructions at the multiprocessors' peak, with 3 us between launches that follow one
another; and the host, which launches from Python while earlier kernels run.
"""

from collections.abc import Iterable
from typing import NamedTuple

BANDWIDTH_SHARE, TENSOR_SHARE, LAUNCH_SECONDS = 0.85, 0.60, 3e-6
HOST_SECONDS = 12.5e-6
"""One launch of a Triton kernel from Python: 9 to 16 us are reported (github.com/meta-pytorch/attention-gym, #302)."""
ISSUED, EXPONENTIALS, THREADS = 4, 16, 32
"""A clock and multiprocessor: instructions of warps, exponentials of threads (CUDA programming guide, table of
arithmetic throughput; the same on all of these); threads of a warp."""


class Work(NamedTuple):
    """Executed instructions of launches, over all warps; an instruction of a warp counts for 32 threads."""

    instructions: float = 0.0
    """Issued instructions of warps."""
    exponentials: float = 0.0
    """Operations of the unit for exponentials, roots and reciprocals (MUFU)."""
    float32: float = 0.0
    """Float32 additions, multiplications and both in one."""


def total_work(every: Iterable[Work]) -> Work:
    """The sum of the work of several launches."""
    return Work(*map(sum, zip(*every, strict=True)))


NOTHING = Work()


class Gpu(NamedTuple):
    """Peaks of a GPU's data sheet."""

    name: str
    architecture: int
    bandwidth: float
    """Bytes per second."""
    tensor_rate: float
    """Dense FLOP per second with 16-bit inputs and fp32 sums."""
    multiprocessors: int
    clock: float
    """Boost clock in hertz; the tensor rate per multiprocessor is a whole multiple of it."""
    float32: int = 128
    """Additions, multiplications or fused multiply-adds per clock and multiprocessor."""

    def seconds(self, threads: float, rate: int) -> float:
        """Seconds of `threads` operations at `rate` operations per clock and multiprocessor."""
        return threads / (rate * self.multiprocessors * self.clock)


GPUS = (
    Gpu("A100 80 GB", 80, 2.039e12, 312e12, 108, 1.410e9, 64),
    Gpu("RTX A6000", 86, 0.768e12, 154.8e12, 84, 1.800e9),
    Gpu("RTX 4090", 89, 1.008e12, 165.2e12, 128, 2.520e9),
    Gpu("H100 SXM", 90, 3.35e12, 989e12, 132, 1.830e9),
    Gpu("B200", 100, 8.0e12, 2250e12, 148, 1.850e9),
    Gpu("RTX 5090", 120, 1.792e12, 209.5e12, 170, 2.407e9),
)
"""Values from NVIDIA's data sheets and architecture papers."""


class Bound(NamedTuple):
    """A predicted bound: the seconds of each limit on its own."""

    memory: float
    tensor: float
    exponentials: float
    float32: float
    issue: float
    host: float
    gaps: float
    """Gaps between launches on the GPU."""

    @property
    def terms(self) -> dict[str, float]:
        """Seconds of all limits by name; those of the device include the gaps."""
        return {name: getattr(self, name) + (self.gaps if name != "host" else 0.0) for name in TERMS}

    @property
    def seconds(self) -> float:
        """The largest term, because all terms overlap."""
        return max(self.terms.values())

    @property
    def limit(self) -> str:
        """Name of the largest term."""
        return max(self.terms, key=lambda name: self.terms[name])


TERMS = tuple(name for name in Bound._fields if name != "gaps")


def predict(gpu: Gpu, moved_bytes: float, flops: float, launches: int, work: Work = NOTHING) -> Bound:
    """The bound on the time of work that moves `moved_bytes`, computes `flops` and is launched `launches` times.

    Args:
        work: what its kernels execute; without it those terms are 0.
    """
    return Bound(
        memory=moved_bytes / (BANDWIDTH_SHARE * gpu.bandwidth),
        tensor=flops / (TENSOR_SHARE * gpu.tensor_rate),
        exponentials=gpu.seconds(THREADS * work.exponentials, EXPONENTIALS),
        float32=gpu.seconds(THREADS * work.float32, gpu.float32),
        issue=gpu.seconds(work.instructions, ISSUED),
        host=launches * HOST_SECONDS,
        gaps=launches * LAUNCH_SECONDS,
    )
