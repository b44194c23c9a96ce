"""The training loop: fetch, micro-batches, clip, check, optimise, log, checkpoint, validate."""

import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from spikevrt.config import Config, config_from_tree, config_to_yaml
from spikevrt.data.clips.batches import Feed
from spikevrt.data.clips.dataset import ClipDataset, DrawSampler
from spikevrt.data.files.atomic import replacing
from spikevrt.errors import UserError
from spikevrt.models import Backends, build_model, choose_backends
from spikevrt.models.backends.compiled_kernels import compile_kernels
from spikevrt.restoration.metrics import BEST_BY, summary
from spikevrt.system.device import half_type
from spikevrt.system.memory import TRAINING_ADVICE, memory_advice
from spikevrt.training import checkpoints
from spikevrt.training.distributed import Processes
from spikevrt.training.optimisation import (
    draws_per_step,
    freeze_flow,
    hold_flow_still,
    learning_rate,
    set_learning_rate,
    total_steps,
)
from spikevrt.training.optimiser_step import OptimiserStep
from spikevrt.training.run_log import RunLog
from spikevrt.training.validation import load, validate, validation_samples


def agreed_backends(config: Config, processes: Processes) -> Backends:
    """The backends that the first process chose; afterwards their kernels are on the disk of every machine."""
    backends = processes.decide(lambda: choose_backends(config, processes.device))
    if "triton" in backends:
        processes.on_other_machines(lambda: compile_kernels(config, processes.device))
    return backends


