"""Steps that are skipped because loss or gradients are not finite: counted, named, and too many in a row an error."""

from dataclasses import dataclass


@dataclass
class SkippedSteps:
    """The count of a run's skipped steps, the same in all processes.

    The gradients of fp16 overflow until the scaler has found a scale that suits them. Such a step is skipped like any
    other that is not finite, but it says nothing against the run, so it does not bring the error nearer.
    """

    limit: int
    """TRAIN.MAX_BAD_STEPS."""
    total: int = 0
    """Skipped steps since the run began."""
    in_a_row: int = 0
    """The last steps of the run, if they were skipped and it was not an overflow that a smaller scale mends."""
    _named: bool = False

    def taken(self) -> None:
        """Count a step that was not skipped."""
        self.in_a_row = 0
        self._named = False

    def skip(self, loss: bool, scale: float) -> str | None:
        """Count a skipped step.

        Args:
            loss: whether the loss was not finite; otherwise only the gradients were not.
            scale: what the scaler multiplies the next loss with; 0 without a scaler.

        Returns:
            Why the step was skipped, for the first of several in a row; None for the others.
        """
        self.total += 1
        overflow = not loss and scale >= 1
        self.in_a_row += not overflow
        first, self._named = not self._named, True
        if not first:
            return None
        if overflow:
            return f"the gradients overflowed in fp16; the next loss is scaled by {scale:g}"
        return "the loss is not finite" if loss else "the gradients are not finite"

    @property
    def too_many(self) -> bool:
        """Whether the limit is reached."""
        return self.in_a_row >= self.limit

    @staticmethod
    def message(step: int, skipped: int, kept: str) -> str:
        """The error after too many skipped steps; `kept` says what the disk holds."""
        return (
            f"step {step}: loss or gradients were not finite for {skipped} steps in a row (TRAIN.MAX_BAD_STEPS); "
            f"{kept}: lower TRAIN.LR, set TRAIN.CLIP_GRAD_NORM, check DATA.NORM, set TRAIN.MIXED_PRECISION to none, or "
            "find the module with --detect-anomaly"
        )
