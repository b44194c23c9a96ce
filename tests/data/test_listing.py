"""What counts as a picture, a recording or a clip, and in which order: one rule for all commands."""

import os
import shutil

import numpy as np
import pytest

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import all_clips, find_clips
from spikevrt.data.files.images import write_png
from spikevrt.data.files.listing import files_in, folders_below
from spikevrt.data.files.stems import by_stem
from spikevrt.data.files.video import count_frames, frame_names, read_frames
from spikevrt.data.preparation.check import problems
from spikevrt.data.preparation.downloads import picture_folders
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.errors import UserError
from spikevrt.prepare import main as prepare
from spikevrt.restoration.sources import spikes_of_video

SMALL = ["--opts", "DATA.K=4", "DATA.CLIP_LEN=2", "TEST.CLIP_OVERLAP=1"]
LEFT_BY_TOOLS = (".held-x1y2z3", "__MACOSX", "@eaDir", "$RECYCLE.BIN")
"""Folders that a killed run, macOS, a network disk and Windows leave beside clips."""


def data(root):
    return DataConfig(root=str(root), clip_len=2, crop_size=40, k=4)


def test_recordings_stand_in_natural_order(tmp_path):
    (tmp_path / "config.yaml").write_text("spike_h: 8\nspike_w: 8\n")
    names = [str(i) for i in range(1, 13)]
    for name in names:
        (tmp_path / f"{name}.dat").write_bytes(bytes(8))
    assert list(by_stem(tmp_path, ".dat")) == names
    spikes = spikes_of_video(tmp_path, [f"{i:06}" for i in range(1, 13)], DataConfig(), tmp_path)
    assert [path.stem for path in spikes.files.values()] == names


@pytest.mark.parametrize(
    "names",
    [("a.png", "a.jpg"), ("a.PNG", "a.png"), ("1.png", "01.png"), ("f2x.png", "f02x.png")],
    ids="-".join,
)
@pytest.mark.parametrize(
    "read", [frame_names, count_frames, lambda p: list(read_frames(p)), lambda p: by_stem(p, None)]
)
def test_a_frame_has_one_picture(tmp_path, names, read):
    write_png(tmp_path / "z.png", np.zeros((8, 8, 3), np.uint8))
    for name in names:
        shutil.copy(tmp_path / "z.png", tmp_path / name)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert all(name in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_names_that_differ_in_case_are_two_frames(tmp_path):
    for name in ("B", "a", "A"):
        write_png(tmp_path / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    assert frame_names(tmp_path) == ["A", "B", "a"]


def test_a_folder_is_no_file_and_a_broken_link_is_named(tmp_path):
    (tmp_path / "x.dat").mkdir()
    (tmp_path / "y.DAT").write_bytes(b"1")
    for name in ("._y.dat", "Thumbs.db", ".DS_Store", ".y-8f3k.dat"):
        (tmp_path / name).write_bytes(b"1")
    assert files_in(tmp_path, (".dat",)) == [tmp_path / "y.DAT"]
    (tmp_path / "z.dat").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"z\.dat: is no file, or a link that leads nowhere"):
        files_in(tmp_path, (".dat",))
    (tmp_path / "z.dat").unlink()
    (tmp_path / "z.dat").symlink_to(tmp_path / "z.dat")
    with pytest.raises(UserError, match=r"z\.dat: is no file, or a link that leads nowhere"):
        files_in(tmp_path, (".dat",))


@pytest.mark.parametrize("name", LEFT_BY_TOOLS)
@pytest.mark.parametrize("place", ["split", "clip"])
def test_what_systems_and_killed_runs_leave_is_no_clip(own_tree, tmp_path, name, place, capsys):
    left = own_tree / "val" / name if place == "clip" else own_tree / name / "clip"
    shutil.copytree(own_tree / "val" / "held", left)
    shutil.rmtree(left / "spike")
    shutil.copytree(left, own_tree / "train" / name / "clip")
    assert [clip.name for clip in find_clips(data(own_tree), "val")] == ["held"]
    assert [folder.name for folder in all_clips(own_tree, data(own_tree))] == ["clip0", "clip1", "held"]
    assert list(problems(own_tree, data(own_tree))) == []
    assert prepare(["voxels", str(own_tree), *SMALL]) == 0


def test_a_folder_that_vanished_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone: cannot be listed \(No such file or directory\); check the path"):
        files_in(tmp_path / "gone", (".dat",))


def test_clips_stand_in_natural_order(own_tree):
    shutil.copytree(own_tree / "train" / "clip0", own_tree / "train" / "clip10")
    shutil.copytree(own_tree / "train" / "clip0", own_tree / "train" / "clip2")
    assert [clip.name for clip in find_clips(data(own_tree), "train")] == ["clip0", "clip1", "clip2", "clip10"]


@pytest.mark.parametrize("suffix", [".npz", ".NPZ"])
def test_arrays_state_their_size_in_capitals_too(tmp_path, suffix):
    with (tmp_path / f"10{suffix}").open("wb") as file:
        np.savez(file, spk=np.ones((2, 8, 24), np.uint8))
    with (tmp_path / f"9{suffix}").open("wb") as file:
        np.savez(file, spk=np.ones((2, 8, 24), np.uint8))
    (tmp_path / "._9.npz").write_bytes(b"left by macOS")
    (tmp_path / "._9.dat").write_bytes(b"left by macOS")
    spikes = SpikeFolder.open(tmp_path, ("9", "10"), DataConfig(), tmp_path)
    assert (spikes.size, spikes.geometry.format) == ((8, 24), "uint8")


def test_links_in_the_middle_of_a_download_are_followed_once(tmp_path):
    far = tmp_path / "far" / "scene"
    write_png(far / "0.png", np.zeros((8, 8, 3), np.uint8))
    (far / "round").symlink_to(tmp_path / "near")
    near = tmp_path / "near"
    (near / ".hidden").mkdir(parents=True)
    shutil.copy(far / "0.png", near / ".hidden" / "0.png")
    (near / "part").symlink_to(far.parent)
    (near / "again").symlink_to(near)
    assert [os.path.relpath(p, near) for p in picture_folders(near)] == ["part/scene"]
    assert len(list(folders_below(near))) == 3
