"""Arguments of the evaluation: names and paths of checkpoints, files to write, sizes that can be scored."""

import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from spikevrt.errors import UserError
from spikevrt.evaluate import main, make_parser
from spikevrt.restoration.named import named_checkpoints, require_apart, require_distinct
from spikevrt.restoration.report import Report


def test_an_equals_sign_in_a_path_ends_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/lr=1e-4", "lr=1e-4"):
        Path(folder).mkdir(parents=True)
        Path(folder, "best.pt").touch()
    assert named_checkpoints(["runs/lr=1e-4/best.pt"]) == {"restored": Path("runs/lr=1e-4/best.pt")}
    assert named_checkpoints(["lr=1e-4/best.pt"]) == {"restored": Path("lr=1e-4/best.pt")}
    assert named_checkpoints(["a=lr=1e-4/best.pt", "runs/lr=1e-4/best.pt"]) == {
        "a": Path("lr=1e-4/best.pt"),
        "lr=1e-4": Path("runs/lr=1e-4/best.pt"),
    }
    # Of a file that is missing, the message will name the whole path.
    assert named_checkpoints(["runs/lr=1/last.pt"]) == {"restored": Path("runs/lr=1/last.pt")}


def test_home_folders_of_checkpoints(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    args = make_parser().parse_args(["--checkpoint", "~/a.pt", "rgb=~/b.pt", "--json", "~/s"])
    assert named_checkpoints(args.checkpoint) == {"ada": Path("/home/ada/a.pt"), "rgb": Path("/home/ada/b.pt")}
    assert args.json == Path("/home/ada/s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["=a.pt"], "--checkpoint =a.pt: without a name or a path; write NAME=PATH"),
        (["a="], "--checkpoint a=: without a name or a path"),
        (["TFP=a.pt"], "--checkpoint TFP=a.pt: TFP is a row of every table"),
        (["TFI=a.pt"], "--checkpoint TFI=a.pt: TFI is a row of every table"),
        (["reference=a.pt"], "--checkpoint reference=a.pt: reference is the sharp frames' folder; write another"),
        (["blurred/a.pt", "x=b.pt"], "--checkpoint blurred/a.pt: blurred is a row of every table"),
        (["stems=a.pt"], "stems is the list of frames; write another NAME=PATH"),
        (["..=a.pt"], r"\.\. is no name of a folder"),
        (["x=a.pt", "x=b.pt"], "--checkpoint x=b.pt: two are called x; write NAME=PATH"),
    ],
)
def test_names_that_cannot_be_told_apart(arguments, message):
    with pytest.raises(UserError, match=message):
        named_checkpoints(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crop", "8"], r"--crop: 8 must be at least 11 and at most 65536 \(SSIM compares windows of that size\)"),
        (["--crop", "9" * 400], "--crop: an integer of .* bits must be at least 11"),
        (["--tfp-window", "9" * 30], "--tfp-window: 9{30} must be at least 1 and at most 1000000000"),
        (["--tfp-rate", "7"], "--tfp-rate: 7 must be at most 1"),
        (["--json", "."], "--json: '.' is a folder; name a file in it"),
        (["--json", "scores/"], "--json: 'scores/' is a folder; name a file in it"),
        (["--json", ""], "--json: an empty text names no file or folder"),
        (["--picture", "a.jpg"], r"--picture a\.jpg: must be a \.png"),
    ],
)
def test_wrong_options_are_found_before_anything_is_computed(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        main(["--checkpoint", "a.pt", *arguments])
    assert len(str(caught.value)) < 400


def test_a_checkpoint_is_not_replaced_by_the_figures(tmp_path):
    checkpoint, link = tmp_path / "best.pt", tmp_path / "scores.json"
    checkpoint.write_bytes(b"weights")
    link.symlink_to(checkpoint)
    for name in (checkpoint, link):
        with pytest.raises(UserError, match="is an input, which would be lost"):
            main(["--checkpoint", str(checkpoint), "--json", str(name), "--device", "cpu"])
    assert checkpoint.read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("save", "said"),
    [("data/val", "reference"), ("data", "val"), ("out", "theirs")],
)
def test_results_lie_apart_from_what_is_read(tmp_path, save, said):
    read, names = [tmp_path / "data" / "val", tmp_path / "out" / "theirs"], ["val", "theirs"]
    with pytest.raises(UserError, match=rf"--save .*{said}: lies among the pictures that are read; name another place"):
        require_apart({}, tmp_path / save, names, read)
    with pytest.raises(UserError, match=r"--json .*clip\.json: lies among"):
        require_apart({"--json": read[0] / "held" / "clip.json"}, None, names, read)
    require_apart({"--json": tmp_path / "a"}, tmp_path / "saved", names, read)


