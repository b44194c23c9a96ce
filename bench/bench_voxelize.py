"""Voxels: our kernel and the methods of other projects in one run, also in units of the time to copy the result.

Every method must give the same counts before it is timed.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from spikevrt_kernels.voxelize import voxelize
from spikevrt_kernels.voxelize.reference import bin_edges, bin_of_frame, unpack_frames

BINS = 32
RECORDINGS = {"n256-396x640": (256, 396, 640), "n88-360x640": (88, 360, 640)}
CROP = (52, 192, 256, 256)
Array = NDArray[np.uint8]
Method = Callable[[Array, int, int], NDArray]
BEST_SECONDS: dict[tuple[str, str], float] = {}


def ours(packed: Array, H: int, W: int) -> NDArray:
    """The kernel as workers call it."""
    return voxelize(packed, H, W, BINS)


def numpy_reference(packed: Array, H: int, W: int) -> NDArray:
    """NumPy's `unpackbits`, then a sum over the frames of every bin."""
    parts = np.split(unpack_frames(packed, H, W, True), bin_edges(len(packed), BINS)[1:-1])
    return np.stack([part.sum(0, dtype=np.uint8) for part in parts])


@numba.njit(nogil=True, cache=True)
def loop_kernel(packed: Array, counts: Array, bins: NDArray[np.int64], H: int, W: int) -> None:
    """Add the bits one after the other."""
    for t in range(len(packed)):
        for y in range(H):
            bit = (H - 1 - y) * W
            for x in range(W):
                counts[bins[t], y, x] += (packed[t, bit >> 3] >> (bit & 7)) & 1
                bit += 1


def numba_loop(packed: Array, H: int, W: int) -> NDArray:
    """A loop over bits, compiled by Numba."""
    counts = np.zeros((BINS, H, W), np.uint8)
    loop_kernel(packed, counts, bin_of_frame(len(packed), BINS), H, W)
    return counts


def index_arrays(packed: Array, H: int, W: int) -> NDArray:
    """SpikeCV's method: two index arrays hold the byte and the bit of every pixel."""
    pixel = np.arange(H * W).reshape(H, W)
    byte, bit = pixel // 8, np.left_shift(1, pixel % 8)
    counts = np.zeros((BINS, H, W), np.uint8)
    for frame, k in zip(packed, bin_of_frame(len(packed), BINS), strict=True):
        counts[k] += np.flipud(np.bitwise_and(frame[byte], bit) == bit)
    return counts


METHODS: dict[str, Method] = {
    "ours": ours,
    "NumPy unpackbits": numpy_reference,
    "Numba loop over bits": numba_loop,
    "index arrays": index_arrays,
}


def recording(frames: int, height: int, width: int) -> Array:
    """Random packed frames; 3 of 10 pixels have a spike."""
    spikes = np.random.default_rng(0).random((frames, height * width), np.float32) < 0.3
    return np.packbits(spikes, axis=1, bitorder="little")


@pytest.fixture(scope="module", params=RECORDINGS)
def case(request: pytest.FixtureRequest) -> tuple[str, Array, int, int, NDArray]:
    """Name, packed frames, H, W, and the correct counts of a recording."""
    n, H, W = RECORDINGS[request.param]
    packed = recording(n, H, W)
    return request.param, packed, H, W, numpy_reference(packed, H, W)


@pytest.fixture(scope="module", autouse=True)
def print_ratios() -> Iterator[None]:
    """At the end print the best times, also in units of the time to copy the result."""
    yield
    for name in RECORDINGS:
        times = {method: best for (case, method), best in BEST_SECONDS.items() if case == name}
        copy = times.get("copy", float("nan"))
        print(f"\n{name}: best of all rounds, in ms and in copies of the uint8 result")
        for method, best in times.items():
            print(f"  {method:26} {best * 1e3:8.3f} ms {best / copy:8.2f}x")


@pytest.mark.parametrize("method", METHODS)
def test_method(benchmark: Any, case: tuple[str, Array, int, int, NDArray], method: str) -> None:
    name, packed, H, W, wanted = case
    run = METHODS[method]
    np.testing.assert_array_equal(run(packed, H, W), wanted)
    time_method(benchmark, name, method, run, packed, H, W)


def test_copy(benchmark: Any, case: tuple[str, Array, int, int, NDArray]) -> None:
    """The lower limit: one thread copies the uint8 result into memory used before."""
    wanted = case[-1]
    time_method(benchmark, case[0], "copy", np.copyto, np.empty_like(wanted), wanted)


def test_crop(benchmark: Any, case: tuple[str, Array, int, int, NDArray]) -> None:
    """What a worker does for one frame: 256x256, from a column inside a byte."""
    name, packed, H, W, wanted = case
    top, left, h, w = CROP

    def run() -> NDArray:
        return voxelize(packed, H, W, BINS, crop=(top, left + 3, h, w))

    np.testing.assert_array_equal(run(), wanted[:, top : top + h, left + 3 : left + 3 + w])
    time_method(benchmark, name, "ours, crop 256", run)


def time_method(benchmark: Any, name: str, method: str, run: Callable, *arguments: object) -> None:
    """Measure a method, and keep its best time for the table."""
    slow = method in ("index arrays", "Numba loop over bits", "NumPy unpackbits")
    benchmark.pedantic(run, arguments, rounds=5 if slow else 300, warmup_rounds=1)
    BEST_SECONDS[name, method] = benchmark.stats.stats.min
