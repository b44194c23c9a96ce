"""Tuning, with invented binaries and times: which tile sizes are tried, skipped and stored."""

import os
import time
from types import SimpleNamespace

import pytest
import torch

from bench import tune
from bench.tuning import trials
from bench.tuning.subjects import CANDIDATES, CONFIG_TYPES, TILE_TABLES, as_in_table, candidates, static_row, subjects
from bench.tuning.trials import (
    Asked,
    Compiled,
    Started,
    Tried,
    compile_candidates,
    compile_every_candidate,
    fastest,
    kernel_seconds,
    try_rows,
)
from spikevrt.config import load_config
from spikevrt.errors import UserError
from spikevrt_kernels.core.keys import by_key
from spikevrt_kernels.core.tuned import Kernel, read_rows
from spikevrt_kernels.proof.compiler import Resources, compile_launch

pytestmark = pytest.mark.binaries

ASKED = Asked("default", (), 90)
CARD = "a card"
STATIC, FAST, SLOW, BROKEN, HUNG = (16, 8, 2), (64, 8, 6), (32, 4, 6), (32, 8, 3), (16, 4, 3)


def subject(name):
    return next(s for s in subjects(load_config("default"), 90) if s.kernel.name == name)


def test_every_row_of_both_tables_has_candidates_and_stands_first():
    assert set(CANDIDATES) == {(op, name) for op, table in TILE_TABLES.items() for name in table}
    for op, name in CANDIDATES:
        first, *others = candidates(Kernel(op, name, ()))
        assert first == tuple(TILE_TABLES[op][name])
        assert len(others) >= 3
        assert first not in others
        for row in others:
            assert CONFIG_TYPES[op](*row).options()["num_warps"] in (4, 8)
    assert sum(row[0] == 64 for row in CANDIDATES["temporal_block", "bwd_mlp"]) >= 2, "64 rows for Hopper"


def test_subjects_are_the_kernels_of_a_training_step():
    every = subjects(load_config("default"), 90)
    found = {s.kernel.name for s in every if s.kernel.operator in ("temporal_block", "window_attention")}
    block = {"block", "bwd_dy", "bwd_mlp", "bwd_attend", "bwd_project_1", "bwd_project_2", "bwd_project_3"}
    window = {"bias", "forward", "query_backward", "key_backward", "table_backward"}
    assert found == block | window | {"mutual_forward", "mutual_backward"}
    elsewhere = {s.kernel.name for s in subjects(load_config("default"), 80)}
    assert elsewhere - {s.kernel.name for s in every} == {"attend", "mlp"}
    assert {s.kernel.operator for s in every} == set(TILE_TABLES)
    assert all(s.checked and s.timed for s in every)


def test_a_subjects_launches_are_its_own_with_the_row():
    launches = subject("bwd_mlp").launches(FAST)
    assert {launch.kernel.__name__ for launch in launches} == {"temporal_block_bwd_mlp_kernel"}
    assert {(launch.arguments["P"], launch.options["num_warps"]) for launch in launches} == {(64, 8)}
    forward = subject("block").launches((128, 4, 1))
    assert {launch.arguments["SHARED"] for launch in forward} == {True, False}, "training and restoration"


def resources(stack):
    return Resources("k", 90, 8, 200, stack, 1000, 0, 0, 64, 0, 0.0)


def test_one_and_two_windows_a_program_are_tried_where_windows_share_a_bias():
    for name, tried in (("forward", {1, 2}), ("mutual_forward", {1}), ("key_backward", {1})):
        assert {row[3] for row in candidates(Kernel("window_attention", name, ()))} == tried


def test_what_spills_or_does_not_compile_is_left_out(monkeypatch):
    def compile_launch(launch, architecture):
        if launch.arguments["P"] == 32:
            raise RuntimeError("out of resources\nmore")
        return resources(stack=8 if launch.options["num_warps"] == 4 else 0)

    monkeypatch.setattr(trials, "compile_launch", compile_launch)
    found = {one.row: one for one in compile_candidates(ASKED, subject("bwd_mlp").kernel)}
    assert [row for row, one in found.items() if one.fits] == [STATIC, (64, 8, 3), FAST]
    assert found[BROKEN].reason == "RuntimeError: out of resources"


def test_a_tall_tile_of_the_backward_compiles_for_hopper_without_a_stack():
    for launch in list(by_key(subject("bwd_mlp").launches(FAST)).values())[:1]:
        found = compile_launch(launch, 90)
        assert (found.stack, found.warps) == (0, 8)
        assert found.tensor_core


