"""The bench report made from a small file, and the proof rows of the Triton entry."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from bench import report
from bench.results import chart
from bench.results.chart import COLOURS
from bench.results.rows import JSON_KEY, SHOWN_GPUS, Row, by_comparison, from_json, tables, to_json
from bench.without_gpu import declared
from bench.without_gpu.counts import Counts
from bench.workloads.temporal import CROSS, OPERATORS, SELF, entries, temporal_workload
from bench.workloads.workload import DIRECTIONS
from spikevrt.errors import UserError

MEASURED = Row(
    "self block", "1x8x2x4x4", "forward", "sdpa", "float32", tokens=32, unit=1024, moved=5120, peak=2048,
    seconds=(0.001, 0.002, 0.004), error=1e-7,
)  # fmt: skip
PROVED = Row(
    "self block", "1x8x2x4x4", "forward", "triton", "bfloat16", tokens=32, unit=512, moved=2560, counted=5.0,
    bounds={"H100 SXM": 1e-5},
)  # fmt: skip


def results(tmp_path, rows):
    path = tmp_path / "out.json"
    machine = {"spikevrt": ["machine: a small one"]}
    path.write_text(json.dumps({"benchmarks": [], "machine_info": machine, JSON_KEY: to_json(rows)}))
    return path


def test_tables_and_picture_of_a_file(tmp_path, capsys):
    path = results(tmp_path, [MEASURED, PROVED])
    assert from_json(json.loads(path.read_text())) == [MEASURED, PROVED]
    assert report.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert "machine: a small one" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("sdpa")]
    # Milliseconds, million tokens a second (p20 is the slow side), units moved, saved, peak, MB.
    assert line.split()[1:] == ["2.00", "1.00", "4.00", "0.02", "0.01", "0.03", "5.0", "-", "2.0", "0.0", "-"]
    assert "no GPU here, so proof in place of times: 5.0 units counted, predicted bound: H100 SXM 0.010 ms" in printed
    with Image.open(tmp_path / "out.png") as image:
        assert image.width > 1000
        assert image.getcolors(1 << 16) is None or len(image.getcolors(1 << 16)) > 3


def test_no_words_of_the_picture_run_into_the_next_panel():
    slow = dataclasses.replace(
        MEASURED, operator="mutual and self window attention", direction="forward+backward", entry="published",
        seconds=(98.7654, 99.9999, 100.0), peak=999 * 1024, saved=888 * 1024,
    )  # fmt: skip
    fast = dataclasses.replace(slow, entry="naive", seconds=(1.0, 1.1, 1.2))
    proved = dataclasses.replace(slow, entry="triton", seconds=None, bounds=dict.fromkeys(SHOWN_GPUS, 0.0123456))
    image = chart.chart([slow, fast, proved], ["machine: a small one"])
    picture = np.asarray(image.convert("L"))
    heading = chart.MARGIN + 30 + (len(chart.EXPLANATION) + 2) * chart.LINE_HEIGHT + chart.SHAPE_GAP + 1
    assert (picture[:, : chart.MARGIN // 2] == 255).all()
    assert (picture[:, -chart.MARGIN // 2 :] == 255).all()
    for x in (chart.column(1), chart.column(1) + chart.TIME_WIDTH + chart.GUTTER):
        assert (picture[heading:, x - 12 : x - 2] == 255).all()
    assert sorted(e for e, c in COLOURS.items() if has_colour(image, c)) == ["naive", "published", "triton"]


def has_colour(image, colour):
    return (np.asarray(image) == ImageColor.getrgb(colour)).all(-1).any()


def test_a_backend_alone_and_rows_without_times_are_drawn():
    for rows in ([MEASURED], [PROVED], [dataclasses.replace(PROVED, bounds={}, direction="forward+backward")]):
        assert chart.chart(rows).height > 200


def test_rows_of_other_shapes_or_directions_are_not_compared():
    other = Row(**{**to_json([MEASURED])[0], "direction": "forward+backward"})
    assert len(by_comparison([MEASURED, PROVED, other])) == 2


@pytest.mark.parametrize("text", ["no json", "[]", "{}", json.dumps({"benchmarks": []})])
def test_a_file_that_holds_no_results(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"other\.json: .*pytest bench --benchmark-only --benchmark-json"):
        report.main([str(path)])
    assert not path.with_suffix(".png").exists()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_proof_rows_count_what_the_kernels_declare(direction, monkeypatch):
    counts = {CROSS: Counts(4.0, 22.0, 3.0 + 1 / 12, 1, 5)}
    monkeypatch.setattr(declared, "count_in_interpreter", lambda: counts)
    row = declared.proof_along_time(CROSS, (1, 96, 5, 16, 16), direction)
    assert row.seconds is None
    assert row.moved == row.counted * row.unit, "declared and counted agree"
    assert row.saved == (None if direction == "forward" else counts[CROSS].saved * row.unit), (
        "planned and counted agree"
    )
    assert row.bounds["H100 SXM"] <= row.bounds["RTX A6000"], "on small features the host binds on both"
    assert "not run here" in tables([row])[3]


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_entry_of_a_case_is_right_on_an_odd_shape(operator):
    work = temporal_workload(operator, (2, 8, 3, 5, 3), torch.float32, "cpu")
    for entry in entries(operator):
        if entry != "triton":
            work.check(entry)


def test_a_wrong_entry_gives_no_figure():
    good = temporal_workload(SELF, (1, 8, 2, 3, 3), torch.float32, "cpu")

    def run(leaves, entry):
        out = good.case.run(leaves, entry)
        return out + (1e-3 * out.detach() if entry == "sdpa" else 0)

    case = dataclasses.replace(good.case, run=run)
    wrong = dataclasses.replace(good, case=case, checked=case, compared={})
    wrong.check("published")
    with pytest.raises(AssertionError, match=r"self block, 1x8x2x3x3, sdpa: wrong: output is off by 1\.0e-03"):
        wrong.check("sdpa")
