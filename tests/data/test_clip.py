"""The unified layout, and the errors for incomplete data sets."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import clip_notes, find_clips
from spikevrt.data.files.images import write_png
from spikevrt.data.preparation.check import problems
from spikevrt.errors import UserError

DATA = DataConfig(clip_len=2, crop_size=40, k=4)


def data(root):
    return replace(DATA, root=str(root))


def test_clips_are_found_with_all_their_files(tree):
    clips = find_clips(data(tree), "train")
    assert [c.name for c in clips] == ["clip0", "clip1"]
    assert clips[0].stems == tuple(f"{i:06}" for i in range(1, 7))
    assert (clips[0].frame_size, str(clips[0].spikes.geometry)) == ((48, 64), "24x32 packed")
    assert clip_notes(clips[0].folder)["theta"] == 2.0
    assert list(problems(tree, data(tree))) == []


def test_frames_may_come_alone(own_tree):
    for folder in ("sharp", "spike"):
        shutil.rmtree(own_tree / "val" / "held" / folder)
    (clip,) = find_clips(data(own_tree), "val", need_sharp=False, need_spikes=False)
    assert (clip.sharp, clip.spikes, clip.grid) == ({}, None, (1, 1))


def remove(*names):
    def act(clip):
        for name in names:
            target = clip / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink()

    return act


def longer(clip):
    shutil.copy(clip / "blur" / "000001.png", clip / "blur" / "000001.jpg")


def cut_short(clip):
    path = clip / "spike" / "000004.dat"
    path.write_bytes(path.read_bytes()[:-1])


CASES = {
    "a spike file cut short": (cut_short, r"000004\.dat: \d+ bytes are not a whole number of 24x32"),
    "no sharp frame": (remove("sharp/000003.png"), r"sharp: 5 files beside 6 .*missing 000003"),
    "no blurred frame": (remove("blur/000003.png"), r"without a counterpart 000003"),
    "no spike file": (remove("spike/000006.dat"), r"spike: 5 files beside 6"),
    "no spikes": (remove("spike"), r"holds no \.dat files; .*prepare voxels ROOT"),
    "no geometry": (remove("spike/config.yaml"), r"geometry is unknown"),
    "two files a frame": (longer, r"holds 000001\.(jpg|png) and 000001\.(png|jpg)"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_clip_that_is_not_whole_is_named(own_tree, case):
    act, message = CASES[case]
    act(own_tree / "val" / "held")
    with pytest.raises(UserError, match=message):
        find_clips(data(own_tree), "val")


def test_missing_places_are_named(tree, tmp_path):
    with pytest.raises(UserError, match=r"DATA\.ROOT: required"):
        find_clips(DATA, "train")
    with pytest.raises(UserError, match=r"other: no such folder; DATA\.ROOT holds <root>/<split>"):
        find_clips(data(tree), "other")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="holds no clips with a folder blur"):
        find_clips(data(tmp_path), "train")


def test_a_clip_shorter_than_a_sample_is_named(tree):
    with pytest.raises(UserError, match=r"clip0: 6 frames, fewer than DATA\.CLIP_LEN = 7"):
        find_clips(replace(data(tree), clip_len=7), "train")


def test_a_check_names_every_file_that_is_wrong(own_tree):
    clip = own_tree / "train" / "clip0"
    (clip / "blur" / "000001.png").write_bytes(b"broken")
    write_png(clip / "sharp" / "000002.png", np.zeros((40, 64, 3), np.uint8))
    with (clip / "spike" / "000003.dat").open("ab") as file:
        file.write(b"x")
    remove("sharp/000003.png")(own_tree / "train" / "clip1")
    (own_tree / "val" / "held" / "spike" / "config.yaml").write_text("spike_h: 25\nspike_w: 32\n")
    found = "\n".join(problems(own_tree, data(own_tree)))
    for name in ("blur/000001.png", "clip1/sharp", "spike/000003.dat", "held: frames of 48x64 and spikes of 25x32"):
        assert name in found, name
