"""deblur reads all of its input before it writes anything, and its video is like the input."""

import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
import torch

from spikevrt.cli import names_video
from spikevrt.config import DataConfig, config_to_tree, config_to_yaml
from spikevrt.data.files.images import write_png
from spikevrt.data.files.video import frame_times, read_frames
from spikevrt.deblur import main, make_parser, open_results
from spikevrt.errors import UserError
from spikevrt.models import build_model
from spikevrt.restoration.results import Share
from spikevrt.restoration.sources import recording_source
from spikevrt.restoration.stream import Restorer
from spikevrt.system.process import place_of_process
from tests.small_data import small_config
from tests.small_videos import GAP, display_matrix, packets, pattern, write


def last(folder, pattern):
    return sorted(folder.glob(pattern))[-1]


@pytest.mark.parametrize("damage", ["picture", "spikes", "no-spikes"])
@pytest.mark.parametrize("out", ["sharp", "sharp.mp4"])
def test_the_last_frame_is_read_before_the_first_is_written(own_tree, tmp_path, checkpoint, damage, out):
    clip = own_tree / "val" / "held"
    if damage == "picture":
        path = last(clip / "blur", "*.png")
        path.write_bytes(path.read_bytes()[:-200])
    else:
        path = last(clip / "spike", "*.dat")
        path.write_bytes(path.read_bytes()[:-1])
    if damage == "no-spikes":
        path.unlink()
    target = tmp_path / "results" / out
    with pytest.raises(UserError, match=path.stem if damage == "no-spikes" else path.name) as caught:
        main([str(clip), "--checkpoint", str(checkpoint), "--out", str(target), "--device", "cpu"])
    assert "\n" not in str(caught.value)
    assert not target.parent.exists()


