"""Runs a training from its configuration to its exit code."""

from contextlib import ExitStack
from pathlib import Path

from spikevrt.config import Config
from spikevrt.errors import EXIT_INTERRUPTED, one_line
from spikevrt.models.backends.choose import forget_choices
from spikevrt.system.device import settle_float32
from spikevrt.training.distributed import joined_processes
from spikevrt.training.dry_run import dry_run
from spikevrt.training.options import RunOptions
from spikevrt.training.profiling import profile_steps
from spikevrt.training.run_folder import find_resume, locked, start_over
from spikevrt.training.trainer import Trainer


def train(config: Config, options: RunOptions) -> int:
    """Train a configuration, in this process and in those that torchrun started with it.

    Args:
        config: configuration of the run.
        options: the command's options.

    Returns:
        The exit code: 0, or `EXIT_INTERRUPTED` after a signal, unless this is one of several processes.

    Raises:
        UserError: device, data set or checkpoint is missing, or TRAIN.OUTPUT_DIR holds a run already.
    """
    if options.prove_again:
        forget_choices()
    folder = Path(config.train.output_dir)
    settle_float32(few_sizes=True)
    with joined_processes(options.device) as processes, ExitStack() as stack:
        if options.dry_run or options.profile:
            # A rehearsal may stand beside a run, which is then left alone.
            resume = processes.decide(lambda: find_resume(options.resume, folder, config) if options.resume else None)
            ended = (dry_run if options.dry_run else profile_steps)(config, processes, options, resume)
            return 0 if ended else EXIT_INTERRUPTED
        processes.decide(lambda: stack.enter_context(locked(folder)))
        resume = processes.decide(lambda: find_resume(options.resume, folder, config))
        if resume is None:
            processes.decide(lambda: start_over(folder))
        trainer = Trainer(config, processes, resume, options)
        if processes.first:
            print(first_line(trainer))
        if trainer.done or trainer.run():
            return 0
    if processes.first:
        kept = " and saved" if trainer.saves.step == trainer.step else f"; {trainer.saves.kept()}"
        print(f"stopped at step {trainer.step}{kept}; continue with the same command and --resume auto")
    # What started several processes would report any other code as a failure of one of them.
    return EXIT_INTERRUPTED if processes.world == 1 else 0


def first_line(trainer: Trainer) -> str:
    """What a run prints before its first step: its size and place, or that nothing is left to do."""
    folder, steps = one_line(str(trainer.folder)), trainer.steps
    if trainer.done:
        return f"{folder}: all {steps} steps are done; raise TRAIN.MAX_STEPS or TRAIN.EPOCHS to go on"
    count = sum(p.numel() for p in trainer.model.parameters())
    processes, half = trainer.processes, trainer.optimiser_step.half
    return (
        f"{count:,} parameters, {len(trainer.dataset)} samples, steps {trainer.step} to {steps}, "
        f"{processes.world} x {processes.device.type}, {half or 'float32'}, into {folder}"
    )
