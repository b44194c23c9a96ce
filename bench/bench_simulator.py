"""Time of the simulator and of decoding a PNG: 8 spike frames of 360x640 per video frame of 720x1280, one thread."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spikevrt.data.files.images import to_grey
from spikevrt.data.simulation.camera import SpikeSensor, SpikeSimulator, area_downsample

FRAME_SIZE, PIXEL_RATIO, SPIKE_FRAMES = (720, 1280), 2, 8
BEST_SECONDS: dict[str, float] = {}


def frames() -> tuple[np.ndarray, np.ndarray]:
    """Two frames of a smooth scene with fine noise."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (45, 80, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(small).resize(FRAME_SIZE[::-1], Image.Resampling.BICUBIC)).astype(np.int16)
    first = np.clip(scene + random.integers(-3, 4, scene.shape), 0, 255).astype(np.uint8)
    return first, np.roll(first, 5, 1)


FIRST, LAST = frames()


def simulate(noise: bool = False, linear: bool = False) -> Callable[[], object]:
    """A function that computes a frame's light and its packed spike frames."""
    sensor = SpikeSensor(PIXEL_RATIO, linear)
    before = sensor(LAST)
    simulator = SpikeSimulator(before.shape[0], before.shape[1], noise=noise)
    return lambda: simulator.run_between(before, sensor(FIRST), SPIKE_FRAMES)


def decode() -> Callable[[], object]:
    """A function that decodes the frame from its PNG."""
    buffer = io.BytesIO()
    Image.fromarray(FIRST).save(buffer, "png")
    return lambda: np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))


SOURCES = {
    "decoding the PNG": decode,
    "simulator": simulate,
    "simulator, linear light": lambda: simulate(linear=True),
    "simulator, noise": lambda: simulate(noise=True),
}


@pytest.fixture(scope="module", autouse=True)
def print_times() -> Iterator[None]:
    """At the end print the best times, also in units of the time of decoding."""
    yield
    print("\na frame of 720x1280, 8 spike frames of 360x640, one thread: best of all rounds")
    for way, best in BEST_SECONDS.items():
        print(f"  {way:26} {best * 1e3:7.2f} ms {best / BEST_SECONDS['decoding the PNG']:6.2f}x")


@pytest.mark.parametrize("way", SOURCES)
def test_a_frame(benchmark: Any, way: str) -> None:
    light = SpikeSensor(PIXEL_RATIO)(FIRST)
    np.testing.assert_allclose(light, area_downsample(to_grey(FIRST), PIXEL_RATIO), rtol=1e-4)
    benchmark.pedantic(SOURCES[way](), rounds=40, warmup_rounds=1)
    BEST_SECONDS[way] = benchmark.stats.stats.min
