"""Stops a run as a signal does, after a chosen step."""

from typing import Any

from spikevrt.training.trainer import Trainer


def stop_after(run: Trainer, step: int) -> None:
    """Let a run that has not begun stop after a step."""
    one_step = run._one_step

    def and_stop(*arguments: Any) -> None:
        one_step(*arguments)
        run.signalled = run.step == step

    run._one_step = and_stop  # type: ignore[method-assign]