def test_two_results_are_two_files(tmp_path):
    with pytest.raises(UserError, match=r"--csv .*x: --json names this file too; name another one"):
        require_distinct({"--json": tmp_path / "x", "--csv": tmp_path / "y" / ".." / "x"}, [])


def test_names_of_clips_that_are_no_text_are_written_escaped(tmp_path):
    report = Report({})
    scores = dict.fromkeys(report.metrics, 1.0)
    report.add("bad\udcff", "a", {"blurred": scores})
    report.write_csv(tmp_path / "scores.csv")
    assert "bad\\udcff,a,blurred" in (tmp_path / "scores.csv").read_text()


@pytest.fixture
def evaluated(tree, tmp_path, checkpoint, capsys):
    """Arguments for the small data set -> figures as a tree, and what was printed."""

    def run(*arguments):
        out = tmp_path / "scores.json"
        options = ["--opts", f"DATA.ROOT={tree}", "--device", "cpu", "--json", str(out)]
        assert main([*arguments, *options]) == 0
        return json.loads(out.read_text()), capsys.readouterr().out

    return run


def test_further_metrics_have_columns_everywhere(evaluated, tmp_path, checkpoint, monkeypatch):
    library = ModuleType("piq")
    library.gmsd = lambda a, b: (a - b).square().mean()
    monkeypatch.setitem(sys.modules, "piq", library)
    table, rows, report = (tmp_path / name for name in ("scores.md", "scores.csv", "report.html"))
    files = "--csv", str(rows), "--markdown", str(table), "--report", str(report)
    scores, said = evaluated("--checkpoint", f"ours={checkpoint}", "--metrics", "gmsd", *files)
    assert scores["all"]["TFP"]["gmsd"] is None
    for method in ("blurred", "ours"):
        assert scores["all"][method]["gmsd"] == pytest.approx(10 ** (-scores["all"][method]["psnr"] / 10), rel=0.3)
    assert "GMSD: lower is better (piq, RGB in float)" in said
    assert "| GMSD |" in table.read_text().splitlines()[-7]
    assert "gmsd" in rows.read_text().splitlines()[0]
    assert "GMSD" in report.read_text()


