"""What one command writes, the next one reads: simulate, deblur, identify, prepare."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from spikevrt.config import config_to_tree
from spikevrt.data.clips.augmentation import Grid, check_crop
from spikevrt.data.files.images import write_png
from spikevrt.data.files.video import frame_names, read_frames
from spikevrt.data.files.video_writing import video_writer
from spikevrt.data.simulation.camera import SpikeSensor
from spikevrt.deblur import main as deblur
from spikevrt.errors import UserError
from spikevrt.identify import main as identify
from spikevrt.models import build_model
from spikevrt.prepare import main as prepare
from spikevrt.restoration.sources import recording_source
from spikevrt.simulate import main as simulate
from spikevrt.system.memory import RESTORATION_ADVICE
from tests.small_data import moving_frames, small_config

FRAMES, FACTOR = 11, 8
SMALL = ["--opts", "DATA.K=4", "DATA.CLIP_LEN=2", "TEST.CLIP_OVERLAP=1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pictures `1.png` to `11.png`, the same as a video, and what simulate makes of both."""
    root = tmp_path_factory.mktemp("chain")
    frames = list(moving_frames(FRAMES))
    with video_writer(root / "clip.mp4", 24) as write:
        for i, frame in enumerate(frames, 1):
            write_png(root / "frames" / f"{i}.png", frame)
            write(frame)
    for source, out in (("frames", "spikes"), ("clip.mp4", "spikes-of-video")):
        assert simulate([str(root / source), "--scale", "2", "--out", str(root / out)]) == 0
    return root


@pytest.fixture
def own(made, tmp_path):
    """A copy of the pictures and their spikes to damage."""
    return shutil.copytree(made, tmp_path / "own")


@pytest.mark.parametrize("frames", ["frames", "clip.mp4"])
@pytest.mark.parametrize("spikes", ["spikes", "spikes/recording.dat"])
@pytest.mark.parametrize("options", [(), ("DATA.RECORDING.LAYOUT=continuous",)], ids=["files", "continuous"])
def test_each_frame_finds_its_simulated_spikes(made, tree, frames, spikes, options):
    data = small_config(tree, *options).data
    source = recording_source(made / frames, made / spikes, data)
    assert len(source) == FRAMES
    light = [SpikeSensor(2)(frame) / 255 / 2 * FACTOR for frame in moving_frames(FRAMES)]
    follow = [*light[1:], light[-1]]
    for name, frame, following in zip(source.names, light, follow, strict=True):
        counts, bin_frames = source.voxels(name, data)
        assert bin_frames.sum() == FACTOR
        wanted = frame * (FACTOR + 1) / (2 * FACTOR) + following * (FACTOR - 1) / (2 * FACTOR)
        assert np.abs(counts.sum(0).numpy() - wanted).max() < 1.5


def test_deblur_takes_what_simulate_makes(made, tree, checkpoint, tmp_path):
    options = ["--checkpoint", str(checkpoint), "--device", "cpu"]
    sharp = tmp_path / "sharp"
    assert deblur([str(made / "frames"), "--spikes", str(made / "spikes"), *options, "--out", str(sharp)]) == 0
    assert frame_names(sharp) == frame_names(made / "frames")
    # And the other way round: what deblur writes is a source again.
    assert simulate([str(sharp), "--scale", "2", "--out", str(tmp_path / "again")]) == 0
    assert len(recording_source(sharp, tmp_path / "again", small_config(tree).data)) == FRAMES


def test_identify_takes_what_simulate_makes(made, capsys, tmp_path):
    recording = made / "spikes" / "recording.dat"
    arguments = [str(recording), "--height", "24", "--width", "32", "--out", str(tmp_path / "a.png")]
    assert identify([*arguments, "--picture", str(made / "frames" / "6.png")]) == 0
    assert "flip: true" in capsys.readouterr().out
    with pytest.raises(UserError, match="spikes: is a folder; name a recording in it"):
        identify([str(recording.parent)])


def test_identify_does_not_replace_the_picture_that_it_compares(own):
    recording, picture = own / "spikes" / "recording.dat", own / "frames" / "6.png"
    before = picture.read_bytes()
    with pytest.raises(UserError, match=r"6\.png: is an input, which would be lost; name another"):
        identify([str(recording), "--height=24", "--width=32", "--picture", str(picture), "--out", str(picture)])
    assert picture.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [simulate, lambda given: prepare(["video", *given, "--exposure=1", "--stride=1", "--factor=2", "--val=0.3"])],
    ids=["simulate", "prepare"],
)
def test_an_error_stands_on_a_line_of_its_own(own, capsys, command):
    """The progress bar has ended its line before the error is printed."""
    arguments = [str(own / "frames"), "--out", str(own / "made")]
    assert command(arguments) == 0
    # As where the error is printed, it keeps alive what was left open.
    with pytest.raises(UserError, match="exists already") as _held:
        command(arguments)
    assert capsys.readouterr().err.endswith("\n")


def test_a_clip_of_a_simulated_recording_is_checked_and_cached(own, tmp_path, capsys):
    clip = tmp_path / "data" / "val" / "clip"
    clip.mkdir(parents=True)
    for name in ("blur", "sharp"):
        shutil.copytree(own / "frames", clip / name)
    shutil.copytree(own / "spikes", clip / "spike")
    assert prepare(["check", str(tmp_path / "data"), *SMALL]) == 0, capsys.readouterr().out
    assert prepare(["voxels", str(tmp_path / "data"), *SMALL]) == 0
    assert f"{FRAMES} voxel files made" in capsys.readouterr().out


