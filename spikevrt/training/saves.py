"""Writes the checkpoints of a run, also what can be saved after an error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from spikevrt.config import Config
from spikevrt.errors import reason_of
from spikevrt.training import checkpoints
from spikevrt.training.distributed import Processes
from spikevrt.training.run_log import RunLog


class Saves:
    """The checkpoints of a run in its folder.

    Args:
        config: configuration of the run.
        processes: all of them call `write_best` and `save` together; the first one writes.
        state: returns what the rest of the run depends on, as it is now.
        sound: returns whether the weights give finite values, as a bool (0-d) on the device.
    """

    def __init__(
        self,
        config: Config,
        processes: Processes,
        state: Callable[[], dict[str, Any]],
        sound: Callable[[], Tensor],
    ) -> None:
        self.config = config
        self.folder = Path(config.train.output_dir)
        self.processes = processes
        self.state = state
        self.sound = sound
        self.step = 0
        """The step that `last.pt` holds; 0 if it holds none of this run."""
        self.held = self.last, 0
        """The newest checkpoint of the run, and its step."""
        self.elsewhere = False
        """Whether the run continues from a checkpoint that is not in its folder."""
        self.due = False
        """Whether a checkpoint waits for a step that proves its weights sound."""
        self.consistent = True
        """Whether no step is half done."""

    @property
    def last(self) -> Path:
        """`last.pt` of this run."""
        return self.folder / checkpoints.LAST

    def save(self, step: int, log: RunLog) -> None:
        """Write the checkpoints of a step; all processes wait until they are whole."""
        if self.processes.first:
            self.write_all(step, log)
        self.processes.barrier()
        self.saved(step)
        self.due = False

    def write_all(self, step: int, log: RunLog) -> None:
        """Write a numbered checkpoint where TRAIN.SAVE_EVERY says so, then `last.pt`; for the first process."""
        log.sync()
        train = self.config.train
        if train.keep_last and step % train.save_every == 0:
            checkpoints.save_checkpoint(checkpoints.numbered(self.folder, step), self.config, self.state())
            checkpoints.drop_old(self.folder, train.keep_last)
        # The last of all: whatever a kill interrupts before it is done again by the resumed run.
        checkpoints.save_checkpoint(self.last, self.config, self.state())

    def save_if_sound(self, step: int, log: RunLog) -> bool:
        """Save unless the weights give values that are not finite; returns whether it was saved."""
        if any(self.processes.any(~self.sound())):
            return False
        self.save(step, log)
        return True

    def rescue(self, step: int, log: RunLog) -> None:
        """After an error: save what is good, without the other processes, which may be anywhere."""
        if not self.processes.first or not self.consistent or step <= self.step:
            return
        try:
            if not self.sound():
                return
            self.write_all(step, log)
        except Exception as error:
            # The first error is the one to tell; this one is mostly its consequence.
            log.say(f"step {step} could not be saved: {reason_of(error)}")
            return
        self.saved(step)
        log.say(f"step {step} is saved in {self.last}; --resume auto continues from it")

    def saved(self, step: int) -> None:
        """Note that `last.pt` holds this step."""
        self.step = step
        self.held = self.last, step

    def resumed(self, path: Path, step: int) -> None:
        """Note that the run continues from the step of a checkpoint.

        Others than `last.pt` are copied there first, so that every file of the run is what it would be.
        """
        self.step = step if self.last.is_file() and self.last.samefile(path) else 0
        self.elsewhere = path.absolute().parent.resolve() != self.folder.resolve()
        self.held = path, step

    def kept(self) -> str:
        """What the disk holds of this run, as text."""
        path, step = self.held
        if not path.is_file():
            return "nothing had been saved yet"
        return f"{path} holds the last good state, of step {step}"

    def write_best(self) -> None:
        """Write the weights of `best.pt`; all processes wait until it is whole."""
        if self.processes.first:
            best = checkpoints.weights_alone(self.state())
            checkpoints.save_checkpoint(self.folder / checkpoints.BEST, self.config, best)
        self.processes.barrier()
