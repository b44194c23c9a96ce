"""Predicted beside measured memory after a run's first step, and the answer to memory that runs out."""

import json
import re
import weakref

import pytest
import torch

from spikevrt.config import load_config
from spikevrt.errors import MESSAGE_LENGTH, UserError
from spikevrt.models.memory_plan import choice_of
from spikevrt.models.segment_costs import Traced
from spikevrt.models.segment_runs import Cost, Work
from spikevrt.models.segments import Way
from spikevrt.system import memory as system_memory
from spikevrt.training import memory_watch, optimiser_step
from spikevrt.training import trainer as trainer_module
from spikevrt.training.distributed import Processes
from spikevrt.training.memory_budget import GB, Planned, StepMemory
from spikevrt.training.memory_watch import MemoryWatch
from spikevrt.training.run_log import RunLog
from spikevrt.training.trainer import Trainer
from spikevrt_kernels.core.names import Backends
from tests.small_data import small_config

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
BLOCKS = Traced(
    "blocks",
    (Cost(Way.KEEP, 4 * GB, 5 * GB, 5 * GB, 6 * GB, 0), Cost(Way.AGAIN, GB, 2 * GB, 5 * GB, 9 * GB, 3 * GB)),
    Work(3 * GB),
    Work(6 * GB),
)
MEMORY = StepMemory(GB, (BLOCKS, BLOCKS), Work())
"""A step that keeps 10 GB, or computes the first segment again within 7."""
KEPT = Planned((Way.KEEP, Way.KEEP), 10 * GB, "")
CUDA_ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")


def watch(planned=None, device=CUDA, *options):
    return MemoryWatch(load_config("demo", list(options)), Backends.of("sdpa"), None, device, planned)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU's counters: what is allocated, the peak, and what is free."""
    counters = {"memory_allocated": 2 * GB, "max_memory_allocated": 8 * GB, "memory_reserved": 9 * GB}
    for name in counters:
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: counters[name])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GB, 16 * GB))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: counters.update(max_memory_allocated=0))
    return counters


@pytest.mark.parametrize(
    ("planned", "line", "row"),
    [
        (
            KEPT,
            "memory of step 3: predicted peak 10.00 GB, measured peak 9.50 GB, ratio 0.950",
            {"measured_gb": 9.5, "predicted_gb": 10.0, "ratio": 0.95},
        ),
        (None, "memory of step 3: measured peak 9.50 GB", {"measured_gb": 9.5}),
    ],
)
def test_the_first_step_of_a_run_is_measured(tmp_path, gpu, capsys, planned, line, row):
    """With the optimiser's state, which it makes after its peak: 0.5 GB here."""
    own, log = watch(planned), RunLog(tmp_path, 2, 9, shown=True)
    for number in (3, 4):
        with own.step(number, log):
            gpu.update(max_memory_allocated=9 * GB, memory_allocated=int(2.5 * GB))
    log.close()
    assert [x for x in capsys.readouterr().out.splitlines() if "memory" in x] == [line]
    assert [json.loads(x) for x in log.path.read_text().splitlines()] == [{"kind": "memory", "step": 3, **row}]


def test_the_cpu_knows_no_peak_of_tensors(tmp_path, monkeypatch):
    log = RunLog(tmp_path, 0, 9, shown=True)
    with watch(KEPT, CPU).step(1, log):
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", pytest.fail)
    log.close()
    assert log.path.read_text() == ""


def test_what_tensors_may_take_of_a_gpu(gpu, monkeypatch):
    """3 GB are free, 9 reserved by PyTorch, 2 in use; a budget is chosen from what is free, an answer from all."""
    monkeypatch.setattr(system_memory, "for_tensors", lambda size: size)
    assert system_memory.free_for_tensors(CUDA) == 10 * GB
    assert system_memory.room_for_tensors(CUDA) == 12 * GB


def test_what_tensors_may_take_of_a_machine(monkeypatch):
    """ulimit -v bounds it; processes of one training share it."""
    free = system_memory.free_for_tensors(CPU)
    assert GB // 100 < free < 2**50
    assert system_memory.room_for_tensors(CPU) < free + system_memory.resident_set()
    size = system_memory.own_sizes()[0]
    monkeypatch.setattr(system_memory.resource, "getrlimit", lambda kind: (size + GB, size + GB))
    assert 0.9 * GB < system_memory.free_for_tensors(CPU) < 1.1 * GB
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert 0.4 * GB < system_memory.free_for_tensors(CPU) < 0.6 * GB


def answered(own, room, reached=0):
    """The budget in an answer (None without one), and the answer."""
    text = own.fitting(MEMORY, room, reached)
    assert len(f"out of GPU memory: {text}") <= MESSAGE_LENGTH
    found = re.search(r"set TRAIN\.MEMORY_BUDGET_GB=([\d.]+): predicted peak ([\d.]+) GB", text)
    if found is None:
        return None, text
    assert float(found[2]) <= float(found[1])
    return float(found[1]), text


