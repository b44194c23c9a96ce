"""The report of a GPU, with made-up runs of its parts; and what a machine without one says."""

import json

import pytest
import torch

from bench.gpu_report import Done, main
from spikevrt.errors import UserError

GIB = 2**30


def test_without_a_gpu_one_line_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"no CUDA device here: run make gpu-report on a machine with one") as caught:
        main(["--out", str(tmp_path / "report.md")])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def step(backend, seconds, peak, predicted):
    return json.dumps({"backend": backend, "seconds": seconds, "peak": peak, "predicted": predicted})


RUNS = {
    "spikevrt.selftest": Done(1, "the table\n", ""),
    "pytest": Done(0, "5 passed\n", ""),
    "bench.report": Done(0, "the bench's tables\n", ""),
    "sdpa": Done(0, step("sdpa", 2.0, 9 * GIB, 8 * GIB), ""),
    "auto": Done(0, "attention: temporal_block takes triton, 3.1 ms\n" + step("auto", 1.5, 7 * GIB, None), ""),
    "triton": Done(2, "", "warning: something\nerror: temporal_block: attention backend triton: wrong: output\n"),
    "naive": Done(2, "", "error: out of GPU memory; change ...\n"),
    "naive --predict": Done(0, step("naive", None, None, 90 * GIB), ""),
    "triton --predict": Done(1, "", "Traceback\n"),
}


def run(arguments):
    module, *others = arguments
    if module != "bench.training_step":
        return RUNS[module]
    return RUNS[" ".join(others[3:])]


def test_all_parts_stand_in_one_file_whatever_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("bench.gpu_report.machine_lines", lambda: ["a GPU"])
    out = tmp_path / "report.md"
    assert main(["--out", str(out)], run) == 0
    text = out.read_text()
    assert text.startswith("# GPU report\n\n```\na GPU\n```\n")
    assert "**Something is wrong.**\n\n```\nthe table\n```" in text
    assert "Passed.\n\n```\nthe bench's tables\n```" in text
    rows = {line.split()[0]: line for line in text.splitlines() if line.split() and line.split()[0] in RUNS}
    assert rows["sdpa"].split()[1:] == ["2.000", "9.00", "8.00"]
    assert rows["auto"].split()[1:4] == ["1.500", "7.00", "-"]
    assert rows["auto"].endswith("attention: temporal_block takes triton, 3.1 ms")
    assert rows["naive"].split()[1:4] == ["-", "-", "90.00"]
    assert rows["naive"].endswith("error: out of GPU memory; change ...")
    assert rows["triton"].split()[1:4] == ["-", "-", "-"]
    assert rows["triton"].endswith("attention backend triton: wrong: output")
    assert f"written: {out}" in capsys.readouterr().out
