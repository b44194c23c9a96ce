"""The training loop: fetch, micro-batches, clip, check, optimise, log, checkpoint, validate."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from spikevrt.config import Config, config_to_yaml
from spikevrt.data.clips.batches import Feed
from spikevrt.data.clips.dataset import collate
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import UserError, one_line
from spikevrt.models import build_model
from spikevrt.models.compiled_parts import compile_parts, plainly
from spikevrt.restoration.metrics import BEST_BY, summary
from spikevrt.system.device import half_type, require_c_compiler
from spikevrt.system.failures import out_of_memory
from spikevrt.system.memory import GIB, drop_frames, memory_in_use
from spikevrt.system.process import STOPPING, handled
from spikevrt.training import checkpoints
from spikevrt.training.agreed import agreed_backends, agreed_plan
from spikevrt.training.anomalies import anomalies_named
from spikevrt.training.bad_samples import BadSamples
from spikevrt.training.distributed import Processes
from spikevrt.training.initial import initialise
from spikevrt.training.memory_watch import MemoryWatch
from spikevrt.training.optimisation import (
    draws_per_step,
    freeze_flow,
    learning_rate,
    set_learning_rate,
    total_steps,
)
from spikevrt.training.optimiser_step import OptimiserStep
from spikevrt.training.options import RunOptions
from spikevrt.training.origin import Origin
from spikevrt.training.run_folder import set_aside
from spikevrt.training.run_log import RunLog
from spikevrt.training.saves import Saves
from spikevrt.training.skipped_steps import SkippedSteps
from spikevrt.training.validation import is_sound, probe_sample, training_samples, validate, validation_samples

DEFAULTS = RunOptions()


class Trainer:
    """A run in TRAIN.OUTPUT_DIR; `step` counts optimiser steps, including skipped ones.

    `draws` counts the samples of all those steps. A sample's randomness depends only on TRAIN.SEED and its draw, so a
    resumed run repeats exactly what an uninterrupted run does (bit by bit in one process on the CPU), and one that
    resumes with another batch size or number of processes goes on with the next sample.
    """

    def __init__(
        self, config: Config, processes: Processes, resume: Path | None = None, options: RunOptions = DEFAULTS
    ) -> None:
        self.config = config
        self.processes = processes
        self.options = options
        self.folder = Path(config.train.output_dir)
        self.step = 0
        self.draws = 0
        self.validated = 0
        self.bad_samples = BadSamples(options.skip_bad_samples, self.folder)
        self.skips = SkippedSteps(config.train.max_bad_steps)
        self.best = -math.inf
        self.saves = Saves(config, processes, self.state, self._sound)
        self.signalled = self.told = self.stopped = False
        if config.train.compile:
            require_c_compiler(processes.device, "TRAIN.COMPILE")
        torch.manual_seed(config.train.seed)
        self.dataset = training_samples(config)
        self.validation = validation_samples(config, config.train.val_crop_size)
        self.probe = collate([probe_sample(config, self.validation)])  # The data set may vanish before a save.
        backends, half = agreed_backends(config, processes), half_type(processes.device, config.train.mixed_precision)
        planned = agreed_plan(config, backends, half, processes)
        self.memory = MemoryWatch(config, backends, half, processes.device, planned)
        self.model = build_model(config, backends=backends).to(processes.device)
        initialise(self.model, config, options.init if resume is None else None)
        self.optimiser_step = OptimiserStep(self.model, config.train, processes.device, half)
        self.optimiser_step.plan = self.memory.plan
        if resume is not None:
            self.load(resume)
        self.steps = total_steps(config.train, len(self.dataset), processes.world, self.step, self.draws)

    @property
    def done(self) -> bool:
        """Whether all steps are done, validated and saved."""
        return self.step >= self.steps and self.validated >= self.step and self.saves.step >= self.step

    def run(self) -> bool:
        """Train to the last step; returns False if a signal stopped the run. The state is saved, after an error too."""
        if self.processes.first:
            with replacing(self.folder / "config.yaml") as temporary:
                temporary.write_text(config_to_yaml(self.config), encoding="utf-8")
        self.log = RunLog(self.folder, self.step, self.steps, self.processes.first, self.validated)
        scaled = self.optimiser_step.scaler.is_enabled()
        watched = anomalies_named(self.model, lambda: self.step + 1, not scaled)
        with handled(STOPPING, self._stop), closing(self.log), self.memory.answering(self.log.say):
            try:
                with watched if self.options.detect_anomaly else nullcontext(), self.processes.surviving(self._rescue):
                    self._steps()
            except Exception as error:
                if out_of_memory(error):
                    drop_frames(error)
                self._rescue()
                raise
        return not self.stopped

    def _steps(self) -> None:
        train = self.config.train
        self._validate_and_save()  # What was due when the run stopped and had not been done.
        if self.saves.elsewhere and self.saves.step < self.step:
            self.saves.save(self.step, self.log)  # From now on, --resume auto must not begin at 0.
        if self.step >= self.steps:
            return
        micro_batches = (self.steps - self.step) * train.accumulate_grad
        feed = Feed(islice(self._batches(), micro_batches), self.processes.device, self.config.data.norm)
        if self.memory.planned is not None:
            self.log.say(self.memory.planned.line)
        wrapped = self._wrap()
        while self.step < self.steps and not self.stopped:
            if train.freeze_flow_steps and self.step == train.freeze_flow_steps:
                wrapped = self._wrap()
            with self.memory.step(self.step + 1, self.log):
                self._one_step(wrapped, feed)
            self.stopped = self.told or (self.signalled and self.processes.world == 1)
            self._validate_and_save()

    def _validate_and_save(self) -> None:
        """Validate and save where that is due after this step.

        A checkpoint that is merely due waits until the next step has found loss and gradients finite, so that what is
        on the disk is from before a divergence, not the weights that caused it.
        """
        train, last = self.config.train, self.step >= self.steps
        if self.validated < self.step and (self.step % train.val_every == 0 or last):
            self._validate()
            self.saves.due |= self.saves.step == self.step  # What an error made it save lacks this validation.
        if self.saves.step < self.step and (self.step % train.save_every == 0 or last or self.stopped):
            self.saves.due = True
        if not self.saves.due or not (last or self.stopped):
            return
        if not self.saves.save_if_sound(self.step, self.log) and last:
            raise UserError(
                f"step {self.step}: the weights give values that are not finite; {self.saves.kept()}: lower TRAIN.LR"
            )

    def _wrap(self) -> nn.Module:
        """The model as the step calls it: with frozen or trainable flow, its parts compiled, distributed."""
        train = self.config.train
        freeze_flow(self.model, self.step < train.freeze_flow_steps)
        if train.compile:
            parts = compile_parts(self.model)
            self.log.say(f"TRAIN.COMPILE: the next step compiles the graphs of {parts} parts, which takes minutes")
        return self.processes.wrap(self.model)

    def _batches(self) -> Iterator[dict[str, Any]]:
        return self.bad_samples.batches(self.dataset, self.config.train, self.processes, self.draws)

    def _one_step(self, model: nn.Module, feed: Feed) -> None:
        train, start, waited = self.config.train, time.perf_counter(), feed.waited
        model.train()
        rate = learning_rate(train, self.step, self.steps)
        set_learning_rate(self.optimiser_step.optimizer, rate)
        loss = torch.zeros((), device=self.processes.device)
        for left in reversed(range(train.accumulate_grad)):
            loss += self.optimiser_step.micro_batch(model, feed.take(), last=left == 0)
        check = self.optimiser_step.clip(loss)
        # The host waits only now, when the whole step is queued and the next batch is being copied.
        feed.fetch()
        own = [torch.full_like(check.bad_loss, flag) for flag in (self.signalled, bool(self.bad_samples.news))]
        bad_loss, bad_gradients, self.told, left_out = self.processes.any(check.bad_loss, check.bad_gradients, *own)
        taken = not (bad_loss or bad_gradients)
        if self.saves.due and taken:
            self.saves.save(self.step, self.log)  # The weights are still those of the step before.
        self.saves.consistent = False
        self.optimiser_step.finish(self.step + 1, taken)
        self.saves.consistent = True
        self._count(taken, bad_loss)
        self.step += 1
        self.draws += draws_per_step(train, self.processes.world)
        self._log(torch.stack((loss, check.norm)), rate, (feed.waited - waited) / (time.perf_counter() - start))
        for line in self.bad_samples.settle(self.processes) if left_out else ():
            self.log.say(line)

    def _count(self, taken: bool, bad_loss: bool) -> None:
        """Count a step; one whose loss or gradients were not finite in some process was skipped in all of them."""
        if taken:
            self.skips.taken()
            return
        cause = self.skips.skip(bad_loss, self.optimiser_step.scale())
        if cause is not None:
            self.log.say(f"step {self.step + 1}: skipped, because {cause}")
        if self.skips.too_many:
            at, skipped = self.step, self.skips.in_a_row
            self._rewind(skipped - 1)
            raise UserError(self.skips.message(at, skipped, self.saves.kept()))

    def _rewind(self, steps: int) -> None:
        """Go back to the state before the last skipped steps, which left the weights as they were, and save it."""
        self.step -= steps
        self.draws -= steps * draws_per_step(self.config.train, self.processes.world)
        self.validated = min(self.validated, self.step)
        self.skips.taken()
        self._rescue()

    def _rescue(self) -> None:
        self.saves.rescue(self.step, self.log)

    def _log(self, loss_and_norm: Tensor, rate: float, wait_share: float) -> None:
        shown = None
        if self.step % self.config.train.log_every == 0 or self.step in (1, self.steps):
            shown, norm = self.processes.means(loss_and_norm)
            self.log.row(
                "train",
                self.step,
                loss=shown,
                grad_norm=norm,
                lr=rate,
                wait_share=round(wait_share, 4),
                skipped=self.skips.total,
                memory_gib=round(memory_in_use(self.processes.device) / GIB, 3),
            )
        self.log.advance(shown, wait_share, self.skips.total)

    def _validate(self) -> None:
        ema = self.optimiser_step.ema
        with ema.applied() if ema is not None else nullcontext(), plainly(self.config.train.compile):
            scores = validate(self.model, self.validation, self.config, self.processes, self.log.picture)
        self.log.row("val", self.step, **scores)
        before = self.validated, self.best
        self.validated, self.best = self.step, max(self.best, scores[BEST_BY])
        if self.best > before[1]:
            try:
                self.saves.write_best()
            except Exception:
                # What is saved now must say that the file is missing, so that the resumed run makes it.
                self.validated, self.best = before
                raise
        self.log.say(f"step {self.step}: {summary(scores)}")

    def _sound(self) -> Tensor:
        with plainly(self.config.train.compile):
            return is_sound(self.model, self.probe, self.config, self.processes.device, self.optimiser_step.half)

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        ema = self.optimiser_step.ema
        return {
            "params": self.model.state_dict(),
            "params_ema": ema.state if ema is not None else None,
            "training": {
                "step": self.step,
                "draws": self.draws,
                "world": self.processes.world,
                "samples": len(self.dataset),
                "validated": self.validated,
                "best": self.best,
                "bad_steps": self.skips.in_a_row,
                "skipped": self.skips.total,
                **self.optimiser_step.state(),
            },
        }

    def load(self, path: Path) -> None:
        """Continue from a checkpoint; keys that changed since take effect from here on, and are printed."""
        state = checkpoints.read_checkpoint(path, self.config)
        self.model.load_state_dict(state["params"])
        training = state["training"]
        self.step = training["step"]
        best_stands = self.processes.decide(lambda: set_aside(self.folder, path, training))
        self.best = training["best"] if best_stands else -math.inf
        self.skips.in_a_row = training["bad_steps"]
        self.skips.total = training.get("skipped", 0)  # Older checkpoints do not hold it.
        there = Origin.of(state, self.processes.world)
        self.draws = there.draws
        self.validated = there.validated
        self.saves.resumed(path, self.step)
        self.optimiser_step.load(training, state["params_ema"])
        if self.processes.first:
            print(one_line(there.sentence(path, self.config, self.processes.world, len(self.dataset))))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: finish the step, save, exit. A second Ctrl-C exits at once.

        A second SIGTERM shows no impatience: torchrun passes on what its processes were sent already.
        """
        if self.signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signalled = True
