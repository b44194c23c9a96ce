"""Runs a training from its configuration to its exit code."""

from pathlib import Path

from spikevrt.config import Config
from spikevrt.errors import EXIT_INTERRUPTED, UserError
from spikevrt.models.backends.choose import forget_choices
from spikevrt.system.device import settle_float32
from spikevrt.training.checkpoints import LAST
from spikevrt.training.distributed import joined_processes
from spikevrt.training.trainer import Trainer


def find_resume(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint to continue from: none, the run's last one (`auto`, if it exists), or a path."""
    last = folder / LAST
    if resume == "auto":
        return last if last.is_file() else None
    if resume is None and last.is_file():
        raise UserError(f"{last}: holds a run already; continue it with --resume auto, or set another TRAIN.OUTPUT_DIR")
    return Path(resume) if resume else None


def train(config: Config, resume: str | None, device: str | None, prove_again: bool) -> int:
    """Train a configuration, in this process and in those that torchrun started with it.

    Args:
        config: configuration of the run.
        resume: `auto`, the path of a checkpoint, or None for a new run.
        device: `cuda:N` or `cpu`; None = CUDA if there is a GPU.
        prove_again: whether attention backends are tried again instead of read from an earlier run.

    Returns:
        The exit code: 0, or `EXIT_INTERRUPTED` after a signal, unless this is one of several processes.

    Raises:
        UserError: device, data set or checkpoint is missing, or TRAIN.OUTPUT_DIR holds a run already.
    """
    if prove_again:
        forget_choices()
    folder = Path(config.train.output_dir)
    settle_float32(few_sizes=True)
    with joined_processes(device) as processes:
        trainer = Trainer(config, processes, find_resume(resume, folder))
        if trainer.step >= trainer.steps:
            if processes.first:
                print(f"{folder}: all {trainer.steps} steps are done; raise TRAIN.MAX_STEPS or TRAIN.EPOCHS to go on")
            return 0
        if processes.first:
            count = sum(p.numel() for p in trainer.model.parameters())
            half = trainer.optimiser_step.half
            print(
                f"{count:,} parameters, {len(trainer.dataset)} samples, steps {trainer.step} to {trainer.steps}, "
                f"{processes.world} x {processes.device.type}, {half or 'float32'}, into {folder}"
            )
        if trainer.run():
            return 0
    if processes.first:
        print(f"stopped at step {trainer.step} and saved; continue with the same command and --resume auto")
    # What started several processes would report any other code as a failure of one of them.
    return EXIT_INTERRUPTED if processes.world == 1 else 0
