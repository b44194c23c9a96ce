"""The memory of a run's steps: predicted beside measured, and what would have fitted when it runs out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from spikevrt.config import Config
from spikevrt.errors import UserError
from spikevrt.models import Backends
from spikevrt.models.segments import Plan
from spikevrt.system.failures import out_of_memory
from spikevrt.system.memory import TRAINING_ADVICE, drop_frames, memory_advice, place_of, room_for_tensors
from spikevrt.training.memory_budget import GB, KEY, Planned, StepMemory, figures, smaller, step_memory
from spikevrt.training.run_log import RunLog

MB = 10**6
NEXT_TRY = 0.9
"""What a budget is to a predicted peak that should have fitted and did not."""


class MemoryWatch:
    """Watches the memory of a run's steps.

    Args:
        config: configuration of the run.
        backends: of its operators.
        half: autocast's type, or None for float32.
        device: of the model.
        planned: the choice for TRAIN.MEMORY_BUDGET_GB, if it is set.
    """

    def __init__(
        self,
        config: Config,
        backends: Backends,
        half: torch.dtype | None,
        device: torch.device,
        planned: Planned | None,
    ) -> None:
        self.setting = config, backends, half
        self.device = device
        self.planned = planned
        self.unmeasured = device.type == "cuda"
        """Whether the next step is to be measured. The CPU only knows all memory of a process, not its tensors."""
        self.stepping = False
        """Whether a step has begun and not ended."""

    @property
    def plan(self) -> Plan | None:
        """The plan of a step; None without TRAIN.MEMORY_BUDGET_GB."""
        return None if self.planned is None else Plan(self.planned.ways)

    @contextmanager
    def step(self, number: int, log: RunLog) -> Iterator[None]:
        """While active, an optimiser step is made; on CUDA the first one is measured, and logged under its number."""
        before = 0
        if self.unmeasured:
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
        self.stepping = True
        yield
        self.stepping = False
        if self.unmeasured:
            # A run's first step makes the optimiser's state after its peak; the next one has it beside its own.
            made = torch.cuda.memory_allocated(self.device) - before
            self.report(torch.cuda.max_memory_allocated(self.device) + max(0, made), number, log)
            self.unmeasured = False

    def report(self, measured: int, number: int, log: RunLog) -> None:
        """Log the measured peak bytes of a step, beside the predicted ones if they are known."""
        line, values = f"measured peak {measured / GB:.2f} GB", {"measured_gb": measured / GB}
        if self.planned is not None:
            predicted = self.planned.peak / GB
            values |= {"predicted_gb": predicted, "ratio": values["measured_gb"] / predicted}
            line = f"predicted peak {predicted:.2f} GB, {line}, ratio {values['ratio']:.3f}"
        log.say(f"memory of step {number}: {line}")
        log.row("memory", number, **{name: round(value, 4) for name, value in values.items()})

    @contextmanager
    def answering(self, say: Callable[[str], None]) -> Iterator[None]:
        """Turn an out-of-memory error into a `UserError`: of a step, with the budget that would have fitted.

        Args:
            say: prints a line before the minute that the prediction may take.
        """
        with memory_advice(TRAINING_ADVICE):
            try:
                yield
            except RuntimeError as error:
                if not self.stepping or not of_tensors(error, self.device):
                    raise
                drop_frames(error)
                say("out of memory: what would fit is being predicted, which may take a minute")
                answer = self.answer()
                if answer is None:
                    raise
                raise UserError(f"out of {place_of(error)}: {answer}") from None

    def answer(self) -> str | None:
        """What would have fitted, as text; None if that cannot be predicted."""
        on_cuda = self.device.type == "cuda"
        reached = torch.cuda.max_memory_allocated(self.device) if on_cuda else 0
        try:
            memory = step_memory(*self.setting, for_cuda=on_cuda)
            return self.fitting(memory, room_for_tensors(self.device), reached)
        except Exception:
            return None  # Whatever it was, the advice that needs no prediction is better than this second error.

    def fitting(self, memory: StepMemory, room: int, reached: int) -> str:
        """The budget that fits, or what to make smaller, as text.

        Args:
            memory: of the step that failed.
            room: bytes for all tensors.
            reached: bytes that were allocated when no more could be.
        """
        failed = memory.peak(memory.most()) if self.planned is None else self.planned.peak
        budget, cause = room, f"there are {room / GB:.2f} GB for tensors"
        if failed <= room:
            budget = int(NEXT_TRY * failed * min(1.0, room / max(reached, 1)))
            cause = f"a step took more than the predicted {failed / GB:.2f} GB"
        budget -= budget % MB
        choice = memory.within(budget)
        if choice is None:
            return f"{cause}; {smaller(self.setting[0], memory, budget)}"
        return f"{cause}; set {KEY}={budget / GB:g}: {figures(memory, choice)}"


def of_tensors(error: RuntimeError, device: torch.device) -> bool:
    """Whether an error says that a device has no memory for a tensor; a worker process loads data on the CPU."""
    if not out_of_memory(error) or "DataLoader worker" in str(error):
        return False
    return device.type == "cpu" or isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error)
