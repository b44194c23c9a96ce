"""Small imitations of the downloaded data sets: linked, checked, read."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from spikevrt.config import DataConfig
from spikevrt.data.clips.clip import clip_notes, find_clips
from spikevrt.data.files.images import read_image, to_grey, write_png
from spikevrt.data.preparation.check import problems
from spikevrt.data.preparation.downloads import DATASETS
from spikevrt.data.preparation.names import DATASET_NAMES
from spikevrt.data.simulation.camera import SpikeSensor, SpikeSimulator
from spikevrt.data.spikes.recording import write_packed
from spikevrt.errors import UserError
from spikevrt.prepare import main as prepare

H, W = 96, 128
OPTIONS = ["--opts", "DATA.CLIP_LEN=2", "DATA.CROP_SIZE=64", "TEST.CLIP_OVERLAP=1", "DATA.K=4"]
DATA = DataConfig(clip_len=2, crop_size=64, k=4)


def scene(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((W, H), Image.Resampling.BICUBIC))


def spikes_of(image: np.ndarray, frames: int, scale: int, theta: float = 1.0) -> np.ndarray:
    light = SpikeSensor(scale)(image)
    return SpikeSimulator(*light.shape, theta, 0).run(np.repeat(light[None], frames, 0))


def gopro(root):
    for split in ("train", "test"):
        for i in range(3):
            image = scene(i)
            rgb = root / "GOPRO_Large" / split / f"{split}_07_00"
            for name in ("blur", "blur_gamma", "sharp"):
                write_png(rgb / name / f"{i:06}.png", image)
            spike = root / "GOPRO_Large_spike_seq" / split / f"{split}_07_00" / "spike"
            write_packed(spike / f"{i:06}.dat", spikes_of(image, 56 if i else 49, 2))
            (spike / "config.yaml").write_text("filename: x\nspike_w: 400\nspike_h: 250\n")


def x4k(root):
    for i in range(4):
        stem = f"0001_{i:03}"
        image = scene(i)
        write_png(root / "train_fullRGB" / "scene" / f"{stem}.png", image)
        if i < 3:
            write_png(root / "train_blurry_33" / "scene" / f"{stem}.png", image)
            write_packed(root / "train_spike_2xds_33" / "scene" / f"{stem}.dat", spikes_of(image, 33, 2))


def sreds(root):
    for i in range(3):
        stem = f"203_part{i}_key_id{151 + i}"
        write_png(root / "train" / "gt" / f"{stem}.png", scene(i))
        write_packed(root / "train" / "input" / f"{stem}.dat", spikes_of(scene(i), 41, 1, theta=1 / 0.6))


def sdm(root):
    for i in range(2):
        image, dark = scene(i), np.zeros((20, H // 4, W // 4), np.uint8)
        split = root / "GOPRO" / "test"
        for name in ("blur_data", "sharp_data"):
            write_png(split / name / "clip" / f"{i:06}.png", image)
        write_packed(
            split / "spike_data" / "clip" / f"{i:06}.dat", np.concatenate([dark, spikes_of(image, 97, 4), dark])
        )


SETS = {
    "spk-gopro": (gopro, "train", "train_07_00", 3, (48, 64)),
    "spk-x4k": (x4k, "train", "scene-33", 3, (48, 64)),
    "sreds": (sreds, "train", "203", 3, (96, 128)),
    "s-sdm": (sdm, "val", "clip", 2, (24, 32)),
}


def imported(tmp_path, name):
    SETS[name][0](tmp_path / "download")
    out = tmp_path / "data"
    return prepare(["import", name, str(tmp_path / "download"), "--out", str(out), *OPTIONS]), out


def moved_and_linked(root, far):
    """Every folder of files stands elsewhere behind a link, its files in capitals, with what macOS adds."""
    for number, folder in enumerate(sorted({path.parent for path in root.rglob("*.*") if path.is_file()})):
        for path in list(folder.iterdir()):
            if path.suffix in (".dat", ".png"):
                path.rename(path.with_suffix(path.suffix.upper()))
                (folder / f"._{path.name}").write_bytes(b"left by macOS")
        shutil.copytree(folder, folder.parent / "__MACOSX" / folder.name)
        shutil.copytree(folder, folder.parent / f".{folder.name}-x1y2")
        shutil.move(folder, far / str(number))
        folder.symlink_to(far / str(number))


@pytest.mark.parametrize("name", SETS)
def test_links_capitals_and_left_files_do_not_change_an_import(tmp_path, capsys, name):
    _, split, clip_name, frames, _ = SETS[name]
    SETS[name][0](tmp_path / "download")
    (tmp_path / "far").mkdir()
    moved_and_linked(tmp_path / "download", tmp_path / "far")
    out = tmp_path / "data"
    assert prepare(["import", name, str(tmp_path / "download"), "--out", str(out), *OPTIONS]) == 0
    assert "nothing wrong" in capsys.readouterr().out
    clips = find_clips(DataConfig(root=str(out), clip_len=2), split)
    assert [(clip.name, len(clip.stems)) for clip in clips] == [(clip_name, frames)]


def test_two_pictures_of_one_stem_in_a_download_are_named(tmp_path):
    sreds(tmp_path)
    shutil.copytree(tmp_path / "train" / "gt", tmp_path / "train" / "gt2")
    with pytest.raises(UserError, match=r"203_part0_key_id151\.png: is in .*gt too; a frame has one file"):
        list(DATASETS["sreds"](tmp_path))


@pytest.mark.parametrize("name", SETS)
def test_a_download_becomes_a_tree_by_links(tmp_path, capsys, name):
    _, split, clip_name, frames, size = SETS[name]
    code, out = imported(tmp_path, name)
    text = capsys.readouterr().out
    assert code == 0, text
    assert "nothing wrong" in text
    clip = next(c for c in find_clips(DataConfig(root=str(out), clip_len=2), split) if c.name == clip_name)
    assert len(clip.stems) == frames
    assert clip.spikes.size == size
    assert clip.sharp[clip.stems[0]].is_symlink()
    assert clip.spikes.files[clip.stems[0]].is_symlink()
    assert clip_notes(clip.folder)["set"]
    assert prepare(["import", name, str(tmp_path / "download"), "--out", str(out), *OPTIONS]) == 0
    assert "were there already" in capsys.readouterr().out


def test_both_kinds_of_blur_are_there(tmp_path):
    _, out = imported(tmp_path, "spk-gopro")
    for blur in ("blur", "blur_gamma"):
        assert find_clips(DataConfig(root=str(out), clip_len=2, blur_dir=blur), "val")
    assert json.loads((out / "val" / "test_07_00" / "clip.json").read_text())["folders"] == [
        "blur",
        "blur_gamma",
        "sharp",
    ]


def test_only_the_exposure_of_s_sdm_counts(tmp_path):
    _, out = imported(tmp_path, "s-sdm")
    clip = find_clips(DataConfig(root=str(out), clip_len=2), "val")[0]
    file = clip.spikes.recording("000000")
    assert file.voxels(1).sum() == file.read().sum()
    assert file.exposure(0) == slice(20, 117)


def test_the_long_exposure_of_sreds_shows_the_scene(tmp_path):
    _, out = imported(tmp_path, "sreds")
    clip = find_clips(DataConfig(root=str(out), clip_len=2), "train")[0]
    a, b = (to_grey(read_image(files[clip.stems[0]])).ravel() for files in (clip.blurred, clip.sharp))
    assert np.corrcoef(a, b)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spike_flip": False}, r"upside down against the frames .*set DATA\.SPIKE_FLIP=true"),
        ({"spike_height": 32, "spike_width": 96}, "differ in shape"),
        ({"spike_height": 24, "spike_width": 32}, "spikes do not show what the frames show"),
    ],
)
def test_the_check_sees_a_wrong_reading(tmp_path, change, message):
    _, out = imported(tmp_path, "spk-gopro")
    found = "\n".join(problems(out, DataConfig(root=str(out), clip_len=2, **change)))
    assert re.search(message, found), found


def test_the_check_sees_spikes_of_other_frames(tmp_path):
    _, out = imported(tmp_path, "spk-gopro")
    for path in (out / "val" / "test_07_00" / "spike").glob("*.dat"):
        path.unlink()
        write_packed(path, spikes_of(scene(77), 56, 2))
    found = list(problems(out, DataConfig(root=str(out), clip_len=2)))
    assert len(found) == 1
    assert "spikes of other frames" in found[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("GOPRO_Large_spike_seq", "no such folder; name the folder that the download"),
        ("GOPRO_Large/train/train_07_00/sharp", "no sharp frames of this name"),
        ("GOPRO_Large/train", "no sharp frames of this name"),
    ],
)
def test_a_download_that_is_not_whole_is_named(tmp_path, damage, message):
    gopro(tmp_path / "download")
    shutil.rmtree(tmp_path / "download" / damage)
    with pytest.raises(UserError, match=message):
        prepare(["import", "spk-gopro", str(tmp_path / "download"), "--out", str(tmp_path / "data"), *OPTIONS])
    assert not list((tmp_path / "data").rglob(".*"))


def test_the_command_line_offers_every_data_set():
    assert tuple(DATASETS) == DATASET_NAMES
