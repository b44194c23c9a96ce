"""Functions that a test runs in separate processes: some succeed, some fail."""

import os
import subprocess
import sys
import time


def count(to):
    print("what a library prints does not stand between the rows")
    yield from range(to)


def exits(code):
    yield "before"
    print("the last words", file=sys.stderr)
    os._exit(code)


def raises():
    yield "before"
    raise ValueError("no such thing")


def raises_and_advises():
    yield "before"
    raise RuntimeError("CUDA error: an illegal memory access\nFor debugging consider\nCompile with")


def crashes():
    yield "before"
    os.abort()


def sleeps(folder=None):
    yield "before"
    if folder is not None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (folder / "child").write_text(str(child.pid))
    time.sleep(600)


def environment():
    yield os.getpid()
    yield os.environ.get("SPIKEVRT_FOR_THE_CHILD")


def unpicklable():
    yield lambda: None