def test_pictures_of_another_program_are_scored_like_those_of_a_checkpoint(evaluated, tmp_path, checkpoint):
    saved, table = tmp_path / "saved", tmp_path / "scores.md"
    own, _ = evaluated("--checkpoint", f"ours={checkpoint}", "--save", str(saved), "--protocol", "kair-gopro")
    assert {folder.name for folder in saved.iterdir()} == {"reference", "blurred", "TFP", "TFI", "ours"}
    both, said = evaluated(
        *(
            "--checkpoint",
            f"ours={checkpoint}",
            "--pictures",
            f"theirs={saved / 'ours'}",
            f"best={saved / 'reference'}",
        ),
        *("--protocol", "kair-gopro", "--csv", str(tmp_path / "scores.csv"), "--markdown", str(table)),
    )
    for found in (both["all"], *both["clips"].values()):
        assert found["theirs"]["psnr"] == pytest.approx(found["ours"]["psnr"], abs=1e-9)
        assert found["theirs"]["ssim"] == pytest.approx(found["ours"]["ssim"], abs=1e-9)
        assert found["best"]["psnr"] is None  # infinite
        assert found["best"]["ssim"] == 1
    assert both["all"]["ours"] == own["all"]["ours"]
    assert "RGB rounded to 8 bits, no border, mean over clips" in said
    with (tmp_path / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    for clip, frames in both["frames"].items():
        of_ours = [float(line["psnr"]) for line in lines if (line["clip"], line["method"]) == (clip, "ours")]
        assert of_ours == frames["ours"]["psnr"]
        assert len(of_ours) == len(frames["stems"]) == both["clips"][clip]["ours"]["frames"]
        assert sum(of_ours) / len(of_ours) == pytest.approx(both["clips"][clip]["ours"]["psnr"])
    assert f"| ours | {both['all']['ours']['psnr']:.2f} |" in table.read_text()


def test_figures_say_which_weights_and_how_fast(evaluated, checkpoint):
    tree, said = evaluated("--checkpoint", str(checkpoint))
    assert tree["models"]["restored"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert tree["speed"]["restored"]["frames_per_second"] > 0
    assert tree["peak_bytes"] > 0
    assert "megapixels a second" in said


def test_frames_are_as_steady_as_their_figures_say(evaluated, tree, tmp_path):
    pytest.importorskip("cv2")
    clip = tree / "val" / "held"
    shutil.copytree(clip / "sharp", tmp_path / "exact" / clip.name)
    found, said = evaluated("--pictures", f"exact={tmp_path / 'exact'}", "--csv", str(tmp_path / "scores.csv"))
    every = found["all"]
    assert list(every) == ["blurred", "TFP", "TFI", "exact", "sharp"]
    # Its texture moves by whole pixels, and its blur with it.
    assert every["exact"]["warp_error"] == every["sharp"]["warp_error"] < 0.25
    assert every["blurred"]["warp_error"] < 0.25
    assert every["TFI"]["warp_error"] is None
    assert every["TFI"]["warp_error_grey"] > every["sharp"]["warp_error_grey"]
    assert [every["sharp"][name] for name in ("psnr", "ssim_grey")] == [None, None]
    of_frames = found["frames"][clip.name]["sharp"]["warp_error"]
    assert of_frames[0] is None
    assert sum(of_frames[1:]) / len(of_frames[1:]) == pytest.approx(every["sharp"]["warp_error"])
    with (tmp_path / "scores.csv").open() as file:
        first = next(csv.DictReader(file))
    assert (first["warp_error"], first["warp_error_grey"]) == ("", "")
    assert "warp error RGB" in said
    assert "opencv" not in said


def test_without_opencv_the_column_is_absent(evaluated, tree, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    clip = tree / "val" / "held"
    shutil.copytree(clip / "sharp", tmp_path / "exact" / clip.name)
    found, said = evaluated("--pictures", f"exact={tmp_path / 'exact'}")
    assert list(found["all"]) == ["blurred", "TFP", "TFI", "exact"]
    assert "warp_error" not in found["all"]["exact"]
    assert "warp error RGB" not in said
    assert said.count("the extra flow): pip install opencv-python-headless\n") == 1


def test_folders_alone_need_no_model(evaluated, tree, tmp_path):
    for clip in (tree / "val").iterdir():
        shutil.copytree(clip / "blur", tmp_path / "theirs" / clip.name)
    found, _ = evaluated("--pictures", str(tmp_path / "theirs"), "--border", "4", "--protocol", "y-uint8")
    assert found["all"]["pictures"] == found["all"]["blurred"]
    next((tmp_path / "theirs").glob("*/*.png")).unlink()
    with pytest.raises(UserError, match=r"theirs/.*\.png"):
        evaluated("--pictures", str(tmp_path / "theirs"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to compare: name models by --checkpoint, or folders by --pictures"),
        (["--pictures", "nowhere"], "--pictures nowhere: no such folder"),
        (["--checkpoint", "x=a.pt", "--pictures", "x=."], "--pictures x: a checkpoint is called so too"),
    ],
)
def test_what_is_compared_has_to_be_there(arguments, message):
    with pytest.raises(UserError, match=message):
        main([*arguments, "--device", "cpu"])