class Trainer:
    """A run in TRAIN.OUTPUT_DIR; `step` counts optimiser steps, including skipped ones.

    `draws` counts the samples of all those steps. A sample's randomness depends only on TRAIN.SEED and its draw, so a
    resumed run repeats exactly what an uninterrupted run does (bit by bit in one process on the CPU), and one that
    resumes with another batch size or number of processes goes on with the next sample.
    """

    def __init__(self, config: Config, processes: Processes, resume: Path | None = None) -> None:
        self.config = config
        self.processes = processes
        self.folder = Path(config.train.output_dir)
        self.step = 0
        self.draws = 0
        self.saved_step = 0
        self.bad_steps = 0
        self.best = float("-inf")
        self.signalled = False
        self.told = False
        self.stopped = False
        torch.manual_seed(config.train.seed)
        self.dataset = ClipDataset(
            config.data,
            config.data.train_split,
            augment=True,
            use_spike=config.model.use_spike,
            seed=config.train.seed,
            crop=config.data.crop_size,
        )
        self.validation = validation_samples(config)
        self.steps = total_steps(config.train, len(self.dataset), processes.world)
        self.model = build_model(config, backends=agreed_backends(config, processes)).to(processes.device)
        hold_flow_still(self.model, config)
        half = half_type(processes.device, config.train.mixed_precision)
        self.optimiser_step = OptimiserStep(self.model, config.train, processes.device, half)
        if resume is not None:
            self.load(resume)

    def run(self) -> bool:
        """Train to the last step; returns False if a signal stopped the run. The state is saved, after an error too."""
        if self.processes.first:
            with replacing(self.folder / "config.yaml") as temporary:
                temporary.write_text(config_to_yaml(self.config))
        self.log = RunLog(self.folder, self.step, self.steps, self.processes.first)
        handlers = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            with memory_advice(TRAINING_ADVICE), self.processes.surviving(self._save_alone):
                self._steps()
        except UserError:
            self._save_alone()
            raise
        finally:
            self.log.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return not self.stopped

    def _steps(self) -> None:
        train = self.config.train
        draws = (self.steps - self.step) * train.accumulate_grad
        feed = Feed(islice(self._batches(), draws), self.processes.device, self.config.data.norm)
        wrapped = self._wrap()
        while self.step < self.steps and not self.stopped:
            if train.freeze_flow_steps and self.step == train.freeze_flow_steps:
                wrapped = self._wrap()
            self._one_step(wrapped, feed)
            self.stopped = self.told or (self.signalled and self.processes.world == 1)
            last = self.step == self.steps
            if self.step % train.val_every == 0 or last:
                self._validate()
            if self.step % train.save_every == 0 or last or self.stopped:
                self.save()

    def _wrap(self) -> nn.Module:
        """The model as the step calls it: with frozen or trainable flow, compiled, distributed."""
        train = self.config.train
        freeze_flow(self.model, self.step < train.freeze_flow_steps)
        model = torch.compile(self.model) if train.compile else self.model
        return self.processes.wrap(model)  # type: ignore[arg-type]

    def _batches(self) -> Iterator[dict[str, Any]]:
        train, processes = self.config.train, self.processes
        sampler = DrawSampler(len(self.dataset), train.seed, self.draws, processes.rank, processes.world)
        return iter(load(self.dataset, processes.device, train.batch_size, sampler, train.num_workers))

    def _one_step(self, model: nn.Module, feed: Feed) -> None:
        train, start, waited = self.config.train, time.perf_counter(), feed.waited
        model.train()
        rate = learning_rate(train, self.step, self.steps)
        set_learning_rate(self.optimiser_step.optimizer, rate)
        loss = torch.zeros((), device=self.processes.device)
        for left in reversed(range(train.accumulate_grad)):
            loss += self.optimiser_step.micro_batch(model, feed.take(), last=left == 0)
        finite = self.optimiser_step.clip(loss)
        # The host waits only now, when the whole step is queued and the next batch is being copied.
        feed.fetch()
        bad, self.told = self.processes.any(~finite, torch.full_like(finite, self.signalled))
        self.optimiser_step.finish(self.step + 1, taken=not bad)
        self._count(bad)
        self.step += 1
        self.draws += draws_per_step(train, self.processes.world)
        self._log(loss, rate, (feed.waited - waited) / (time.perf_counter() - start))

    def _count(self, bad: bool) -> None:
        """Count consecutive steps whose loss or gradients were not finite in some process; too many are an error."""
        train = self.config.train
        self.bad_steps = self.bad_steps + 1 if bad else 0
        if self.bad_steps >= train.max_bad_steps:
            last = self.folder / checkpoints.LAST
            kept = f"{last} holds the last good state" if last.is_file() else "nothing had been saved yet"
            raise UserError(
                f"step {self.step}: loss or gradients were not finite for {self.bad_steps} steps in a row "
                f"(TRAIN.MAX_BAD_STEPS); {kept}: lower TRAIN.LR, set TRAIN.CLIP_GRAD_NORM, check DATA.NORM, or turn "
                "TRAIN.MIXED_PRECISION off"
            )

    def _log(self, loss: Tensor, rate: float, wait_share: float) -> None:
        shown = None
        if self.step % self.config.train.log_every == 0 or self.step in (1, self.steps):
            (shown,) = self.processes.means(loss[None])
            self.log.row("train", self.step, loss=shown, lr=rate, wait_share=round(wait_share, 4))
        self.log.advance(shown, wait_share)

    def _validate(self) -> None:
        ema = self.optimiser_step.ema
        with ema.applied() if ema is not None else nullcontext():
            scores = validate(self.model, self.validation, self.config, self.processes)
        self.log.row("val", self.step, **scores)
        if self.processes.first:
            self.log.bar.write(f"step {self.step}: {summary(scores)}")
        if scores[BEST_BY] > self.best:
            self.best = scores[BEST_BY]
            self._write(self.folder / checkpoints.BEST)

    def save(self) -> None:
        """Write `last.pt` and, where TRAIN.SAVE_EVERY says so, a numbered checkpoint."""
        if self.bad_steps:
            return  # `last.pt` keeps the last good state.
        self._write(self.folder / checkpoints.LAST)
        self.saved_step = self.step
        if self.config.train.keep_last and self.step % self.config.train.save_every == 0:
            self._write(checkpoints.numbered(self.folder, self.step))
            if self.processes.first:
                checkpoints.drop_old(self.folder, self.config.train.keep_last)

    def _save_alone(self) -> None:
        """Save after an error: the other processes may be anywhere, so this one must not wait for them."""
        if self.processes.first and self.step > self.saved_step and not self.bad_steps:
            checkpoints.save_checkpoint(self.folder / checkpoints.LAST, self.config, self.state())

    def _write(self, path: Path) -> None:
        if self.processes.first:
            checkpoints.save_checkpoint(path, self.config, self.state())
        self.processes.barrier()

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        ema = self.optimiser_step.ema
        return {
            "params": self.model.state_dict(),
            "params_ema": ema.state if ema is not None else None,
            "training": {
                "step": self.step,
                "draws": self.draws,
                "best": self.best,
                "bad_steps": self.bad_steps,
                **self.optimiser_step.state(),
            },
        }

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of the same configuration."""
        state = checkpoints.read_checkpoint(path, self.config)
        self.model.load_state_dict(state["params"])
        training = state["training"]
        self.step = training["step"]
        # Checkpoints of before `draws` existed: their sizes, in as many processes as now.
        before = config_from_tree(state["config"]).train
        self.draws = training.get("draws", self.step * draws_per_step(before, self.processes.world))
        self.steps = total_steps(self.config.train, len(self.dataset), self.processes.world, self.step, self.draws)
        self.best = training["best"]
        self.bad_steps = training["bad_steps"]
        self.saved_step = self.step
        self.optimiser_step.load(training, state["params_ema"])

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: finish the step, save, exit. A second Ctrl-C exits at once.

        A second SIGTERM shows no impatience: torchrun passes on what its processes were sent already.
        """
        if self.signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signalled = True
