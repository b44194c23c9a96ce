"""Sources of frames: how often pictures are decoded and exposures are counted, and bad input."""

import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from spikevrt import evaluate
from spikevrt.config import config_to_tree
from spikevrt.data.clips.clip import find_clips
from spikevrt.data.files import video
from spikevrt.data.files.images import read_image, write_png
from spikevrt.data.files.video import read_frames
from spikevrt.data.files.video_writing import video_writer
from spikevrt.data.spikes.folder import SpikeFolder
from spikevrt.data.spikes.playback import firing
from spikevrt.data.spikes.tfp import enlarged, middle_span
from spikevrt.deblur import main as deblur
from spikevrt.errors import UserError
from spikevrt.models import build_model
from spikevrt.restoration import sources
from spikevrt.restoration.evaluation import FROM_SPIKES, Methods, SpikeSettings, compare, from_spikes
from spikevrt.restoration.sources import clip_source, read_together, recording_source
from spikevrt.restoration.stream import Restorer
from tests.small_data import small_config

FRAMES = 6


def checkpoint(path, config):
    """An untrained model in a file."""
    torch.manual_seed(0)
    torch.save({"config": config_to_tree(config), "params": build_model(config).state_dict()}, path)
    return path


@pytest.fixture
def counted(monkeypatch):
    """How often each picture was decoded, each video opened and each exposure counted."""
    seen = {"decoded": Counter(), "opened": Counter(), "voxels": Counter()}
    count_voxels = SpikeFolder.voxels

    def reading(path):
        seen["decoded"][path] += 1
        return read_image(path)

    def opening(path):
        seen["opened"][path] += 1
        return read_frames(path)

    def counting(self, stem, data, crop=None):
        seen["voxels"][stem, data.k] += 1
        return count_voxels(self, stem, data, crop)

    monkeypatch.setattr(video, "read_image", reading)
    monkeypatch.setattr(sources, "read_frames", opening)
    monkeypatch.setattr(SpikeFolder, "voxels", counting)
    return seen


def times(counter):
    return len(counter), set(counter.values())


def test_deblur_decodes_its_input_once(tree, tmp_path, counted):
    path = checkpoint(tmp_path / "last.pt", small_config(tree))
    clip = tree / "val" / "held"
    with video_writer(tmp_path / "blurred.mp4", 24) as write:
        for frame in read_frames(clip / "blur"):
            write(frame)
    options = ["--checkpoint", str(path), "--device", "cpu", "--out"]
    assert deblur([str(clip), *options, str(tmp_path / "a")]) == 0
    assert times(counted["decoded"]) == (FRAMES, {2})  # once for the video above
    assert times(counted["voxels"]) == (FRAMES, {1})
    counted["voxels"].clear()
    assert deblur([str(tmp_path / "blurred.mp4"), "--spikes", str(clip / "spike"), *options, str(tmp_path / "b")]) == 0
    assert counted["opened"][tmp_path / "blurred.mp4"] == 2  # once for the size of its first frame
    assert times(counted["voxels"]) == (FRAMES, {1})
    assert len(list((tmp_path / "b").glob("*.png"))) == FRAMES


def scores(tree, *checkpoints):
    line = ["--checkpoint", *checkpoints, "--device", "cpu", "--opts", f"DATA.ROOT={tree}"]
    return evaluate.run(evaluate.make_parser().parse_args(line))[0].clips["held"]


def test_evaluation_decodes_a_frame_once_for_all_methods(tree, tmp_path, counted):
    ours = checkpoint(tmp_path / "ours.pt", small_config(tree))
    longer = checkpoint(tmp_path / "longer.pt", small_config(tree, "DATA.CLIP_LEN=4", "TEST.CLIP_OVERLAP=2"))
    other = checkpoint(tmp_path / "other.pt", small_config(tree, "DATA.K=2"))
    twin = checkpoint(tmp_path / "twin.pt", small_config(tree, "MODEL.USE_SPIKE=false"))
    models = {"ours": ours, "longer": longer, "other": other, "twin": twin}
    together = scores(tree, *(f"{name}={path}" for name, path in models.items()))
    assert times(counted["decoded"]) == (FRAMES, {1})
    assert times(counted["voxels"]) == (2 * FRAMES, {1})  # K = 4 and K = 2
    for name, path in models.items():
        alone = scores(tree, f"{name}={path}")
        assert alone[name] == together[name]
        for other in ("TFP", "TFI", "sharp"):
            assert alone[other] == together[other]


