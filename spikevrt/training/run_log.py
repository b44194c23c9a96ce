"""The log of a run: rows in `log.jsonl`, a progress bar, and TensorBoard if it is installed."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from spikevrt.data.files.atomic import replacing, writing
from spikevrt.errors import one_line

if TYPE_CHECKING:
    from torch import Tensor

LOG_NAME = "log.jsonl"
BOARD_NAME = "tensorboard"
UNREADABLE_NAME = "log.unreadable.txt"
"""File beside the log for lines that are not rows, for example after a full disk or an edit by hand."""


class RunLog:
    """The rows of a run; rows after the step from which a run resumes are dropped, so that none occurs twice.

    Args:
        folder: of the run.
        step: from which it starts or continues.
        steps: of the whole run.
        shown: whether this process writes.
        validated: the last validation that stands, because a later one is made again; None = all up to `step`.
    """

    def __init__(self, folder: Path, step: int, steps: int, shown: bool, validated: int | None = None) -> None:
        self.path = folder / LOG_NAME
        if shown:
            rows, others = read_rows(self.path)
            keep_unreadable(self.path, others)
            stand = {"val": step if validated is None else min(step, validated)}
            with replacing(self.path) as temporary:
                lines = (line for row, line in rows if row["step"] <= stand.get(row["kind"], step))
                temporary.write_text("".join(lines), encoding="utf-8")
        self.shown = shown
        self.steps = steps
        self.terminal = sys.stderr is not None and sys.stderr.isatty()
        """Whether someone sees a bar move; a file gets a line for each row instead."""
        self.bar = tqdm(total=steps, initial=step, desc="train", unit="step", disable=not (shown and self.terminal))
        self._board = tensorboard(folder, step) if shown else None
        self._picture: Tensor | None = None
        self._row_step = step
        self._row_time = time.monotonic()

    def row(self, kind: str, step: int, **values: float) -> None:
        """Write one row: `train`, with the mean `seconds` per step, `val` or `memory`; null is what is not finite."""
        if not self.shown:
            return
        now = time.monotonic()
        if kind == "train":
            values["seconds"] = round((now - self._row_time) / max(step - self._row_step, 1), 4)
            if not self.terminal:
                self.say(progress(step, self.steps, values))
        self._row_step, self._row_time = step, now
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **finite}) + "\n")
        if self._board is not None:
            with writing(self.path.parent / BOARD_NAME):
                for name, value in values.items():
                    self._board.add_scalar(f"{kind}/{name}", value, step)
                if kind == "val" and self._picture is not None:
                    self._board.add_image("val/blurred, restored, sharp", self._picture, step)

    def picture(self, picture: "Tensor") -> None:
        """Show a picture (3,H,W) in [0,1] with the next row `val` in TensorBoard, if it is installed."""
        self._picture = picture.cpu()

    def say(self, line: str) -> None:
        """Print a line above the bar; whoever has closed the output does not end the run."""
        if self.shown:
            with suppress(BrokenPipeError):
                self.bar.write(one_line(line))

    def advance(self, loss: float | None, wait_share: float, skipped: int) -> None:
        """Advance the bar by one step; it shows rate and remaining time itself, and skipped steps if there are any."""
        if loss is not None:
            skips: dict[str, Any] = {"skipped": skipped} if skipped else {}
            self.bar.set_postfix(loss=f"{loss:.4f}", data_wait=f"{wait_share:.0%}", **skips, refresh=False)
        self.bar.update()

    def sync(self) -> None:
        """Put all rows on the disk: a checkpoint must not outlive a crash of the machine that its rows did not."""
        if self.shown and self.path.is_file():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close the bar and the TensorBoard writer."""
        self.bar.close()
        if self._board is not None:
            with writing(self.path.parent / BOARD_NAME):
                self._board.close()


def progress(step: int, steps: int, values: Mapping[str, float]) -> str:
    """What a bar would show, in one line."""
    left = timedelta(seconds=round((steps - step) * values["seconds"]))
    skipped = f", {values['skipped']} skipped" if values.get("skipped") else ""
    return f"step {step} of {steps}: loss {values['loss']:.4f}, {values['seconds']:.3g} s a step, {left} left{skipped}"


def read_rows(path: Path) -> tuple[list[tuple[dict[str, Any], str]], list[bytes]]:
    """The rows of a log, each with its line, and the lines that are no rows; a last line that was cut off is none."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    if lines and not lines[-1].endswith(b"\n") and row_of(lines[-1]) is None:
        lines.pop()
    rows: list[tuple[dict[str, Any], str]] = []
    others: list[bytes] = []
    for line in filter(bytes.strip, lines):
        row = row_of(line)
        if row is None:
            others.append(line)
        else:
            rows.append((row, line.decode("utf-8").rstrip("\r\n") + "\n"))
    return rows, others


def row_of(line: bytes) -> dict[str, Any] | None:
    """The row in a line, with its `kind` and `step`; None if the line is not a row."""
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
        return None
    step = row.get("step")
    return row if isinstance(step, int) and not isinstance(step, bool) and step >= 0 else None


def keep_unreadable(log: Path, lines: list[bytes]) -> None:
    """Keep lines that are no rows beside the log, and say so."""
    if not lines:
        return
    place = log.with_name(UNREADABLE_NAME)
    with place.open("ab") as file:
        file.writelines(lines)
    print(one_line(f"{log}: {len(lines)} lines are not rows of a log and are now in {place.name}"))


def tensorboard(folder: Path, step: int) -> Any | None:
    """A TensorBoard writer that hides what an earlier start wrote after `step`; None without the extra `log`."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / BOARD_NAME, purge_step=step + 1)
