"""Files appear whole or not at all, on a full disk too; what killed commands left goes, and nothing else."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from spikevrt.data.clips.voxel_cache import VoxelCache
from spikevrt.data.files import atomic
from spikevrt.data.files.atomic import PREFIX, new_folder, remove_leftovers, replacing, scratch_folder, write_array
from spikevrt.data.files.images import write_png
from spikevrt.data.files.video_writing import video_writer
from spikevrt.data.simulation.camera import SpikeCamera
from spikevrt.data.simulation.recording import record
from spikevrt.data.spikes.recording import write_packed
from spikevrt.errors import UserError
from spikevrt.restoration.report import Report
from spikevrt.restoration.scores import Scores
from spikevrt.training.checkpoints import save_checkpoint
from spikevrt.training.run_log import RunLog
from tests.small_data import make_tree, moving_frames, small_config

LIMIT = 2048
"""Bytes that a file may have in `small_files`."""
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.fixture
def small_files():
    """Every write beyond `LIMIT` bytes of a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_video(folder: Path) -> None:
    pytest.importorskip("av")
    with video_writer(folder / "out.mp4", 25) as write:
        for _ in range(3):
            write(NOISE)


def write_log(folder: Path) -> None:
    log = RunLog(folder, 0, 10, shown=True)
    try:
        for step in range(100):
            log.row("val", step, psnr=1.0)
    finally:
        log.close()
        (folder / "log.jsonl").unlink()


def write_json(folder: Path) -> None:
    report = Report({})
    report.add("clip" * LIMIT, "1", {"blurred": Scores(psnr=1.0, ssim=1.0, psnr_grey=1.0, ssim_grey=1.0)})
    report.write_json(folder / "scores.json")


WRITERS: dict[str, Callable[[Path], object]] = {
    "checkpoint": lambda out: save_checkpoint(
        out / "last.pt", small_config(out), {"params": {"x": torch.zeros(LIMIT)}, "training": {}}
    ),
    "log": write_log,
    "png": lambda out: write_png(out / "a.png", NOISE),
    "video": write_video,
    "recording": lambda out: write_packed(out / "a.dat", np.ones((64, 32, 32), np.uint8)),
    "simulate": lambda out: record(moving_frames(), str, out / "spikes", SpikeCamera()),
    "prepare": lambda out: make_tree(out / "set", train=1),
    "json": write_json,
}
"""What writes into a folder, by what it writes."""


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_one_line_and_nothing_stays(what, tmp_path, small_files):
    with pytest.raises(UserError, match=r"File too large; raise the largest size of a file") as caught:
        WRITERS[what](tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert PREFIX not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_voxels_on_a_full_disk_are_one_line(own_tree, small_files):
    from spikevrt.data.clips.clip import find_clips

    data = small_config(own_tree).data
    clip = find_clips(data, "train", need_spikes=True)[0]
    with pytest.raises(UserError, match=r"\.npy: File too large"):
        VoxelCache(clip.folder, clip.spikes, data).build()
    assert list(clip.folder.rglob("*.npy")) == []


@pytest.fixture
def full_disk(tmp_path):
    """Runs Python code with a full disk at `disk` (a file system of 64 KiB in a mount namespace of its own)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=64k none {disk} && exec "$@"', "sh"]
    try:
        allowed = subprocess.run([*mount, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("mounting a small disk needs the rights of root")

    def run(code: str) -> str:
        start = (
            "import sys; from pathlib import Path; import numpy as np; disk = Path(sys.argv[1])\n"
            "from spikevrt.errors import UserError\n"
            "with open(disk / 'full', 'wb', buffering=0) as file:\n"
            "    while file.write(bytes(4096)) == 4096 and file.tell() < 65536: pass\n"
        )
        done = subprocess.run([*mount, sys.executable, "-c", start + code, disk], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_small_array_is_not_lost_in_silence_on_a_full_disk(full_disk):
    said = full_disk(
        "from spikevrt.data.spikes.recording import write_packed\n"
        "try: write_packed(disk / 'a.dat', np.ones((2, 16, 16), np.uint8))\n"
        "except UserError as error: print(error)\n"
        "print(sorted(path.name for path in disk.iterdir()))\n"
    )
    assert "a.dat: No space left on device; free space there, or write to another disk\n['full']" in said


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "another disk"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "open files"),
        (errno.EIO, "check the disk"),
        (errno.ESTALE, "mount"),
    ],
)
def test_what_the_system_says_has_its_remedy(number, remedy, tmp_path):
    with pytest.raises(UserError, match=rf"a\.json: {os.strerror(number)}; .*{remedy}"), replacing(tmp_path / "a.json"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/a.png", "file/deep/a.png", "x" * 300 + ".png", "dangling/a.png"])
def test_paths_that_cannot_be_written(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"; (a part|choose|remove|restore|the file)") as caught:
        write_array(tmp_path / name, NOISE)
    assert str(caught.value).startswith(str(tmp_path / name)[:100]), "long messages are shortened in their middle"


def test_the_longest_name_that_the_system_takes_is_written(tmp_path):
    write_array(tmp_path / ("é" * 125 + ".dat"), NOISE)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_vanishes_is_one_line(tmp_path):
    folder = tmp_path / "runs"
    with pytest.raises(UserError, match=r"runs/a\.png: No such file or directory; "), replacing(folder / "a.png"):
        shutil.rmtree(folder)


def test_an_error_of_a_source_names_the_source(tmp_path):
    with pytest.raises(FileNotFoundError, match="source"), new_folder(tmp_path / "clip"):
        (tmp_path / "source").read_bytes()


def test_leftovers_go_and_nothing_else(tmp_path):
    file, folder = tmp_path / f"{PREFIX}abcd1234.pt", tmp_path / f"{PREFIX}abcd_234"
    file.touch()
    (folder / "blur").mkdir(parents=True)
    kept = [tmp_path / name for name in (".last-abcd1234.pt", f"{PREFIX}abc.pt", "last.pt", f"x{PREFIX}abcd1234")]
    for path in kept:
        path.touch()
    with scratch_folder(tmp_path / "clip") as ours, replacing(tmp_path / "a.pt") as also:
        assert sorted(remove_leftovers(tmp_path)) == sorted([file, folder]) or not (file.exists() or folder.exists())
        assert ours.is_dir()
        assert also.is_file()
        also.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "a.pt"])
    assert remove_leftovers(tmp_path / "missing") == []


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path, monkeypatch):
    code = (
        "import sys; from pathlib import Path; from spikevrt.data.files.atomic import new_folder, replacing\n"
        "with new_folder(Path(sys.argv[1], 'clip')) as a, replacing(Path(sys.argv[1], 'last.pt')) as b:\n"
        "    (a / 'half').touch(); print('ready', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=-1, stdout=-1) as process:
        assert process.stdout.readline() == b"ready\n"
        there = set(tmp_path.iterdir())
        assert remove_leftovers(tmp_path) == []
        assert len(there) == 2
        process.send_signal(signal.SIGKILL)
    monkeypatch.setattr(atomic, "_tidied", set())
    write_array(tmp_path / "a.dat", NOISE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.dat"]
