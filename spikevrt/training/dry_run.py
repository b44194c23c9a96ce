"""Tries a run (two steps, one validation, one checkpoint), keeps nothing of it and predicts time and size."""

import math
import shutil
import time
from pathlib import Path

import torch
from torch import nn

from spikevrt.config import Config, TrainConfig
from spikevrt.data.clips.batches import Feed
from spikevrt.system.memory import GIB, memory_in_use
from spikevrt.training import checkpoints
from spikevrt.training.distributed import Processes
from spikevrt.training.options import RunOptions
from spikevrt.training.rehearsal import Rehearsal, shared_scratch

MIB = 2**20
STEPS = 2
"""The first step compiles, fills caches and starts the workers; the second one is measured."""


class DryRun(Rehearsal):
    """A rehearsal that measures its last step and its validation in seconds."""

    step_seconds = validation_seconds = math.nan

    def _one_step(self, model: nn.Module, feed: Feed) -> None:
        start = time.perf_counter()
        super()._one_step(model, feed)
        self.step_seconds = time.perf_counter() - start

    def _validate(self) -> None:
        self.best = math.inf  # No second checkpoint for the best step.
        start = time.perf_counter()
        super()._validate()
        self.validation_seconds = time.perf_counter() - start


def dry_run(config: Config, processes: Processes, options: RunOptions, resume: Path | None) -> bool:
    """Perform a dry run and print what it predicts; returns False if a signal stopped it.

    Args:
        config: configuration of the run.
        processes: of the run.
        options: of the run.
        resume: the checkpoint from which the run would continue.
    """
    folder = Path(config.train.output_dir)
    with shared_scratch(folder, processes) as scratch:
        run = DryRun(config, processes, options, resume, scratch, STEPS)
        if run.begin >= run.whole:
            if processes.first:
                print(f"{folder}: all {run.whole} steps are done; nothing is left to try")
            return True
        if not run.run():
            return False
        if processes.first:
            size = (scratch / checkpoints.LAST).stat().st_size
            lines = [time_line(run, config.train), disk_line(run, config.train, size, scratch), memory_line(run)]
            if resume is None and (folder / checkpoints.LAST).is_file():
                lines.append(f"{folder} holds a run already: to train there, continue it with --resume auto")
            print("\n".join([*lines, f"nothing was kept; {folder} is as it was"]))
    return True


def time_line(run: DryRun, train: TrainConfig) -> str:
    """The time that the steps which are left will take, with their validations and checkpoints."""
    steps = run.whole - run.begin
    validations, saves = (times_due(run.begin, run.whole, every) for every in (train.val_every, train.save_every))
    writes = 2 * saves if train.keep_last else saves
    seconds = steps * run.step_seconds + validations * run.validation_seconds + writes * run.saves.seconds
    return (
        f"time: about {duration(seconds)} for {steps} steps of {run.step_seconds:.3g} s, {validations} validations of "
        f"{run.validation_seconds:.3g} s and {writes} checkpoints of {run.saves.seconds:.3g} s"
    )


def times_due(begin: int, end: int, every: int) -> int:
    """How often something is due after the steps begin+1..end: every so many steps, and after the last."""
    return end // every - begin // every + (end % every > 0)


def disk_line(run: DryRun, train: TrainConfig, size: int, place: Path) -> str:
    """The size of the checkpoints; a save needs room for one more file than stays."""
    files = 2 + min(train.keep_last, run.whole // train.save_every)
    free = shutil.disk_usage(place).free
    verdict = "" if (files + 1) * size <= free else "; THAT IS NOT ENOUGH: lower TRAIN.KEEP_LAST or make room"
    return (
        f"disk: {files} checkpoints of {size / MIB:.1f} MiB = {files * size / GIB:.2f} GiB, and one more during a "
        f"save; {free / GIB:.1f} GiB are free{verdict}"
    )


def memory_line(run: DryRun) -> str:
    """The memory that was measured."""
    device = run.processes.device
    used = memory_in_use(device) / GIB
    if device.type != "cuda":
        return f"memory: {used:.2f} GiB resident in this process; worker processes need their own"
    whole = torch.cuda.get_device_properties(device).total_memory / GIB
    return f"memory: at most {used:.2f} GiB allocated on the GPU, of {whole:.1f} GiB"


def duration(seconds: float) -> str:
    """A time as text, in the two largest units: `2 d 5 h`, `5 h 12 min`, `12 min 30 s`, `8 s`."""
    rest = max(1, round(seconds))
    counts: list[tuple[int, str]] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or counts:
            counts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in counts[:2])
