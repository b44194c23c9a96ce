"""`python -m spikevrt.train`: train VRT+Spike, or plain VRT."""

from collections.abc import Sequence
from pathlib import Path

from spikevrt.cli import (
    EXIT_INTERRUPTED,
    add_config_arguments,
    add_prove_again,
    command_parser,
    config_from_arguments,
    run_command,
)
from spikevrt.errors import UserError
from spikevrt.models.backends.kept import forget_choices
from spikevrt.system.device import settle_float32
from spikevrt.training.checkpoints import LAST
from spikevrt.training.distributed import joined_processes
from spikevrt.training.trainer import Trainer

DESCRIPTION = """Train on a data set in the unified layout (spikevrt.prepare makes one).

  python -m spikevrt.train --config default --opts DATA.ROOT=data TRAIN.OUTPUT_DIR=runs/first
  python -m spikevrt.train --config default --opts DATA.ROOT=data TRAIN.OUTPUT_DIR=runs/first --resume auto
  torchrun --nproc-per-node 4 -m spikevrt.train --config default --opts DATA.ROOT=data

Ctrl-C finishes the step, saves and leaves; --resume auto goes on where the run stopped.
"""


def find_resume(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint to go on from: none, the run's last one (`auto`, if there is one), or a path."""
    last = folder / LAST
    if resume == "auto":
        return last if last.is_file() else None
    if resume is None and last.is_file():
        raise UserError(f"{last}: a run lives here; go on with --resume auto, or set another TRAIN.OUTPUT_DIR")
    return Path(resume) if resume else None


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build, run."""
    parser = command_parser("spikevrt.train", DESCRIPTION)
    add_config_arguments(parser)
    parser.add_argument("--resume", metavar="auto|PATH", help="go on from the run's last checkpoint, or from PATH")
    parser.add_argument("--device", help="cuda:N or cpu; CUDA where there is one if not given")
    add_prove_again(parser)
    args = parser.parse_args(argv)
    if args.prove_again:
        forget_choices()
    config = config_from_arguments(args)
    folder = Path(config.train.output_dir)
    settle_float32(few_sizes=True)
    with joined_processes(args.device) as processes:
        trainer = Trainer(config, processes, find_resume(args.resume, folder))
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
    print(f"stopped at step {trainer.step} and saved; go on with the same command and --resume auto")
    return EXIT_INTERRUPTED


if __name__ == "__main__":
    run_command(main)