def test_the_answer_is_what_fits_the_device():
    budget, text = answered(watch(), int(8.1234 * GB))
    assert budget == 8.123
    assert text.startswith("there are 8.12 GB for tensors; set ")
    assert "predicted peak 7.00 GB, at the segment 'blocks'; computed again: 0.50 of a forward pass" in text


def test_where_a_prediction_failed_the_answer_is_below_it():
    budget, text = answered(watch(KEPT), 12 * GB)
    assert budget == 9.0
    assert text.startswith("a step took more than the predicted 10.00 GB; ")
    assert answered(watch(KEPT), 12 * GB, 13 * GB)[0] == pytest.approx(9 * 12 / 13, abs=0.001), "by what was measured"
    assert answered(watch(), 12 * GB)[0] == 9.0, "without a plan at most everything was kept"


def test_where_nothing_fits_the_answer_is_what_to_make_smaller():
    budget, text = answered(watch(None, CUDA, "TRAIN.BATCH_SIZE=4"), 5 * GB)
    assert budget is None
    assert text == ("there are 5.00 GB for tensors; a step needs at least 7.00 GB; about this fits: TRAIN.BATCH_SIZE=2")
    assert "choose a smaller model" in answered(watch(), GB)[1]


@pytest.fixture
def start(tree, tmp_path, monkeypatch):
    """start() -> a run of two steps, whose memory is that of `MEMORY` on a machine of 8 GB."""
    monkeypatch.setattr(memory_watch, "step_memory", lambda *_, **__: MEMORY)
    monkeypatch.setattr(memory_watch, "room_for_tensors", lambda device: 8 * GB)
    steps = "TRAIN.MAX_STEPS=2", "TRAIN.SAVE_EVERY=9", "TRAIN.VAL_EVERY=9", "TRAIN.NUM_WORKERS=0"
    config = small_config(tree, f"TRAIN.OUTPUT_DIR={tmp_path / 'run'}", *steps)
    return lambda: Trainer(config, Processes(0, 1, CPU))


def exhausted(run, error, monkeypatch):
    """Let memory run out in the second step of a run; returns what to ask for a tensor of that step."""
    run_model, held = optimiser_step.run_model, []

    def failing(*inputs):
        out = run_model(*inputs)
        if run.step < 1:
            return out
        held.append(weakref.ref(out))
        raise error

    monkeypatch.setattr(optimiser_step, "run_model", failing)
    return lambda: held[-1]()


@pytest.mark.parametrize(("error", "place"), [(CUDA_ERROR, "GPU memory"), (CPU_ERROR, "memory")])
def test_memory_that_runs_out_in_a_step_is_answered_after_all_is_freed_and_saved(
    start, tmp_path, monkeypatch, capsys, error, place
):
    run = start()
    tensor, alive = exhausted(run, error, monkeypatch), []
    for name in ("step_memory", "room_for_tensors"):
        asked = getattr(memory_watch, name)
        monkeypatch.setattr(
            memory_watch, name, lambda *a, asked=asked, **k: (alive.append(tensor()), asked(*a, **k))[1]
        )
    with pytest.raises(
        UserError, match=rf"^out of {place}: there are 8.00 GB for tensors; set TRAIN.MEMORY_BUDGET_GB=8"
    ):
        run.run()
    assert alive == [None, None]
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["training"]["step"] == 1
    assert "what would fit is being predicted" in capsys.readouterr().out


def test_memory_that_runs_out_in_validation_is_not_answered_with_a_plan_of_a_step(start, monkeypatch):
    def failing(*_):
        raise CPU_ERROR

    monkeypatch.setattr(trainer_module, "validate", failing)
    with pytest.raises(UserError, match=r"^out of memory; change in this order: TRAIN\.MEMORY_BUDGET_GB=auto"):
        start().run()


@pytest.mark.parametrize(
    ("error", "of_cpu", "of_cuda"),
    [
        (CUDA_ERROR, True, True),
        (RuntimeError("CUDA error: out of memory"), True, True),
        (CPU_ERROR, True, False),
        (RuntimeError(f"Caught RuntimeError in DataLoader worker process 0. {CUDA_ERROR}"), False, False),
        (RuntimeError("shapes differ"), False, False),
    ],
)
def test_which_errors_a_plan_answers(error, of_cpu, of_cuda):
    assert [memory_watch.of_tensors(error, device) for device in (CPU, CUDA)] == [of_cpu, of_cuda]


def test_the_toy_is_what_it_says():
    assert MEMORY.peak(choice_of(MEMORY.segments, [BLOCKS.costs[0]] * 2)) == MEMORY.peak(MEMORY.most()) == 10 * GB
    assert MEMORY.peak(MEMORY.least()) == 7 * GB