def test_a_recording_that_ends_inside_a_frame_is_refused_or_its_rest_dropped(own, tree):
    path = own / "spikes" / "recording.dat"
    whole = recording_source(own / "frames", path, small_config(tree).data).voxels("11", small_config(tree).data)
    with path.open("ab") as file:
        file.write(b"rest")
    with pytest.raises(
        UserError, match=r"recording\.dat: .*\(4 left over\).*DATA\.RECORDING\.INCOMPLETE=drop"
    ) as caught:
        recording_source(own / "frames", own / "spikes", small_config(tree).data)
    assert len(str(caught.value).replace(str(own), "")) <= 400
    data = small_config(tree, "DATA.RECORDING.INCOMPLETE=drop").data
    source = recording_source(own / "frames", own / "spikes", data)
    assert torch.equal(source.voxels("11", data)[0], whole[0])
    path.write_bytes(b"less")
    with pytest.raises(UserError, match="4 bytes are not a whole number of 24x32 packed frames"):
        recording_source(own / "frames", own / "spikes", data)


def test_a_recording_shorter_than_the_frames_says_how_many_fit(own, tree):
    path = own / "spikes" / "recording.dat"
    path.write_bytes(path.read_bytes()[: 24 * 32 // 8 * (3 * FACTOR + 1)])
    with pytest.raises(UserError, match=r"25 spike frames hold 3 of 11 exposures; frame '4' asked for 24 to 32"):
        recording_source(own / "frames", own / "spikes", small_config(tree).data)


def test_a_recording_alone_needs_to_know_its_exposures(own, tree):
    (own / "spikes" / "windows.csv").unlink()
    data = small_config(tree).data
    with pytest.raises(UserError, match=r"set DATA\.RECORDING\.SPIKE_RATE and .*FRAME_RATE, or write windows\.csv"):
        recording_source(own / "frames", own / "spikes" / "recording.dat", data)
    rates = small_config(tree, "DATA.RECORDING.SPIKE_RATE=80", "DATA.RECORDING.FRAME_RATE=10").data
    source = recording_source(own / "clip.mp4", own / "spikes" / "recording.dat", rates)
    assert source.spikes.exposures["000011"] == slice(80, 88)
    for option in ("SPIKE_TIME_OFFSET=1000000000", "RECORDING.LENGTH=1000000000", "RECORDING.SPIKE_RATE=1e9"):
        far = small_config(tree, "DATA.RECORDING.SPIKE_RATE=80", "DATA.RECORDING.FRAME_RATE=10", f"DATA.{option}").data
        with pytest.raises(UserError, match=r"recording\.dat") as caught:
            recording_source(own / "clip.mp4", own / "spikes" / "recording.dat", far)
        assert len(str(caught.value).replace(str(own), "")) <= 400
    for frame in list((own / "frames").iterdir())[1:]:
        frame.unlink()
    (name,) = (one := recording_source(own / "frames", own / "spikes" / "recording.dat", data)).names
    assert one.voxels(name, data)[1].sum() == FRAMES * FACTOR
    with pytest.raises(UserError, match=r"config\.yaml: is no recording \(\.dat, \.npz\); name one, or its folder"):
        recording_source(own / "frames", own / "spikes" / "config.yaml", data)
    with pytest.raises(UserError, match=r"nothing\.dat: no such folder; --spikes names"):
        recording_source(own / "frames", own / "nothing.dat", data)


def test_a_table_of_another_length_is_named(own, tree):
    (own / "spikes" / "windows.csv").write_text("stem,start,length\n1,0,8\n")
    with pytest.raises(UserError, match=r"windows\.csv has 1 lines beside the 11 frames of .*clip\.mp4; one per frame"):
        recording_source(own / "clip.mp4", own / "spikes", small_config(tree).data)


def test_swapped_height_and_width_are_named(own, tree):
    (own / "spikes" / "config.yaml").write_text("spike_h: 32\nspike_w: 24\n")
    with pytest.raises(UserError, match=r"look swapped, set DATA\.SPIKE_HEIGHT=24 DATA\.SPIKE_WIDTH=32"):
        recording_source(own / "frames", own / "spikes", small_config(tree).data)
    told = small_config(tree, "DATA.SPIKE_HEIGHT=24", "DATA.SPIKE_WIDTH=32").data
    assert len(recording_source(own / "frames", own / "spikes", told)) == FRAMES
    with pytest.raises(UserError, match=r"check DATA\.SPIKE_HEIGHT, DATA\.SPIKE_WIDTH or config\.yaml"):
        Grid.of((48, 64), (25, 32))


def test_the_remedy_for_a_large_crop_works():
    with pytest.raises(UserError, match="larger than the frames of 50x70; choose at most 48"):
        check_crop(64, (50, 70), 2)
    check_crop(48, (50, 70), 2)
    assert small_config(Path(), "DATA.CROP_SIZE=48").data.crop_size == 48
    with pytest.raises(UserError, match="larger than the frames of 38x70; larger frames are needed"):
        check_crop(40, (38, 70), 2)


def test_the_advice_for_little_memory_names_what_deblur_has():
    assert "--crop" not in RESTORATION_ADVICE
    assert "TEST.CLIP_OVERLAP" in RESTORATION_ADVICE


def test_a_clip_shorter_than_a_window_is_restored(made, tree, tmp_path):
    config = small_config(tree, "DATA.CLIP_LEN=12", "TEST.CLIP_OVERLAP=11", "MODEL.USE_SPIKE=false")
    path = tmp_path / "long.pt"
    torch.save({"config": config_to_tree(config), "params": build_model(config).state_dict()}, path)
    options = [str(made / "frames"), "--checkpoint", str(path), "--device", "cpu", "--out", str(tmp_path / "out")]
    with pytest.warns(UserWarning, match=r"11 of the DATA\.CLIP_LEN = 12 frames that the model takes"):
        assert deblur(options) == 0
    assert len(list(read_frames(tmp_path / "out"))) == FRAMES
