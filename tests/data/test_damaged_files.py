"""Mutated and truncated files of a data set: read correctly, or refused in one line; never a crash or a wrong shape.

`SPIKEVRT_FUZZ_FILES` sets the number of files (300; `make fuzz` takes 500).
"""

import io
import json
import os
import shutil
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import clip_notes, find_clips, white_rate
from spikevrt.data.clips.voxel_cache import VoxelCache
from spikevrt.data.files.images import read_image
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
            assert len(message.replace(str(tmp_path), "")) <= 400, seed
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


def in_one_line(path, error: UserError) -> bool:
    """Whether a refusal names the file or its folder, in at most 400 characters without those of the path."""
    message = str(error)
    short = message.replace(str(path), "").replace(str(path.parent), "")
    return message.isprintable() and len(short) <= 400 and len(short) < len(message)


def test_a_damaged_description_is_read_or_refused_in_one_line(tmp_path):
    path = tmp_path / "config.yaml"
    for seed in range(FILES):
        path.write_bytes(damaged(b"filename: recording.dat\nspike_h: 250\nspike_w: 400\n", np.random.default_rng(seed)))
        lines = path.read_bytes().splitlines()
        whole = True
        try:
            geometry = geometry_for(tmp_path, DataConfig())
            assert geometry.height * geometry.stored_width % 8 == 0
            assert any(str(geometry.height).encode() in line for line in lines), seed
            assert any(str(geometry.width).encode() in line for line in lines), seed
        except UserError as error:
            # A size that is no whole number of bytes is refused by its figures.
            whole = in_one_line(path, error) or str(error).startswith("spike geometry ")
        assert whole, seed


def test_damaged_notes_are_read_or_refused_in_one_line(tmp_path):
    path = tmp_path / "clip.json"
    content = json.dumps({"source": "a", "theta": 2.0, "seed": 0}).encode()
    for seed in range(FILES):
        path.write_bytes(damaged(content, np.random.default_rng(seed)))
        whole = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theta = clip_notes(tmp_path).get("theta")
                assert white_rate(tmp_path) == (0.6 if theta is None else 1 / theta), seed
            except UserError as error:
                whole = in_one_line(path, error)
        assert whole, seed


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_damaged_pictures_are_read_or_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    for seed in range(FILES // 5):
        path.write_bytes(damaged(content, np.random.default_rng(seed)))
        whole = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                picture = read_image(path)
                assert (picture.dtype, picture.shape[2:]) == (np.uint8, (3,)), seed
            except UserError as error:
                whole = in_one_line(path, error)
        assert whole, seed


@pytest.mark.parametrize("name", ["meta.json", "000002.npy"])
def test_a_damaged_voxel_cache_gives_the_counts_of_the_recording(own_tree, name):
    data = DataConfig(root=str(own_tree), clip_len=2, crop_size=40, k=4)
    clip = find_clips(data, "val")[0]
    cache = VoxelCache(clip.folder, clip.spikes, data)
    cache.build()
    crop = (2, 4, 10, 12)
    wanted, bin_frames = clip.spikes.voxels("000002", data, crop)
    content = (cache.folder / name).read_bytes()
    for seed in range(FILES // 5):
        (cache.folder / name).write_bytes(damaged(content, np.random.default_rng(seed)))
        counts, found = VoxelCache(clip.folder, clip.spikes, data).voxels("000002", crop)
        np.testing.assert_array_equal(counts, wanted, str(seed))
        np.testing.assert_array_equal(found, bin_frames, str(seed))
        cache.voxels("000002", crop)
    shutil.rmtree(cache.folder)
    np.testing.assert_array_equal(cache.voxels("000002", crop)[0], wanted)
