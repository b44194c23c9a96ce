"""The log of a run: rows in `log.jsonl`, a progress bar, and TensorBoard if it is installed."""

import json
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spikevrt.data.files.atomic import replacing, writing

LOG_NAME = "log.jsonl"


class RunLog:
    """The rows of a run; rows after the step from which a run resumes are dropped, so that none occurs twice."""

    def __init__(self, folder: Path, step: int, steps: int, shown: bool) -> None:
        self.path = folder / LOG_NAME
        if shown:
            keep = [line for line in read_lines(self.path) if json.loads(line)["step"] <= step]
            with replacing(self.path) as temporary:
                temporary.write_text("".join(keep))
        self.shown = shown
        self.bar = tqdm(total=steps, initial=step, desc="train", unit="step", disable=not shown)
        self._board = tensorboard(folder) if shown else None
        self._row_step = step
        self._row_time = time.monotonic()

    def row(self, kind: str, step: int, **values: float) -> None:
        """Write one row: `train`, with the mean `seconds` per step, or `val`."""
        if not self.shown:
            return
        now = time.monotonic()
        if kind == "train":
            values["seconds"] = round((now - self._row_time) / max(step - self._row_step, 1), 4)
        self._row_step, self._row_time = step, now
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def advance(self, loss: float | None, wait_share: float) -> None:
        """Advance the bar by one step; it shows rate and remaining time itself."""
        if loss is not None:
            self.bar.set_postfix(loss=f"{loss:.4f}", data_wait=f"{wait_share:.0%}", refresh=False)
        self.bar.update()

    def close(self) -> None:
        """Close the bar and the TensorBoard writer."""
        self.bar.close()
        if self._board is not None:
            self._board.close()


def read_lines(path: Path) -> list[str]:
    """The complete lines of a log; a last line that a crash cut off is left out."""
    if not path.is_file():
        return []
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]


def tensorboard(folder: Path) -> Any | None:
    """A TensorBoard writer, or None if the extra `log` is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard")
