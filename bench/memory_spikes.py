"""`python -m bench.memory_spikes`: memory (RssAnon) while voxels of a 2 GB recording are prepared.

The recording is continuous, 360x640, with an exposure of 88 spike frames per RGB frame. Its file is sparse and is
removed at the end. Files of the voxel cache are removed while they are made, so little disk space is needed.
"""

import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from bench.results.measure import status_kib
from spikevrt.config import DataConfig, RecordingConfig
from spikevrt.data.clips.voxel_cache import META
from spikevrt.data.files.images import write_png
from spikevrt.data.preparation.jobs import build_caches
from spikevrt.data.simulation.camera import write_geometry
from spikevrt.data.simulation.recording import RECORDING

SPIKE_SIZE = (360, 640)
FRAME_BYTES = SPIKE_SIZE[0] * SPIKE_SIZE[1] // 8
EXPOSURE_FRAMES = 88
FRAME_COUNT = 2_000_000_000 // (FRAME_BYTES * EXPOSURE_FRAMES)
LIMIT_MB = 300


def anonymous_mb() -> float:
    """RssAnon (anonymous resident memory) of this process in MB."""
    return status_kib("RssAnon") * 1024 / 1e6


def make_clip(root: Path, frames: int) -> DataConfig:
    """Write a clip of `frames` RGB frames with one recording; returns its data configuration."""
    clip = root / "train" / "clip"
    picture = np.zeros((2 * SPIKE_SIZE[0], 2 * SPIKE_SIZE[1], 3), np.uint8)
    write_png(clip / "blur" / "000000.png", picture)
    for i in range(1, frames):
        (clip / "blur" / f"{i:06}.png").symlink_to("000000.png")
    (clip / "spike").mkdir()
    with (clip / "spike" / RECORDING).open("wb") as file:
        file.write(np.random.default_rng(0).bytes(FRAME_BYTES * EXPOSURE_FRAMES))
        file.truncate(frames * EXPOSURE_FRAMES * FRAME_BYTES)
    write_geometry(clip / "spike", RECORDING, SPIKE_SIZE)
    recording = RecordingConfig("continuous", spike_rate=EXPOSURE_FRAMES, frame_rate=1)
    return DataConfig(root=str(root), clip_len=2, recording=recording)


class Watch(threading.Thread):
    """A thread that keeps the highest RssAnon and removes new cache files."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.root, self.peak, self.done = root, 0.0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.01):
            self.peak = max(self.peak, anonymous_mb())
            for path in self.root.glob("train/clip/spike_vox/*/[0-9]*.npy"):
                path.unlink(missing_ok=True)


def main() -> None:
    """Prepare a small recording (to import and compile), then the large one; exit code 1 above the limit."""
    with tempfile.TemporaryDirectory() as small:
        build_caches(Path(small), make_clip(Path(small), 4))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = make_clip(root, FRAME_COUNT)
        size = (root / "train" / "clip" / "spike" / RECORDING).stat().st_size
        baseline, watch, start = anonymous_mb(), Watch(root), time.perf_counter()
        watch.start()
        build_caches(root, data)
        watch.done.set()
        watch.join()
        seconds = time.perf_counter() - start
        assert list(root.glob(f"train/clip/spike_vox/*/{META}"))
    more = watch.peak - baseline
    print(f"recording {size / 1e9:.2f} GB, {FRAME_COUNT} frames in {seconds:.1f} s")
    print(f"RssAnon: baseline {baseline:.0f} MB, peak {watch.peak:.0f} MB, {more:.0f} MB more (limit {LIMIT_MB})")
    if more > LIMIT_MB:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
