"""Curves of runs: one run, several, one that has only begun."""

import json

import pytest
from matplotlib.figure import Figure
from PIL import Image

from spikevrt.errors import UserError
from spikevrt.plot import draw, main, named, read_run


def run(folder, steps):
    """The folder of a run with a log."""
    folder.mkdir(parents=True)
    rows = []
    for step in range(1, steps + 1):
        rows.append({"kind": "train", "step": step, "loss": 1 / step, "grad_norm": None, "seconds": 0.5})
        if step % 5 == 0:
            rows.append({"kind": "val", "step": step, "psnr": 20.0 + step, "blurred_psnr": 22.0, "ssim": 0.9})
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "tra')
    return folder


def drawn(path):
    """Colours of a picture, without white, black and grey."""
    with Image.open(path) as image:
        return {c for _, c in image.convert("RGB").getcolors(2**24) if max(c) - min(c) > 100}


def test_curves_of_one_run_stand_beside_its_log(tmp_path, capsys):
    folder = run(tmp_path / "first", 20)
    assert main([str(folder)]) == 0
    assert drawn(folder / "curves.png")
    assert "1 runs in" in capsys.readouterr().out


def test_runs_are_compared_in_their_own_colours(tmp_path):
    runs = [run(tmp_path / name, steps) for name, steps in (("a", 20), ("b", 7))]
    out = tmp_path / "both.png"
    assert main([*map(str, runs), "--out", str(out), "--values", "loss", "psnr", "lr"]) == 0
    both = drawn(out)
    assert main([str(runs[0]), "--out", str(out), "--values", "loss", "psnr", "lr"]) == 0
    assert len(drawn(out)) < len(both)


def test_names_of_runs_are_no_formulas_and_none_is_hidden(tmp_path):
    folders = [run(tmp_path / name, 3) for name in ("_a$\\frac$", "_b")]
    figure = Figure()
    axes = figure.subplots()
    draw(axes, "loss", {folder.name: read_run(folder) for folder in folders})
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["_a$\\frac$", "_b"]
    figure.savefig(tmp_path / "curves.png")


def test_runs_of_one_name_are_told_apart(tmp_path):
    assert list(named([tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "c"])) == [
        str(tmp_path / "a" / "run"),
        str(tmp_path / "b" / "run"),
        "c",
    ]


def test_folders_without_a_run_are_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no log\.jsonl; name the folder of a run"):
        main([str(tmp_path)])
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(UserError, match="no step has been logged yet"):
        main([str(tmp_path)])
