"""An `.npz` whose header, directory and bytes do not agree: refused in one line before memory is taken."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from spikevrt.data.spikes import recording
from spikevrt.data.spikes.geometry import SpikeGeometry
from spikevrt.data.spikes.npz import array_shape
from spikevrt.data.spikes.recording import SpikeFile
from spikevrt.errors import UserError

SPIKES = np.random.default_rng(0).integers(0, 2, (6, 8, 16), dtype=np.uint8)


VALUES = SPIKES.tobytes()


def member(shape, values=VALUES, version=(1, 0), descr="|u1", order=False):
    """An `.npy` whose header states `shape`, followed by `values`."""
    header = repr({"descr": descr, "fortran_order": order, "shape": shape}).encode().ljust(117) + b"\n"
    size = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + header + values


def archive(path, *members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)


HEADERS = {
    "more frames than values": member((7, 8, 16)),
    "fewer frames than values": member((5, 8, 16)),
    "huge": member((2**40, 8, 16)),
    "beyond 64 bits": member((2**70, 8, 16)),
    "negative": member((-6, 8, 16)),
    "two negative": member((-6, -8, 16)),
    "zero": member((0, 8, 16), b""),
    "no axes": member((), b"\1"),
    "two axes": member((48, 16)),
    "Fortran order": member((6, 8, 16), order=True),
    "objects": member((6, 8, 16), descr="|O"),
    "floats of 0 and 1": member((6, 8, 16), SPIKES.astype("<f4").tobytes(), descr="<f4"),
    "integers of 0 and 1": member((6, 8, 16), SPIKES.astype("<i8").tobytes(), descr="<i8"),
    "records": member((6, 8, 16), descr=[("a", "|u1")]),
    "a magic that ends": b"\x93NUM",
    "a header that ends": member((6, 8, 16))[:40],
    "a header of code": b"\x93NUMPY\x01\0\x20\0" + b"__import__('os').getcwd()".ljust(31) + b"\n",
    "a header of brackets": b"\x93NUMPY\x02\0\x10\x27\0\0" + b"(" * 9_999 + b"\n",
    "a long header": b"\x93NUMPY\x02\0\0\0\x01\0" + b" " * 65_536,
    "another version": b"\x93NUMPY\x09\0" + member((6, 8, 16))[8:],
    "no values": b"",
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers_that_are_not_right_take_no_memory(tmp_path, case):
    path = tmp_path / "a.npz"
    archive(path, ("spk.npy", HEADERS[case]))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"a\.npz: ") as caught:
        SpikeFile(path, SpikeGeometry(8, 16, "uint8")).voxels(1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert len(str(caught.value)) <= 400
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_all_versions_are_read(tmp_path, version, compression):
    archive(tmp_path / "a.npz", ("spk.npy", member((6, 8, 16), version=version)), compression=compression)
    read = SpikeFile(tmp_path / "a.npz", SpikeGeometry(8, 16, "packed", False)).read((1, 2, 4, 5), start=2)
    np.testing.assert_array_equal(read, SPIKES[2:, 1:5, 2:7])


def test_one_of_two_arrays_of_the_name_is_not_chosen(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(tmp_path / "a.npz", ("spk.npy", member((6, 8, 16))), ("spk.npy", member((6, 8, 16))))
    with pytest.raises(UserError, match=r"a\.npz: holds the arrays spk, spk;"):
        array_shape(tmp_path / "a.npz")


def test_a_size_that_no_compression_reaches_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    archive(path, ("spk.npy", member((6, 8, 16))))
    with zipfile.ZipFile(path) as file:
        size = file.getinfo("spk.npy").file_size
    stated = 6 * 2**20 * 128
    content = path.read_bytes().replace(size.to_bytes(4, "little"), (size - 768 + stated).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz: .*fetch it again"):
        SpikeFile(path, SpikeGeometry(8, 16, "uint8"))


def test_an_exposure_larger_than_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_BYTES", 700)
    archive(tmp_path / "a.npz", ("spk.npy", member((6, 8, 16))))
    file = SpikeFile(tmp_path / "a.npz", SpikeGeometry(8, 16, "uint8", False))
    with pytest.raises(UserError, match=r"a\.npz: 6 spike frames of 8x16 uint8 as one exposure .*windows\.csv"):
        file.voxels(1)
    assert file.read(count=5).shape == (5, 8, 16)


def test_packed_files_and_arrays_may_stand_in_one_folder(tmp_path):
    archive(tmp_path / "b.npz", ("spk.npy", member((6, 8, 16))))
    recording.write_packed(tmp_path / "a.dat", SPIKES, flip=False)
    for name in ("a.dat", "b.npz"):
        file = SpikeFile(tmp_path / name, SpikeGeometry(8, 16, flip=False))
        np.testing.assert_array_equal(file.read(), SPIKES)


@pytest.mark.parametrize("format", ["packed", "uint8"])
def test_a_file_that_shrinks_or_vanishes_while_it_is_read(tmp_path, format):
    path = tmp_path / "a.dat"
    stored = np.packbits(SPIKES, axis=-1, bitorder="little") if format == "packed" else SPIKES
    path.write_bytes(stored.tobytes())
    file = SpikeFile(path, SpikeGeometry(8, 16, format))
    path.write_bytes(stored.tobytes()[:-1])
    for read in (file.read, lambda: file.voxels(2), lambda: file.voxels(2, (0, 0, 2, 3))):
        with pytest.raises(UserError, match=r"a\.dat: became shorter while it was read"):
            read()
    assert file.read(count=3).shape == (3, 8, 16)
    path.unlink()
    with pytest.raises(UserError, match=r"a\.dat: cannot be read \(No such file"):
        file.read()
