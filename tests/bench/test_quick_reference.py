"""The quick reference is what the program writes, and what it says of the code and of memory is true."""

import re
from pathlib import Path

import pytest

from bench.documents.memory import KEPT, Case, cases, kept_figures, of_memory, predicted
from bench.documents.page import NAMES, filled
from bench.quick_reference import main
from spikevrt.config import load_config
from spikevrt.models.segment_costs import Traced
from spikevrt.models.segment_runs import Cost, Work
from spikevrt.models.segments import Way
from spikevrt.training.memory_budget import GB, StepMemory

ROOT = Path(__file__).parents[2]
REMEDY = "python -m bench.quick_reference --kept-memory writes it anew"
TRADITIONAL = set("簡單維數據場訓練權減層塊號實際啟題續護檢損歸樣載緩輪總樣預驟嘗試繼為無與")
ROW = re.compile(r"^\| (`[A-Za-z_].*?) \| (`[\w/]+\.py`.*?) \|", re.MULTILINE)
QUOTED = re.compile(r"`([^`]+)`")
IN_RUNS = {Case("default", "triton", 8), Case("high_quality", "triton", 4), Case("fast", "triton", 2)}
"""Half a minute each; the other backends take several."""


def test_both_languages_are_what_the_program_writes(tmp_path):
    main(["--kept-memory", "--out", str(tmp_path)])
    for name in NAMES:
        assert (ROOT / "docs" / name).read_text("utf-8") == (tmp_path / name).read_text("utf-8"), REMEDY


def test_memory_is_kept_for_the_cases_that_are_shown():
    assert list(kept_figures()) == [case.name for case in cases()], f"python -m bench.quick_reference writes {KEPT}"
    assert set(cases()) >= IN_RUNS


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.runs if case in IN_RUNS else pytest.mark.slow) for case in cases()],
    ids=lambda case: case.name,
)
def test_memory_is_what_is_traced(case):
    assert predicted(case) == kept_figures()[case.name], "python -m bench.quick_reference writes it anew"


def test_figures_of_a_step_of_two_segments():
    ways = (Cost(Way.KEEP, 30 * GB, 40 * GB, 40 * GB, 0, 0), Cost(Way.AGAIN, 1 * GB, 12 * GB, 12 * GB, 5 * GB, 5 * GB))
    memory = StepMemory(
        2 * GB,
        (Traced("fusion", ways, Work(4 * GB), Work()), Traced("blocks", ways[:1], Work(6 * GB), Work())),
        Work(),
    )
    found = of_memory(load_config("default"), memory)
    assert (found["least"], found["least again"], found["all"]) == (43.0, 0.5, 72.0)
    assert found["again"] == {"GPU 48": 0.5, "GPU 80": 0.0}
    assert found["fits"] == {"GPU 8": ["DATA.CROP_SIZE=88"], "GPU 24": ["DATA.CROP_SIZE=176", "DATA.CLIP_LEN=2"]}
    assert found["kept"] == {"fusion": 30.0, "vrt": 30.0}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": "${size} ${TRAIN.LR} ${no.such}"}, r"a: unknown fields \['no.such'\]"),
        ({"a": "${TRAIN.LR}"}, r"a: does not show \['size'\]"),
        ({"a": "${size} ${TRAIN.LR}", "b": "${size}"}, r"b: does not show \['TRAIN.LR'\]"),
        ({"a": "${size} $"}, "Invalid placeholder"),
    ],
)
def test_fields_that_are_unknown_or_not_shown_are_errors(texts, message):
    with pytest.raises(ValueError, match=message):
        filled(texts, {"size": "1"}, {"TRAIN.LR": "2", "TRAIN.SEED": "3"})


@pytest.mark.parametrize("name", NAMES)
def test_names_are_in_the_files_that_the_table_gives(name):
    rows = ROW.findall((ROOT / "docs" / name).read_text("utf-8"))
    assert len(rows) == 13
    for names, files in rows:
        code = "".join((ROOT / file).read_text() for file in QUOTED.findall(files))
        for defined in QUOTED.findall(names):
            assert re.search(rf"^(class|def) {defined}\b", code, re.MULTILINE), defined


@pytest.mark.parametrize("path", ["docs/quick_reference.zh.md", "README.zh.md"])
def test_chinese_is_simplified(path):
    assert not TRADITIONAL & set((ROOT / path).read_text("utf-8"))
