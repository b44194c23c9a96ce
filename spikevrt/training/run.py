"""Runs a training from its configuration to its exit code."""

from contextlib import ExitStack
from pathlib import Path

from spikevrt.config import Config
from spikevrt.errors import EXIT_INTERRUPTED
from spikevrt.models.backends.choose import forget_choices
from spikevrt.system.device import settle_float32
from spikevrt.training.distributed import joined_processes
from spikevrt.training.run_folder import find_resume, locked
from spikevrt.training.trainer import Trainer


def train(config: Config, resume: str | None, device: str | None, prove_again: bool) -> int:
    """Train a configuration, in this process and in those that torchrun started with it.

    Args:
        config: configuration of the run.
        resume: `auto`, the path of a checkpoint, or None for a new run.
        device: `cuda:N` or `cpu`; None = CUDA if there is a GPU.
        prove_again: whether attention backends are tried again instead of read from an earlier run.

    Returns:
        The exit code: 0, or `EXIT_INTERRUPTED` after Ctrl-C.

    Raises:
        UserError: device, data set or checkpoint is missing, or TRAIN.OUTPUT_DIR holds a run already.
    """
    if prove_again:
        forget_choices()
    folder = Path(config.train.output_dir)
    settle_float32(few_sizes=True)
    with joined_processes(device) as processes, ExitStack() as stack:
        processes.decide(lambda: stack.enter_context(locked(folder)))
        trainer = Trainer(config, processes, processes.decide(lambda: find_resume(resume, folder, config)))
        if trainer.done:
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
        kept = " and saved" if trainer.saves.step == trainer.step else f"; {trainer.saves.kept()}"
        print(f"stopped at step {trainer.step}{kept}; continue with the same command and --resume auto")
    return EXIT_INTERRUPTED
