"""Runs commands of this package as processes, one after the other or side by side."""

import ctypes
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from spikevrt.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR
from spikevrt.system.process import STOPPING, handled
from spikevrt_kernels.core.processes import cores

POLL_SECONDS = 0.1
PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl(2): the signal that a process gets when its parent ends."""


@dataclass(frozen=True)
class Command:
    """`python -m spikevrt.<module> <arguments>`; its output goes to `log`, or to the terminal without one."""

    module: str
    arguments: tuple[object, ...]
    log: Path | None = None

    @property
    def line(self) -> list[str]:
        """The arguments of `python`."""
        return ["-m", f"spikevrt.{self.module}", *map(str, self.arguments)]

    @contextmanager
    def running(self, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """Start the process in its own session, so that Ctrl-C reaches it only once, through its parent.

        On leaving the context it is killed if it still runs; on Linux it gets SIGINT if its parent is killed.
        """
        with ExitStack() as stack:
            output = stack.enter_context(self.log.open("wb")) if self.log else None
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *self.line],
                    stdout=output,
                    stderr=subprocess.STDOUT if self.log else None,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=signalled_with_parent(signal.SIGINT),
                )
            )
            stack.callback(process.kill)
            yield process


def signalled_with_parent(number: signal.Signals) -> Callable[[], object] | None:
    """A function for a new process on Linux: the process then gets a signal when its parent ends, even by SIGKILL."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # Looked up here, because the new process should do as little as possible.
    return lambda: prctl(PR_SET_PDEATHSIG, int(number))


def call(*commands: Command) -> None:
    """Print and run commands side by side, each with an equal share of the cores; stop all if one fails.

    Ctrl-C, SIGTERM and SIGHUP are passed on as one SIGINT to every command, which saves and exits; the same happens to
    the others if one command stops or fails. A second signal is passed on too and ends them at once.

    Raises:
        SystemExit: with the exit code of the first command that failed; the last line of its log is printed.
    """
    share = {} if len(commands) == 1 else {"OMP_NUM_THREADS": str(max(1, cores() // len(commands)))}
    for command in commands:
        before = "".join(f"{key}={value} " for key, value in share.items())
        after = f" > {shlex.quote(str(command.log))} 2>&1 &" if command.log else ""
        print(f"\n$ {before}python {shlex.join(command.line)}{after}", flush=True)
    group = Group()
    with group.passing_on_signals(), ExitStack() as stack:
        for command in commands:
            group.add(stack.enter_context(command.running(os.environ | share)))
        failed = group.wait()
    if failed is None:
        if group.signalled:
            raise SystemExit(EXIT_INTERRUPTED)
        return
    log = commands[failed].log
    if log is not None:
        print(*log.read_text("utf-8", errors="replace").splitlines()[-1:], file=sys.stderr)
    code = group.processes[failed].returncode
    raise SystemExit(code if code > 0 else 128 - code)  # Shells report a signal as 128 + its number.


def call_together(command: Command, count: int) -> int:
    """Run a command in `count` processes of one group of `torch.distributed`, as torchrun does on one machine.

    Signals are passed on as `call` does. Unlike torchrun, this prints at most a line: about a killed process.

    Returns:
        The exit code: of the first process that failed; 0 if they ended after SIGTERM; else `EXIT_INTERRUPTED` after a
        signal.
    """
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // count))}
    group = Group(patience=3.0)
    with group.passing_on_signals(), ExitStack() as stack:
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            group.add(stack.enter_context(command.running(threads | os.environ | shared | own)))
        failed = group.wait()
    if failed is not None:
        code = group.processes[failed].returncode
        if not group.signalled and code < 0 and all(p.returncode != EXIT_USER_ERROR for p in group.processes):
            # None of the others has missed it yet: they were still starting.
            name = signal.Signals(-code).name
            print(f"error: process {failed} of {count} was killed ({name}), perhaps for memory", file=sys.stderr)
        return code if code > 0 else 128 - code
    return EXIT_INTERRUPTED if group.signalled and group.signal != signal.SIGTERM else 0


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Group:
    """Processes that are stopped together."""

    def __init__(self, patience: float = 0.0) -> None:
        self.patience = patience
        """Seconds after a failure in which the others may notice it and end by themselves."""
        self.processes: list[subprocess.Popen[bytes]] = []
        self.signalled = False
        self.signal: int | None = None
        """The last signal that was passed on."""
        self.stopping = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Add a process; it is interrupted at once if the group is being stopped."""
        self.processes.append(process)
        if self.stopping:
            process.send_signal(signal.SIGINT)

    def wait(self) -> int | None:
        """Wait for all processes; returns the first one that failed, or None. A failure interrupts the others."""
        first: int | None = None
        since = time.monotonic()
        while True:
            ended = [i for i, process in enumerate(self.processes) if process.poll() is not None]
            failed = [i for i in ended if self.processes[i].returncode]
            first = failed[0] if first is None and failed else first
            since = time.monotonic() if first is None else since
            if first is not None and not self.stopping and time.monotonic() - since >= self.patience:
                self.interrupt()
            if len(ended) == len(self.processes):
                return first
            time.sleep(POLL_SECONDS)

    def interrupt(self) -> None:
        """Send SIGINT to all processes. A second SIGINT keeps them from saving, so it only follows a second signal."""
        self.stopping = True
        for process in self.processes:
            process.send_signal(signal.SIGINT)

    @contextmanager
    def passing_on_signals(self) -> Iterator[None]:
        """While active, signals to this process are passed on to the group; this process keeps waiting."""

        def pass_on(number: int, _: object) -> None:
            self.signalled = True
            self.signal = number
            self.interrupt()

        with handled(STOPPING, pass_on):
            yield
