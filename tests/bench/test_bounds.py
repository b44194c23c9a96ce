"""Bounds of whole runs: sums over calls, and instructions that are counted once and kept."""

import pytest

from bench.bounds import main
from bench.without_gpu import whole
from bench.without_gpu.whole import Counted, count_side_by_side, counted, tasks, whole_bound
from spikevrt_kernels.core.keys import key_of
from spikevrt_kernels.proof.calls import Call, Calls, LaunchKey
from spikevrt_kernels.proof.roofline import BANDWIDTH_SHARE, GPUS, LAUNCH_SECONDS, TENSOR_SHARE, Work
from spikevrt_kernels.proof.work import launch_work
from tests.toy_kernels import exponentials, unknown

H100 = next(gpu for gpu in GPUS if gpu.name == "H100 SXM")
SMALL = [
    "DATA.CROP_SIZE=64",
    "TRAIN.BATCH_SIZE=1",
    "MODEL.VRT.DEPTHS=[2,1,1,1,1,1,1,1]",
    "MODEL.VRT.INDEP_RECONSTS=[7]",
]


def test_each_call_is_bound_by_its_own_limit():
    kernel = LaunchKey(key_of(exponentials(1, 1, 1)), (1,), ())
    moves = Call("copy", int(BANDWIDTH_SHARE * H100.bandwidth), 0, 1, ())
    multiplies = Call("product", 0, int(TENSOR_SHARE * H100.tensor_rate), 2, (kernel,))
    second = H100.multiprocessors * H100.clock
    found = whole_bound(H100, {moves: 2, multiplies: 3}, {kernel: Work(2 * second, 0, 0)})
    assert found.memory == pytest.approx(2)
    assert found.tensor == pytest.approx(3)
    assert found.issue == pytest.approx(1.5), "four instructions a clock"
    assert found.gaps == pytest.approx(8 * LAUNCH_SECONDS)
    assert found.seconds == pytest.approx(5 + found.gaps)


def test_launches_are_counted_once_and_kept(tmp_path):
    launches, path = [exponentials(tiles, 5, 3, 1024) for tiles in (3, 7)], tmp_path / "counts.jsonl"
    calls = Calls(80)
    for launch in (*launches, unknown()):
        calls.launches[LaunchKey(key_of(launch), launch.grid, tuple(launch.arguments.items()))] = launch
    left = tasks([calls, calls], Counted(path))
    assert sorted(len(task.keys) for task in left) == [1, 2], "one task for each binary"
    count_side_by_side(left, Counted(path), 1)
    with path.open("a") as file:
        file.write('\n["cut off')
    again = Counted(path)
    assert tasks([calls], again) == []
    assert list(counted(calls, again).values()) == [*(launch_work(launch, 80) for launch in launches), None]


def test_the_command_prints_a_line_for_each_run_and_gpu(capsys, monkeypatch):
    """A step goes the same way, and takes long to trace."""
    monkeypatch.delitem(whole.RUNS, "step")
    assert main(["--config", "demo", "--bytes-only", "--by-work", "--gpus", "H100", "A100", "--opts", *SMALL]) == 0
    table, by_work = capsys.readouterr().out.split("| work ")
    lines = [line.split(" | ") for line in table.splitlines() if "100 " in line]
    assert [line[:2] for line in lines] == [["| forward", "A100 80 GB"], ["| forward", "H100 SXM"]]
    assert all(0 < float(line[-1].strip("* |")) < float(line[-2]) for line in lines), "on small frames the host binds"
    rows = [line for line in by_work.splitlines() if line.startswith("| ") and "--" not in line][1:]
    kinds = [row.strip("| ").split(" | ") for row in rows]
    for column, line in enumerate(lines, 1):
        assert sum(float(kind[column]) for kind in kinds) == pytest.approx(float(line[-1].strip("* |")), abs=1)
