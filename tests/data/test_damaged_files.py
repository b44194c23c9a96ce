"""Mutated and truncated recordings: read correctly, or refused in one line; never a crash or a wrong shape.

`SPIKEVRT_FUZZ_FILES` sets the number of files (300; `make fuzz-spikes` runs 5000).
"""

import io
import os
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

from spikevrt.config import DataConfig
from spikevrt.data.spikes.geometry import SpikeGeometry, geometry_for
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.errors import UserError

FILES = int(os.environ.get("SPIKEVRT_FUZZ_FILES", "300"))
KINDS = ("packed", "uint8", "npz", "npz-compressed")


@dataclass
class Case:
    """A recording's bytes, how it is to be read, and its frames."""

    content: bytes
    suffix: str
    geometry: SpikeGeometry
    frames: np.ndarray


def whole(random: np.random.Generator) -> Case:
    """A right file of random geometry and format."""
    kind = KINDS[random.integers(len(KINDS))]
    h, w, n = int(random.integers(1, 20)), 8 * int(random.integers(1, 10)), int(random.integers(1, 30))
    frames = (random.random((n, h, w)) < 0.3).astype(np.uint8)
    flip = bool(random.integers(2))
    stored = np.ascontiguousarray(frames[:, ::-1] if flip else frames)
    if kind == "packed":
        return Case(
            np.packbits(stored, axis=-1, bitorder="little").tobytes(), ".dat", SpikeGeometry(h, w, kind, flip), frames
        )
    geometry = SpikeGeometry(h, w, "uint8", flip)
    if kind == "uint8":
        return Case(stored.tobytes(), ".dat", geometry, frames)
    buffer = io.BytesIO()
    (np.savez if kind == "npz" else np.savez_compressed)(buffer, spk=stored)
    return Case(buffer.getvalue(), ".npz", geometry, frames)


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut, lengthened, or with a few bytes changed."""
    kind = random.integers(4)
    if kind == 0:
        return content[: random.integers(len(content) + 1)]
    if kind == 1:
        return content + random.bytes(int(random.integers(1, 100)))
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 10))):
        changed[random.integers(len(changed))] = random.integers(256) if kind == 2 else random.integers(2)
    return bytes(changed)


def expected(case: Case, content: bytes) -> np.ndarray | None:
    """What a `.dat` with this content holds by definition, or None where it is no recording of this geometry."""
    g = case.geometry
    if not content or len(content) % g.frame_bytes:
        return None
    data = np.frombuffer(content, np.uint8)
    bits = np.unpackbits(data, bitorder="little") if g.format == "packed" else data
    frames = bits.reshape(-1, g.height, g.width)
    return frames[:, ::-1] if g.flip else frames


def test_a_damaged_file_is_read_right_or_refused(tmp_path):
    refused = 0
    for seed in range(FILES):
        random = np.random.default_rng(seed)
        case = whole(random)
        content = damaged(case.content, random)
        path = tmp_path / f"a{case.suffix}"
        path.write_bytes(content)
        g, k = case.geometry, int(random.integers(1, 6))
        top, left = int(random.integers(g.height)), int(random.integers(g.width))
        crop = (top, left, int(random.integers(1, g.height - top + 1)), int(random.integers(1, g.width - left + 1)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                file = SpikeFile(path, g)
                frames = file.read(crop)
                counts = file.voxels(k, crop)
        except UserError as error:
            message = str(error)
            assert str(path) in message, seed
            assert "\n" not in message, seed
            refused += 1
            # A .dat is refused for its size, or for bytes above 1, alone.
            if case.suffix == ".dat":
                right = expected(case, content)
                assert right is None or right.max() > 1, seed
            continue
        assert frames.shape == (file.frames, *crop[2:]), seed
        assert counts.shape == (k, *crop[2:]), seed
        assert frames.max(initial=0) <= 1, seed
        assert counts.sum(dtype=np.int64) == frames.sum(dtype=np.int64), seed
        # An archive has a checksum of its own: what it lets through is what was written.
        right = expected(case, content) if case.suffix == ".dat" else case.frames
        assert right is not None, seed
        np.testing.assert_array_equal(frames, right[:, top : top + crop[2], left : left + crop[3]], str(seed))
    assert 0.2 * FILES < refused < 0.9 * FILES


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_description_is_refused_in_one_line(tmp_path, seed):
    random = np.random.default_rng(seed)
    text = damaged(b"filename: recording.dat\nspike_h: 250\nspike_w: 400\n", random)
    (tmp_path / "config.yaml").write_bytes(text)
    message = "in one line"
    try:
        geometry = geometry_for(tmp_path, DataConfig())
        assert geometry.height * geometry.stored_width % 8 == 0
    except UserError as error:
        message = str(error)
    assert "\n" not in message