def test_voxels_are_not_computed_for_a_model_without_spikes(tree, tmp_path, counted):
    twin = checkpoint(tmp_path / "twin.pt", small_config(tree, "MODEL.USE_SPIKE=false"))
    assert list(scores(tree, str(twin))) == ["blurred", "TFP", "TFI", "restored", "sharp"]
    assert not counted["voxels"]


def test_evaluation_holds_no_more_frames_than_a_window(tree, counted):
    config = small_config(tree, "DATA.CLIP_LEN=3", "MODEL.USE_SPIKE=false")
    clip = find_clips(config.data, "val")[0]
    restorers = {name: Restorer(build_model(config), config, torch.device("cpu")) for name in ("a", "b")}
    for number, _ in enumerate(compare(clip, config.data, Methods(restorers), None), 1):
        assert len(counted["decoded"]) <= min(number + 2, FRAMES)


def test_pictures_from_spikes_show_the_middle_of_the_exposure(tree):
    data = small_config(tree).data
    clip = find_clips(data, "val")[0]
    recording = clip.spikes.recording(clip.stems[2])
    frames = recording.frames
    pictures = from_spikes(clip, clip.stems[2], data, SpikeSettings(tfp_span=5, rate=0.5))
    for (name, picture), span in zip(pictures.items(), (5, min(11, frames)), strict=True):
        [rates] = firing(recording, FROM_SPIKES[name], [middle_span(frames, span)])
        wanted = enlarged(torch.from_numpy(rates / np.float32(0.5)).clamp(0, 1)[None], clip.frame_size)
        torch.testing.assert_close(picture, wanted)
    with pytest.raises(UserError, match=f"--tfp-window {frames + 1}: must be between 1 and the {frames} spike frames"):
        from_spikes(clip, clip.stems[2], data, SpikeSettings(tfp_span=frames + 1))


def test_readers_of_other_pictures_do_not_share_them(own_tree):
    config = small_config(own_tree)
    clip = find_clips(config.data, "val")[0]
    shutil.copytree(clip.folder / "sharp", clip.folder / "gamma")
    one = clip_source(clip, config.data)
    other = clip_source(clip, small_config(own_tree, "DATA.BLUR_DIR=gamma").data)
    first, second, third = (list(frames) for frames in read_together([one, other, one]))
    for a, b, c, stem in zip(first, second, third, clip.stems, strict=True):
        assert a is c
        np.testing.assert_array_equal(a.blur.permute(1, 2, 0), read_image(clip.blurred[stem]))
        np.testing.assert_array_equal(b.blur.permute(1, 2, 0), read_image(clip.sharp[stem]))


@pytest.fixture
def recorded(own_tree, tmp_path):
    """A video of a clip's frames, and their spikes."""
    clip = own_tree / "val" / "held"
    with video_writer(tmp_path / "clip.mp4", 24) as write:
        for frame in read_frames(clip / "blur"):
            write(frame)
    return tmp_path / "clip.mp4", clip / "spike"


def test_files_belong_to_the_frames_of_a_video_in_order(tree, recorded):
    data = small_config(tree).data
    source = recording_source(*recorded, data)
    assert len(source) == FRAMES
    assert source.names == tuple(f"{i:06}" for i in range(1, FRAMES + 1))
    assert [path.name for path in source.spikes.files.values()] == [f"{i:06}.dat" for i in range(1, FRAMES + 1)]
    (recorded[1] / "000003.dat").unlink()
    with pytest.raises(UserError, match=r"spike: 5 \.dat files beside the 6 frames of .*clip\.mp4; one per frame"):
        recording_source(*recorded, data)
    with pytest.raises(UserError, match="nowhere: no such folder; --spikes names a folder"):
        recording_source(recorded[0], recorded[1] / "nowhere", data)


def test_frames_that_are_missing_or_of_another_size_are_named(own_tree, tmp_path):
    data, frames = small_config(own_tree).data, own_tree / "val" / "held" / "blur"
    write_png(frames / "000004.png", np.zeros((40, 64, 3), np.uint8))
    with pytest.raises(UserError, match=r"blur: frame 000004: 40x64 pixels, the clip's first frame 48x64"):
        recording_source(frames, None, data)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no pictures"):
        recording_source(tmp_path / "empty", None, data)


def test_a_source_without_spikes_has_no_voxels(tree):
    data = small_config(tree).data
    source = recording_source(tree / "val" / "held" / "blur", None, data)
    with pytest.raises(ValueError, match="without spikes"):
        next(iter(source)).voxels(data)
