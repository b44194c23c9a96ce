"""The package's commands as processes, one after the other or side by side."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from spikevrt.cli import EXIT_INTERRUPTED
from spikevrt_kernels.core.processes import cores

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Command:
    """`python -m spikevrt.<module> <arguments>`; with a log, it prints there instead of to the terminal."""

    module: str
    arguments: tuple[object, ...]
    log: Path | None = None

    @property
    def line(self) -> list[str]:
        """What follows `python`."""
        return ["-m", f"spikevrt.{self.module}", *map(str, self.arguments)]

    @contextmanager
    def running(self, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """The process; what is left of it at the end is killed."""
        with ExitStack() as stack:
            output = stack.enter_context(self.log.open("wb")) if self.log else None
            errors = subprocess.STDOUT if self.log else None
            line = [sys.executable, *self.line]
            process = stack.enter_context(subprocess.Popen(line, stdout=output, stderr=errors, env=environment))
            stack.callback(process.kill)
            yield process


def call(*commands: Command) -> None:
    """Show and run commands, all at once, with an equal share of the cores each; stop where one fails.

    Ctrl-C reaches the commands, which save and leave; this process waits for them.

    Raises:
        SystemExit: a command's exit code that is not 0; of the first that failed; the last line of its log is shown.
    """
    share = {} if len(commands) == 1 else {"OMP_NUM_THREADS": str(max(1, cores() // len(commands)))}
    for command in commands:
        before = "".join(f"{key}={value} " for key, value in share.items())
        after = f" > {shlex.quote(str(command.log))} 2>&1 &" if command.log else ""
        print(f"\n$ {before}python {shlex.join(command.line)}{after}", flush=True)
    with waiting_through_interrupts(), ExitStack() as stack:
        processes = [stack.enter_context(command.running(os.environ | share)) for command in commands]
        failed = first_failure(processes)
    if failed is not None:
        log = commands[processes.index(failed)].log
        if log is not None:
            print(*log.read_text().splitlines()[-1:], file=sys.stderr)
        raise SystemExit(failed.returncode)


def first_failure(processes: Sequence[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes] | None:
    """Wait for all processes; the one that failed first, after which the others were interrupted, or None."""
    failed, running = None, list(processes)
    while running:
        time.sleep(POLL_SECONDS)
        for process in [p for p in running if p.poll() is not None]:
            running.remove(process)
            if process.returncode and failed is None:
                failed = process
                # Ctrl-C has reached the others too, and a second one would not let them save.
                for other in running if process.returncode != EXIT_INTERRUPTED else ():
                    other.send_signal(signal.SIGINT)
    return failed


@contextmanager
def waiting_through_interrupts() -> Iterator[None]:
    """Leave Ctrl-C to the processes that run meanwhile: a handler, unlike ignoring it, is not passed on to them."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
