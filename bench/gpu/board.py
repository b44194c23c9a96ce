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
    """One of its findings is bad."""

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
        self.findings: list[Finding] = []
        self.outcomes: list[Outcome] = []
        self.file = (folder / FINDINGS).open("w")

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

    def keep(self, finding: Finding, part: str) -> None:
        """Append a finding to the file, a whole line at once."""
        finding = finding.of(part, self.elapsed)
        with self.lock:
            self.findings.append(finding)
            self.file.write(finding.line() + "\n")
            self.file.flush()

    def take(self, task: Task, finding: Finding) -> None:
        """Keep a finding that a task gave, and print it."""
        self.keep(finding, task.name)
        if finding.text and (finding.bad or not task.quiet):
            self.say(("!! " if finding.bad else "   ") + finding.text)

    def run(self, task: Task) -> Outcome:
        """Run one task to its end or its limit, and write the page."""
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
        """Note how a task ended, and write the page."""
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
        """The page of all findings so far: a report that is cut off later is still one."""
        with self.lock, replacing(self.folder / PAGE) as temporary:
            temporary.write_text(page(self.findings))

    def close(self) -> None:
        """Stop what still runs, start nothing more, and write the page."""
        with self.lock:
            self.ends = 0.0
        self.running.end()
        self.write_page()
