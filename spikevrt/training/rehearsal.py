"""A few real steps of a run in a folder that is removed again, to predict the run or to look at its steps."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from spikevrt.config import Config
from spikevrt.config.keys import ENDLESS
from spikevrt.data.files.atomic import scratch_folder
from spikevrt.training.distributed import Processes
from spikevrt.training.options import RunOptions
from spikevrt.training.run_log import RunLog
from spikevrt.training.saves import Saves
from spikevrt.training.trainer import Trainer

NEVER = ENDLESS
"""A number of steps that no run reaches."""


@contextmanager
def shared_scratch(folder: Path, processes: Processes) -> Iterator[Path]:
    """A temporary folder on the disk of `folder`, the same in all processes; it is removed at the end.

    It lies in `folder`, or in the nearest folder above that exists, so that nothing else is made.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    with ExitStack() as stack:
        yield processes.decide(lambda: stack.enter_context(scratch_folder(place / "rehearsal")))


class ScratchSaves(Saves):
    """The checkpoint of a rehearsal: the time it takes is measured, and none is written after an error."""

    seconds = math.nan

    def write_all(self, step: int, log: RunLog) -> None:
        """Write the checkpoint, and measure how long that takes."""
        start = time.perf_counter()
        super().write_all(step, log)
        self.seconds = time.perf_counter() - start

    def rescue(self, step: int, log: RunLog) -> None:
        """Nothing of a rehearsal is kept."""


class Rehearsal(Trainer):
    """A trainer of `count` steps from where the run stands, which validates and saves nothing before the last of them.

    The flow is trained if the run ever trains it: such steps take the most time and memory.

    Args:
        config: configuration of the run.
        processes: of the run.
        options: of the run.
        resume: the checkpoint from which the run would continue.
        scratch: folder for everything that is written.
        count: number of steps.
    """

    saves: ScratchSaves

    def __init__(
        self,
        config: Config,
        processes: Processes,
        options: RunOptions,
        resume: Path | None,
        scratch: Path,
        count: int,
    ) -> None:
        own = config.train
        always_frozen = own.max_steps is not None and own.max_steps <= own.freeze_flow_steps
        train = replace(
            own,
            output_dir=str(scratch),
            log_every=1,
            val_every=NEVER,
            save_every=NEVER,
            freeze_flow_steps=own.freeze_flow_steps if always_frozen else 0,
        )
        super().__init__(replace(config, train=train), processes, resume, options)
        self.whole = self.steps
        """Steps of the whole run."""
        self.begin = self.step
        self.steps = self.step + count
        self.saves = ScratchSaves(self.config, processes, self.state, self._sound)