def test_results_are_not_replaced_unasked_and_a_whole_clip_is_written(tree, tmp_path, checkpoint):
    clip, out = tree / "val" / "held", tmp_path / "sharp"
    arguments = [str(clip), "--checkpoint", str(checkpoint), "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 0
    names = [path.name for path in sorted(out.iterdir())]
    assert names == [path.name for path in sorted((clip / "blur").glob("*.png"))]
    before = (out / names[0]).read_bytes()
    (out / names[0]).write_bytes(b"mine")
    with pytest.raises(UserError, match="holds results already; name another --out, or give --overwrite"):
        main(arguments)
    assert (out / names[0]).read_bytes() == b"mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert (out / names[0]).read_bytes() == before


def test_the_video_of_a_phone_keeps_its_times_and_sound_and_stands_upright(tree, tmp_path):
    config = small_config(tree, "MODEL.USE_SPIKE=false")
    torch.save({"config": config_to_tree(config), "params": build_model(config).state_dict()}, tmp_path / "twin.pt")
    stored = np.rot90(pattern((64, 48)))
    phone = write(tmp_path / "phone.mp4", [stored] * len(GAP), GAP, matrix=display_matrix(6), sound="aac")
    out = tmp_path / "sharp.mp4"
    assert main([str(phone), "--checkpoint", str(tmp_path / "twin.pt"), "--out", str(out), "--device", "cpu"]) == 0
    assert [frame.shape for frame in read_frames(out)] == [(64, 48, 3)] * len(GAP)
    assert [float(time) for time in frame_times(out).times] == pytest.approx([time / 1000 for time in GAP], abs=1e-3)
    assert packets(out) == packets(phone) != []


def test_published_weights_alone_restore_without_spikes(tree, tmp_path, monkeypatch, capsys):
    """A small model stands for the published one, which tests/conformance restores with."""
    config = small_config(tree, "MODEL.USE_SPIKE=false")
    preset = tmp_path / "preset.yaml"
    preset.write_text(config_to_yaml(config))
    monkeypatch.setattr("spikevrt.models.trained.PUBLISHED", str(preset))
    state = build_model(config).state_dict()
    torch.save({"params": state}, tmp_path / "published.pth")
    torch.save({"params": state, "config": config_to_tree(config)}, tmp_path / "twin.pt")
    (tmp_path / "frames").mkdir()
    for frame in sorted((tree / "val" / "held" / "blur").iterdir())[: config.data.clip_len]:
        shutil.copy(frame, tmp_path / "frames")
    outs = {"--weights": tmp_path / "published.pth", "--checkpoint": tmp_path / "twin.pt"}
    for option, file in outs.items():
        assert main([str(tmp_path / "frames"), option, str(file), "--out", str(tmp_path / option), "--device=cpu"]) == 0
        assert ("fit the preset" in capsys.readouterr().out) == (option == "--weights")
    results = [{path.name: path.read_bytes() for path in (tmp_path / option).iterdir()} for option in outs]
    assert results[0] == results[1] != {}


@pytest.mark.parametrize("given", [["--checkpoint", "a.pt", "--weights", "b.pth"], []], ids=["both", "neither"])
def test_exactly_one_file_of_weights_is_given(given):
    with pytest.raises(UserError, match=r"--weights.*(not allowed with|is required)"):
        main(["frames", "--out", "sharp", *given])


def test_results_are_as_near_as_they_are_asked_to_be(tree, tmp_path):
    """The same frames as PNGs of both depths and as videos: what is exact, and what is near."""
    blur = tree / "val" / "held" / "blur"
    source = recording_source(blur, None, DataConfig())
    frames = torch.rand((len(source), 3, *source.size), generator=torch.Generator().manual_seed(0)) * 1.1 - 0.05

    def written(name, *options):
        out = tmp_path / name
        args = make_parser().parse_args([str(blur), "--checkpoint", "a.pt", "--out", str(out), *options])
        with open_results(args, source, Share()).writing(range(len(source))) as write:
            for frame in frames:
                write(frame)
        return np.array(list(read_frames(out))).astype(float)

    wanted = frames.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(written("sharp") - wanted * 255).max() <= 0.501
    assert np.array_equal(written("exact.mkv", "--lossless"), (wanted * 255).round())
    errors = [
        np.abs(written(f"{index}.mp4", *options) - wanted * 255).mean()
        for index, options in enumerate((["--crf", "0"], [], ["--crf", "20"], ["--chroma", "420"]))
    ]
    assert errors == sorted(errors), "noise in all colours loses most where chroma is halved"
    written("deep", "--png-depth", "16")
    with av.open(str(tmp_path / "deep" / f"{source.names[0]}.png")) as container:
        values = next(container.decode(video=0)).to_ndarray()
    assert np.abs(values - wanted[0] * 65535.0).max() <= 0.501


@pytest.mark.parametrize(
    ("out", "options", "line"),
    [
        ("sharp", ["--crf", "9"], r"--crf: is for a video, and --out is a folder; name a video \(\.mp4, "),
        ("sharp", ["--lossless"], "--lossless: is for a video, and --out is a folder"),
        ("a.mp4", ["--png-depth", "16"], "--png-depth 16: is for PNGs, and --out is a video; name a folder"),
        ("a.mp4", ["--lossless", "--crf", "9"], "--lossless: leaves nothing to --crf; give one of them"),
        ("a.mp4", ["--crf", "fine"], "argument --crf: invalid whole number value: 'fine'"),
        ("sharp", ["--fps", "9"], "--fps: is for a video, and --out is a folder"),
        ("a.mp4", ["--fps", "1e-4"], "--fps: 0.0001 must be at least 0.001"),
        ("sharp", ["--resume", "--overwrite"], "--overwrite: --resume keeps the pictures that are in --out; give one"),
        ("a.mp4", ["--crf", "52"], "argument --crf: 52 must be from 0 to 51"),
    ],
)
def test_options_of_quality_without_a_meaning_are_refused(tmp_path, out, options, line):
    """Before anything is read: neither the input nor the checkpoint exists."""
    with pytest.raises(UserError, match=line):
        main(["missing", "--checkpoint", "missing.pt", "--out", str(tmp_path / out), *options])


def test_the_input_is_not_replaced_even_if_results_may_be(own_tree, tmp_path, checkpoint):
    """Pictures of other kinds would be joined by PNGs, after which each frame has two files."""
    blur, link = own_tree / "val" / "held" / "blur", tmp_path / "link"
    link.symlink_to(blur)
    before = {path.name: path.read_bytes() for path in blur.iterdir()}
    for out in (blur, link):
        with pytest.raises(UserError, match="is an input, which would be lost; name another file or folder"):
            main([str(blur.parent), "--checkpoint", str(checkpoint), "--out", str(out), "--device=cpu", "--overwrite"])
    assert before == {path.name: path.read_bytes() for path in blur.iterdir()}


@pytest.fixture
def deblurred(tree, checkpoint):
    """deblurred(out, *options): runs the command on a clip of the small data set."""
    clip = tree / "val" / "held"

    def run(out, *options):
        return main([str(clip), "--checkpoint", str(checkpoint), "--out", str(out), "--device", "cpu", *options])

    return run


def pictures(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_parts_of_a_clip_are_what_the_whole_has(deblurred, tmp_path):
    assert deblurred(tmp_path / "whole") == 0
    whole = pictures(tmp_path / "whole")
    for first, last in ((1, 2), (3, 5), (6, 6)):
        assert deblurred(tmp_path / "parts", "--start", str(first), "--end", str(last), "--overwrite") == 0
    assert pictures(tmp_path / "parts") == whole
    for options, said in (
        (["--start", "9"], "--start 9: the clip has 6 frames"),
        (["--end", "7"], "--end 7: the clip has 6 frames"),
        (["--start", "3", "--end", "2"], "--end 2: lies before --start 3"),
    ):
        with pytest.raises(UserError, match=said):
            deblurred(tmp_path / "other", *options)
    assert not (tmp_path / "other").exists()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("out", ["sharp", "sharp.mp4"])
def test_what_was_killed_goes_on_where_it_was(deblurred, tmp_path, monkeypatch, capsys, out):
    whole, target = tmp_path / "whole" / out, tmp_path / "resumed" / out
    assert deblurred(whole) == 0
    plain, done = Restorer.restore, []

    def killed(self, *args, **kwargs):
        for frame in plain(self, *args, **kwargs):
            if len(done) == 3:
                raise Killed
            done.append(1)
            yield frame

    monkeypatch.setattr(Restorer, "restore", killed)
    with pytest.raises(Killed):
        deblurred(target, "--resume")
    monkeypatch.undo()
    left = len(list(target.parent.glob("**/*.png")))
    assert left < 6
    assert deblurred(target, "--resume") == 0
    if left:
        assert f"{left} frames are there already, {6 - left} are left" in capsys.readouterr().out
    if whole.is_dir():
        assert pictures(target) == pictures(whole)
    else:
        assert target.read_bytes() == whole.read_bytes()
        assert [path.name for path in target.parent.iterdir()] == [out]
        assert deblurred(target, "--resume") == 0
        assert "is complete" in capsys.readouterr().out


def test_only_whole_pictures_of_this_run_are_kept(deblurred, tmp_path):
    out = tmp_path / "sharp"
    assert deblurred(out) == 0
    whole = pictures(out)
    first, second, *_ = sorted(out.iterdir())
    first.write_bytes(whole[first.name][:-20])
    with pytest.warns(UserWarning, match=f"{first.name}: is damaged; this frame is restored again"):
        assert deblurred(out, "--resume") == 0
    assert pictures(out) == whole
    with pytest.raises(UserError, match=r"has 48x64 pixels of 8 bits where this run makes 48x64 of 16; remove"):
        deblurred(out, "--resume", "--png-depth", "16")
    write_png(second, np.zeros((5, 7, 3), np.uint8))
    with pytest.raises(UserError, match=f"{second.name}: has 5x7 pixels of 8 bits where this run makes 48x64 of 8"):
        deblurred(out, "--resume")


def test_frames_of_a_video_that_are_kept_are_no_input_and_nothing_else_goes_with_them(tree, deblurred, tmp_path):
    out, folder = tmp_path / "a.mp4", tmp_path / "a.mp4.frames"
    shutil.copytree(tree / "val" / "held" / "blur", folder)
    args = make_parser().parse_args([str(folder), "--checkpoint", "a.pt", "--out", str(out), "--resume"])
    with pytest.raises(UserError, match=r"a\.mp4\.frames: is an input, which would be lost"):
        open_results(args, recording_source(folder, None, DataConfig()), Share())
    (folder / "notes.txt").write_text("mine")
    assert deblurred(out, "--resume") == 0
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_picture_is_not_replaced_by_its_own_result(tmp_path):
    picture = tmp_path / "one.png"
    write_png(picture, pattern((48, 64)))
    args = make_parser().parse_args([str(picture), "--checkpoint", "a.pt", "--out", str(tmp_path), "--overwrite"])
    with pytest.raises(UserError, match=r"one\.png: is an input, which would be lost"):
        open_results(args, recording_source(picture, None, DataConfig()), Share())


def test_leftovers_of_systems_are_no_results(tmp_path):
    for name in ("._a.png", ".spikevrt-abcdefgh.png"):
        (tmp_path / name).touch()
    assert not names_video(tmp_path, overwrite=False)


@pytest.mark.parametrize(
    "group", [{"RANK": "x"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "0"}, {"RANK": "0", "WORLD_SIZE": "2"}]
)
def test_a_group_that_torchrun_did_not_make_is_refused(monkeypatch, group):
    for name, value in group.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"(RANK|WORLD_SIZE)=.*: are not as torchrun sets them; start by torchrun, or"):
        place_of_process()


def test_part_of_a_video_starts_with_its_first_frame(tree, tmp_path):
    config = small_config(tree, "MODEL.USE_SPIKE=false")
    torch.save({"config": config_to_tree(config), "params": build_model(config).state_dict()}, tmp_path / "twin.pt")
    source = write(tmp_path / "film.mp4", [pattern((48, 64))] * len(GAP), GAP, sound="aac")
    out = tmp_path / "part.mp4"
    options = ["--checkpoint", str(tmp_path / "twin.pt"), "--out", str(out), "--device", "cpu", "--start", "2"]
    with pytest.warns(UserWarning, match="its sound is left out, as not all frames are written"):
        assert main([str(source), *options]) == 0
    assert [float(t) for t in frame_times(out).times] == pytest.approx([(t - GAP[1]) / 1000 for t in GAP[1:]], abs=1e-3)


@pytest.mark.runs
@pytest.mark.parametrize("out", ["sharp", "sharp.mp4"])
def test_two_processes_write_what_one_does(tree, checkpoint, deblurred, tmp_path, out):
    assert deblurred(tmp_path / "one" / out) == 0
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "spikevrt.deblur"]
    line += [str(tree / "val" / "held"), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "two" / out)]
    subprocess.run([*line, "--device", "cpu"], check=True, timeout=300)
    one, two = tmp_path / "one" / out, tmp_path / "two" / out
    if one.is_dir():
        assert pictures(one) == pictures(two)
    else:
        assert one.read_bytes() == two.read_bytes()
        assert [path.name for path in two.parent.iterdir()] == [out]
