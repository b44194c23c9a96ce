"""Runs kernels for the CPU, which free the interpreter's lock, in several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def in_threads(run: Callable[[int, int], None], threads: int) -> None:
    """Call run(thread, threads) once in each of `threads` threads."""
    if threads == 1:
        run(0, 1)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads), [threads] * threads))
