"""Profiles a few training steps: a trace to look at, and a table of the operators that take the time."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, schedule

from spikevrt.config import Config
from spikevrt.data.clips.batches import Feed
from spikevrt.data.files.atomic import replacing
from spikevrt.table import format_table
from spikevrt.training.distributed import Processes
from spikevrt.training.options import RunOptions
from spikevrt.training.rehearsal import Rehearsal, shared_scratch

FOLDER, TRACE, TABLE = "profile", "trace.json.gz", "operators.txt"
WARM_UP = 2
"""Steps before the profiled ones: the first compiles and fills caches, in the second the profiler itself warms up."""
SHOWN = 10
HEADER = ("operator", "calls per step", "ms per step", "share")


class ProfiledRun(Rehearsal):
    """A rehearsal whose last steps a profiler records; it neither validates nor saves."""

    profiler: profile | None = None

    def _one_step(self, model: nn.Module, feed: Feed) -> None:
        super()._one_step(model, feed)
        if self.profiler is not None:
            self.profiler.step()

    def _validate_and_save(self) -> None:
        pass


def profile_steps(config: Config, processes: Processes, options: RunOptions, resume: Path | None) -> bool:
    """Profile a few steps, write trace and table, and print the table's top; returns False if a signal stopped it.

    Args:
        config: configuration of the run; its TRAIN.OUTPUT_DIR gets the folder `profile`.
        processes: of the run; only the first one is profiled.
        options: of the run, with the number of steps.
        resume: the checkpoint from which the run would continue.
    """
    count = options.profile or 1
    cuda = processes.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    folder = Path(config.train.output_dir)
    with shared_scratch(folder, processes) as scratch, ExitStack() as stack:
        run = ProfiledRun(config, processes, options, resume, scratch, WARM_UP + count)
        if processes.first:
            when = schedule(wait=WARM_UP - 1, warmup=1, active=count, repeat=1)
            run.profiler = stack.enter_context(profile(activities=activities, schedule=when))
        if not run.run():
            return False
    if run.profiler is not None:
        write(run.profiler, folder / FOLDER, count, cuda)
    return True


def write(profiler: profile, folder: Path, steps: int, cuda: bool) -> None:
    """Write trace and table into `folder`, and print the table's top."""
    with replacing(folder / TRACE) as temporary:
        profiler.export_chrome_trace(str(temporary))
    rows = operator_rows(profiler.key_averages(), steps, cuda)
    with replacing(folder / TABLE) as temporary:
        temporary.write_text(format_table(HEADER, rows) + "\n", "utf-8")
    where = "GPU" if cuda else "CPU"
    print(f"{steps} steps, by {where} time without the operators called inside:")
    print(format_table(HEADER, rows[:SHOWN]))
    print(f"{folder / TRACE}: open it in chrome://tracing or ui.perfetto.dev; {folder / TABLE}: all operators")
    print("profiled, not trained: no step was kept; start again without --profile")


def operator_rows(averages: Any, steps: int, cuda: bool) -> list[tuple[str, ...]]:
    """Rows of the table, those with the largest own time first; `averages` are the profiler's, in microseconds."""
    name = "self_device_time_total" if cuda else "self_cpu_time_total"
    times = [(getattr(event, name), event) for event in averages if not event.key.startswith("ProfilerStep")]
    whole = sum(own for own, _ in times) or 1
    return [
        (event.key, f"{event.count / steps:.4g}", f"{own / steps / 1e3:.3f}", f"{own / whole:.1%}")
        for own, event in sorted(times, key=lambda pair: -pair[0])
        if own > 0
    ]
