"""The order of the report's parts and their time limits: correctness first, then what a user waits for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.gpu.board import Outcome, Task
from bench.gpu.part import NO_GPU, NO_TIME, ONE_THREAD, WELL
from bench.gpu.setting import PRECISIONS, Setting, own_cases
from spikevrt.models.backends.trials import operator_trials
from spikevrt_kernels.core.processes import cores
from spikevrt_kernels.registry import TRITON_OPS

JUDGED = "bench.gpu.correctness."
"""Start of the names of jobs that run again under the sanitizer if they fail."""


@dataclass(frozen=True)
class Stage:
    """A group of tasks that run together."""

    name: str
    """Its name for `--parts`."""
    tasks: Callable[[Sequence[Outcome]], list[Task]]
    """Makes the tasks from the outcomes of all earlier ones."""
    workers: int = 1
    beside: bool = False
    """Whether later stages start while it still runs; for tasks that use only the CPU."""
    after: str = ""
    """Name of a stage beside the others that must end first."""
    needed: bool = False
    """Whether the report stops if this stage fails."""


def stages(setting: Setting, scratch: str) -> list[Stage]:
    """All stages, the most important first; times are measured after all compilation, on an idle machine."""
    peaks = [on_cpu(f"predict {entry}", "bench.gpu.whole.predicted", entry, 300) for entry in ("triton", "sdpa")]
    training = [Task(f"train {e}", "bench.gpu.whole.train", (scratch, e), 45) for e in ("triton", "sdpa")]
    return [
        Stage("env", fixed(Task("env", "bench.gpu.setting.environment")), needed=True),
        Stage("smoke", fixed(Task("smoke", "bench.gpu.correctness.smoke", limit=90))),
        Stage("data", fixed(on_cpu("data", "bench.gpu.whole.data", scratch, 150)), beside=True),
        Stage("predict", fixed(*peaks), beside=True),
        Stage("check", fixed(*correctness(setting)), workers=max(1, cores() - 2)),
        Stage("sanitizer", sanitizing),
        Stage("whole", fixed(Task("whole model", "bench.gpu.whole.distance"))),
        Stage("step", fixed(step("triton", 75), step("sdpa", 60))),
        Stage("time", fixed(Task("times", "bench.gpu.times.shapes", ("triton", "sdpa"), 80))),
        Stage("auto", fixed(Task("auto", "bench.gpu.whole.auto", limit=70))),
        Stage("train", fixed(*training), after="data"),
        Stage("huge", fixed(Task("huge", "bench.gpu.correctness.huge", limit=90))),
        Stage("dram", fixed(Task("dram", "bench.gpu.traffic.kernels", limit=150))),
        Stage("naive", fixed(step("naive", 60), Task("times naive", "bench.gpu.times.shapes", ("naive",)))),
    ]


def fixed(*tasks: Task) -> Callable[[Sequence[Outcome]], list[Task]]:
    """Makes the same tasks whatever the outcomes before."""
    return lambda _: list(tasks)


def step(entry: str, limit: float) -> Task:
    """The task that measures a training step by one backend."""
    return Task(f"step {entry}", "bench.gpu.whole.step", (entry,), limit)


def on_cpu(name: str, job: str, argument: str, limit: float) -> Task:
    """A task that does not use the GPU."""
    return Task(name, job, (argument,), limit, quiet=True, environment=NO_GPU)


def correctness(setting: Setting) -> list[Task]:
    """A task for each operator and number type; nearly all of their time is compilation, in parallel."""

    def task(job: str, *arguments: str, limit: float = 150) -> Task:
        name = " ".join((job.rpartition(".")[2], *arguments))
        return Task(name, job, arguments, limit, quiet=True, environment=ONE_THREAD)

    counts = {op: len(own_cases(setting, op)) for op in operator_trials(setting.config, 1)}
    found = [task("bench.gpu.correctness.own", op, str(i)) for op, count in counts.items() for i in range(count)]
    found += [task("bench.gpu.whole.compiled", limit=200)]
    found += [task("bench.gpu.correctness.odd", op, precision) for precision in PRECISIONS for op in TRITON_OPS]
    return [*found, task("bench.gpu.correctness.dropout", limit=120)]


def sanitizing(outcomes: Sequence[Outcome]) -> list[Task]:
    """The first check that crashed, else the first that was wrong, under the sanitizer; none if all are right."""
    failed = [o for o in outcomes if not o.well and o.status != NO_TIME and o.task.job.startswith(JUDGED)]
    failed.sort(key=lambda outcome: outcome.status == WELL)
    if not failed:
        return []
    task = failed[0].task
    environment = {**ONE_THREAD, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    arguments = (task.job, *task.arguments)
    return [Task(f"sanitizer {task.name}", f"{JUDGED}under_sanitizer", arguments, 75, environment=environment)]