def test_candidates_are_compiled_in_processes_whose_end_is_a_reason(monkeypatch):
    monkeypatch.setattr(trials, "compile_candidates", half_compiled)
    kernel = subject("bwd_mlp").kernel
    found = compile_every_candidate(ASKED, [kernel], workers=1)[kernel]
    assert [(one.row, one.reason) for one in found] == [(STATIC, None), (candidates(kernel)[1], "crashes (SIGABRT)")]


def half_compiled(asked, kernel):
    yield Compiled(kernel, STATIC)
    os.abort()


def crashing(asked, kernel, rows):
    for row in rows:
        yield Started(row)
        if row == BROKEN:
            os.abort()
        yield Tried(row, 1.0 if row == FAST else 2.0)


def unable(asked, kernel, rows):
    raise RuntimeError("no such device")
    yield


def test_a_row_that_breaks_its_process_costs_only_itself():
    found = try_rows(ASKED, subject("bwd_mlp").kernel, [STATIC, BROKEN, FAST], crashing)
    assert [(one.row, one.seconds) for one in found] == [(STATIC, 2.0), (BROKEN, None), (FAST, 1.0)]
    assert found[1].reason == "crashes (SIGABRT)"


def test_a_process_that_cannot_begin_is_asked_once():
    found = try_rows(ASKED, subject("bwd_mlp").kernel, [STATIC, FAST], unable)
    assert [one.row for one in found] == [STATIC, FAST]
    assert {one.reason for one in found} == {"ends with code 1: RuntimeError: no such device"}


def test_the_static_row_stays_unless_another_gains_something():
    assert fastest([Tried(STATIC, 1.0), Tried(FAST, 0.5)], STATIC) == FAST
    assert fastest([Tried(STATIC, 1.0), Tried(FAST, 0.99)], STATIC) == STATIC
    assert fastest([Tried(STATIC, None, "wrong"), Tried(FAST, 3.0)], STATIC) == FAST
    assert fastest([Tried(STATIC, None, "wrong"), Tried(FAST, None, "wrong")], STATIC) == STATIC


def test_the_time_is_that_of_the_kernel_alone():
    class Event:
        def __init__(self, key, time):
            self.key, self.self_device_time_total = key, time

    events = [Event("temporal_block_bwd_mlp_kernel", 250.0), Event("temporal_block_bwd_dy_kernel", 750.0)]
    assert kernel_seconds(events, {"temporal_block_bwd_mlp_kernel"}) == pytest.approx(250e-6)


def test_rows_are_printed_and_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPIKEVRT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(name=CARD))
    tried = [Tried(STATIC, 1.0), Tried(FAST, 0.5), Tried(SLOW, None, "wrong: output is off")]
    asked = []
    monkeypatch.setattr(tune, "try_rows", lambda a, kernel, rows: asked.append(rows) or tried)
    kernel = subject("bwd_mlp").kernel
    binaries = [Compiled(kernel, STATIC), Compiled(kernel, FAST), Compiled(kernel, HUNG, stack=8)]
    assert tune.measure_all(ASKED, {kernel: binaries}, time.monotonic() + 60) == 0
    assert asked == [[STATIC, FAST]]
    assert read_rows(CARD) == {kernel: FAST}
    printed = capsys.readouterr().out
    assert f'static table: "bwd_mlp": {as_in_table(kernel, FAST)},' in printed
    assert "Config(pixels=64, warps=8, parts=6)" in printed
    assert "wrong: output is off" in printed
    tried[1] = Tried(FAST, 2.0)
    tune.measure_all(ASKED, {kernel: binaries}, time.monotonic() + 60)
    assert read_rows(CARD) == {}, "tuned again, the static table's row won"
    tune.measure_all(ASKED, {kernel: binaries}, time.monotonic() - 1)
    assert "no time left" in capsys.readouterr().out


def test_without_a_gpu_the_candidates_are_listed(monkeypatch, capsys):
    kernel = subject("table_backward").kernel
    found = {kernel: [Compiled(kernel, static_row(kernel), 48, 0, 256, 0), Compiled(kernel, (32, 64, 4), 255, 8, 1, 0)]}
    monkeypatch.setattr(tune, "compile_every_candidate", lambda *_: found)
    assert tune.main(["--kernel", "table_backward", "--architecture", "90"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["48", "0", "256", "0", "static"] in [line[-5:] for line in lines]
    assert ["255", "8", "1", "0", "spills"] in [line[-5:] for line in lines]


def test_an_unknown_kernel_is_one_line():
    with pytest.raises(UserError, match=r"--kernel mlpp: this configuration runs no such kernel; use block, "):
        tune.main(["--kernel", "mlpp"])


def test_another_architecture_is_not_measured_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    with pytest.raises(UserError, match=r"--architecture 80: this GPU is sm_90; add --dry to compile for another"):
        tune.main(["--architecture", "80"])
