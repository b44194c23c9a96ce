"""Runs the parts of a report in processes, keeps every finding at once, and writes the page after each part."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.gpu.page import page
from bench.gpu.part import END, NO_TIME, START, WELL, Finding, run_part
from spikevrt.data.files.atomic import replacing
from spikevrt_kernels.core.processes import Job, Running, run_job

FINDINGS, LOGS, PAGE = "results.jsonl", "logs", "report.md"
LEAST_SECONDS = 5.0
"""No part is started if less time is left."""


@dataclass(frozen=True)
class Task:
    """A part with its arguments and limits."""

    name: str
    job: str
    """`module.function`, as `run_part` takes it."""
    arguments: tuple[str, ...] = ()
    limit: float = 60
    """Time limit in seconds."""
    quiet: bool = False
    """Print only bad findings."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    task: Task
    status: str
    """`ended well`, `no time left`, or how its process failed."""
    wrong: bool
    """Whether one of its findings is bad."""

    @property
    def well(self) -> bool:
        """Whether the task ended and found nothing wrong."""
        return self.status == WELL and not self.wrong


class Board:
    """Runs tasks within a common time limit, and writes every finding to disk at once."""

    def __init__(self, folder: Path, seconds: float, dry: bool = False) -> None:
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
        self.folder, self.dry, self.began = folder, dry, time.monotonic()
        self.ends = self.began + seconds
        self.lock, self.running = threading.RLock(), Running()
        self.findings: list[Finding] = []
        self.outcomes: list[Outcome] = []
        self.file = (folder / FINDINGS).open("w")

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds until the time limit."""
        return self.ends - time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        with self.lock:
            print(f"[{self.elapsed:5.0f}s] {text}", flush=True)

    def keep(self, finding: Finding, part: str) -> None:
        """Append a finding to the file as one complete line."""
        finding = finding.of(part, self.elapsed)
        with self.lock:
            self.findings.append(finding)
            self.file.write(finding.line() + "\n")
            self.file.flush()

    def take(self, task: Task, finding: Finding) -> None:
        """Keep a finding of a task, and print it."""
        self.keep(finding, task.name)
        if finding.text and (finding.bad or not task.quiet):
            self.say(("!! " if finding.bad else "   ") + finding.text)

    def run(self, task: Task) -> Outcome:
        """Run a task to its end or time limit, and write the page."""
        limit = min(task.limit, self.left)
        if limit < LEAST_SECONDS:
            return self.ended(task, NO_TIME, [])
        self.keep(Finding(START), task.name)
        arguments = (self.dry, task.job, task.arguments, dict(task.environment))
        log = self.folder / LOGS / f"{task.name.replace(' ', '_')}.txt"
        job = Job(task.name, run_part, arguments, limit, log=log)
        ending = run_job(job, self.running, lambda _, finding: self.take(task, finding))
        return self.ended(task, ending.reason or WELL, ending.rows)

    def ended(self, task: Task, status: str, findings: Sequence[Finding]) -> Outcome:
        """Record how a task ended, and write the page."""
        outcome = Outcome(task, status, any(finding.bad for finding in findings))
        self.keep(Finding(END, status, bad=status != WELL), task.name)
        with self.lock:
            self.outcomes.append(outcome)
        self.write_page()
        if status != WELL:
            self.say(f"!! {task.name}: {status}")
        elif task.quiet:
            self.say(f"ok {task.name}" if outcome.well else f"!! {task.name}: something is wrong")
        return outcome

    def start_all(self, tasks: Iterable[Task], workers: int) -> list[threading.Thread]:
        """Start tasks in order, at most `workers` at a time; returns threads to join."""
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
        """Write the page of all findings so far, so that an interrupted report has a page too."""
        with self.lock, replacing(self.folder / PAGE) as temporary:
            temporary.write_text(page(self.findings))

    def close(self) -> None:
        """Stop running tasks, start no more, and write the page."""
        with self.lock:
            self.ends = 0.0
        self.running.end()
        self.write_page()
