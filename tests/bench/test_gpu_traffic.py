"""DRAM bytes: parsing Nsight Compute's output, and comparing it with what the operators declare."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.gpu import traffic
from bench.gpu.part import Finding
from bench.gpu.setting import Setting, timed_cases
from bench.gpu.traffic import moved_by_kernel, ncu_command
from bench.workloads.workload import DIRECTIONS

NAMES = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device",'
    '"CC","Section Name","Metric Name","Metric Unit","Metric Value"'
)
BEGIN = '"{}","4242","python3.12","127.0.0.1","{}","1","7","(256, 1, 1)","(1024, 2, 1)","0","9.0",'
KINDS = 10
"""Kinds of kernels that a model runs, as they are profiled."""
FORWARD, BACKWARD = "temporal_block_kernel", "temporal_block_bwd_mlp_kernel"
SECTION = '"Command line profiler metrics",'
CSV = "\n".join(
    [
        '==PROF== Connected to process 4242 (/usr/bin/python3.12)',
        f'==PROF== Profiling "{FORWARD}": 0%....50%....100% - 1 pass',
        "==PROF== Disconnected from process 4242",
        NAMES,
        BEGIN.format(0, FORWARD) + SECTION + '"dram__bytes_read.sum","byte","126,353,408"',
        BEGIN.format(0, FORWARD) + SECTION + '"dram__bytes_write.sum","Mbyte","62.5"',
        BEGIN.format(1, BACKWARD) + SECTION + '"dram__bytes_read.sum","byte","1,000"',
        BEGIN.format(1, BACKWARD) + SECTION + '"dram__bytes_write.sum","byte","500"',
        BEGIN.format(2, BACKWARD) + SECTION + '"dram__bytes_read.sum","Kbyte","2"',
        BEGIN.format(2, BACKWARD) + SECTION + '"dram__bytes_write.sum","byte","0"',
        BEGIN.format(2, BACKWARD) + SECTION + '"gpu__time_duration.sum","ns","123"',
    ]
)  # fmt: skip


def test_bytes_by_kernel():
    forward, backward = moved_by_kernel(CSV)
    assert (forward.kernel, forward.launches, forward.read, forward.written) == (FORWARD, 1, 126353408, 62.5e6)
    assert (backward.launches, backward.read, backward.written) == (2, 3000, 500)
    assert (forward.backward, backward.backward) == (False, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("==PROF== Connected\n==ERROR== ERR_NVGPUCTRPERM - no permission\n", "ERR_NVGPUCTRPERM - no permission"),
        ("", "ncu printed no table"),
    ],
)
def test_no_table_is_ncus_own_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        moved_by_kernel(text)


def test_a_profiled_case_gives_a_row_a_kernel_and_a_row_a_direction(monkeypatch):
    declared = zip(DIRECTIONS, (5, 6), strict=True)
    said = [Finding("declared", figures={"direction": d, "bytes": b}).line() for d, b in declared]

    def run(command, **options):
        Path(command[command.index("--log-file") + 1]).write_text(CSV)
        return SimpleNamespace(stdout="\n".join(["talk", *said]))

    monkeypatch.setattr(traffic.subprocess, "run", run)
    rows = list(traffic.profiled(Setting(dry=True), "ncu", 0))
    assert {row.figures["kernel"]: (row.figures["read"], row.figures["declared"]) for row in rows} == {
        FORWARD: (126353408, None),
        BACKWARD: (3000, None),
        "all of the forward": (126353408, 5),
        "all of the backward": (3000, 6),
    }


def test_no_permission_is_a_row_and_the_next_case_goes_on(monkeypatch):
    refused = SimpleNamespace(stdout="==ERROR== ERR_NVGPUCTRPERM - no permission\n")
    monkeypatch.setattr(traffic.subprocess, "run", lambda command, **options: refused)
    monkeypatch.setattr(traffic, "tool", lambda name: "ncu")
    rows = list(traffic.kernels(Setting(dry=True)))
    assert len(rows) == KINDS
    assert all(row.bad and row.text.endswith("ERR_NVGPUCTRPERM - no permission") for row in rows)


def test_the_kinds_that_are_profiled_are_the_largest_of_each():
    cases = timed_cases(Setting(dry=True))
    taken = [cases[i] for i in traffic.largest_of_kinds(cases)]
    words = sorted(word for case in taken if (word := case.shape.split()[0]).isalpha())
    assert words == ["block", "cross", "fuse", "mutual", "self", "self"]
    assert {case.op for case in taken} == {case.op for case in cases}
    assert len(taken) == KINDS


def test_the_command_profiles_only_between_the_profilers_calls():
    command = ncu_command("/opt/ncu", "out.csv", ["python", "-m", "x"])
    assert command[:5] == ["/opt/ncu", "--target-processes", "all", "--profile-from-start", "off"]
    assert command[-3:] == ["python", "-m", "x"]


def test_without_ncu_one_line_says_so(monkeypatch):
    monkeypatch.setattr(traffic, "tool", lambda name: None)
    (row,) = traffic.kernels(Setting(dry=True))
    assert row.text.startswith("Nsight Compute (ncu) is not on this machine")
    assert not row.bad
