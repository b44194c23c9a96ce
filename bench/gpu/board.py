"""The board of a report: runs parts in processes, prints and keeps every row as it comes, and the page after each."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.gpu.page import page
from bench.gpu.part import run_part
from bench.gpu.rows import END, NO_TIME, START, WELL, ReportRow
from spikevrt.data.files.atomic import replacing
from spikevrt_kernels.core.processes import Job, Running, run_job

ROWS, LOGS, PAGE = "results.jsonl", "logs", "report.md"
LEAST = 5.0
"""Seconds below which no part is worth a start."""


@dataclass(frozen=True)
class Task:
    """One part with its arguments."""

    name: str
    job: str
    """`module.function`, as `run_part` takes it."""
    arguments: tuple[str, ...] = ()
    limit: float = 60
    """Seconds."""
    quiet: bool = False
    """Rows are printed only where something is bad."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    task: Task
    status: str
    """`ended well`, `no time left`, or what its process came to."""
    wrong: bool
    """One of its rows is bad."""

    @property
    def well(self) -> bool:
        """Whether it came to its end, with nothing wrong."""
        return self.status == WELL and not self.wrong


class Board:
    """Runs tasks within a time for all of them together; what it has said is on disk."""

    def __init__(self, folder: Path, seconds: float, dry: bool = False) -> None:
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
        self.folder, self.dry, self.began = folder, dry, time.monotonic()
        self.ends = self.began + seconds
        self.lock, self.running = threading.RLock(), Running()
        self.rows: list[ReportRow] = []
        self.outcomes: list[Outcome] = []
        self.row_file = (folder / ROWS).open("w")

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.ends - time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with its time."""
        with self.lock:
            print(f"[{self.elapsed:5.0f}s] {text}", flush=True)

    def keep(self, row: ReportRow, part: str) -> None:
        """Append a row to the file, a whole line at once."""
        row = row.of(part, self.elapsed)
        with self.lock:
            self.rows.append(row)
            self.row_file.write(row.line() + "\n")
            self.row_file.flush()

    def take(self, task: Task, row: ReportRow) -> None:
        """Keep a row that a task gave, and print it."""
        self.keep(row, task.name)
        if row.text and (row.bad or not task.quiet):
            self.say(("!! " if row.bad else "   ") + row.text)

    def run(self, task: Task) -> Outcome:
        """Run one task to its end or its limit, and write the page."""
        limit = min(task.limit, self.left)
        if limit < LEAST:
            return self.ended(task, NO_TIME, [])
        self.keep(ReportRow(START), task.name)
        arguments = (self.dry, task.job, task.arguments, dict(task.environment))
        log = self.folder / LOGS / f"{task.name.replace(' ', '_')}.txt"
        job = Job(task.name, run_part, arguments, limit, log=log)
        ending = run_job(job, self.running, lambda _, row: self.take(task, row))
        return self.ended(task, ending.reason or WELL, ending.rows)

    def ended(self, task: Task, status: str, rows: Sequence[ReportRow]) -> Outcome:
        """Note how a task ended, and write the page."""
        outcome = Outcome(task, status, any(row.bad for row in rows))
        self.keep(ReportRow(END, status, bad=status != WELL), task.name)
        with self.lock:
            self.outcomes.append(outcome)
        self.write_page()
        if status != WELL:
            self.say(f"!! {task.name}: {status}")
        elif task.quiet:
            self.say(f"ok {task.name}" if outcome.well else f"!! {task.name}: something is wrong")
        return outcome

    def start_all(self, tasks: Iterable[Task], workers: int) -> list[threading.Thread]:
        """Begin many tasks, the first ones first, `workers` at a time; join the threads to wait for them."""
        todo = deque(tasks)

        def work() -> None:
            while True:
                with self.lock:
                    if not todo:
                        return
                    task = todo.popleft()
                self.run(task)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(todo)))]
        for thread in threads:
            thread.start()
        return threads

    def write_page(self) -> None:
        """The page of all rows so far: a report that is cut off later is still one."""
        with self.lock, replacing(self.folder / PAGE) as temporary:
            temporary.write_text(page(self.rows))

    def close(self) -> None:
        """Stop what still runs, start nothing more, and write the page."""
        with self.lock:
            self.ends = 0.0
        self.running.end()
        self.write_page()
