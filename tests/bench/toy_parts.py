"""Parts that a test of the report runs: some succeed, some fail."""

import os
import subprocess
import sys
import time

from bench.gpu.part import Finding, finding_of


def right(setting):
    print("talk of a library")
    yield finding_of("check", "all right", excess=0.5)


def wrong(setting, by="half"):
    yield finding_of("check", f"off by {by}", bad=True, excess=2.0)


def hangs(setting):
    yield Finding("note", "before it hung")
    time.sleep(600)


def crashes(setting):
    yield Finding("note", "before it crashed")
    print("the kernel's last words", file=sys.stderr, flush=True)
    os.abort()


def fails(setting):
    raise RuntimeError("CUDA error: an illegal memory access")
    yield


def starts_another(setting, mark):
    write = f"import time\nwhile True: open({mark!r}, 'a').write('x'); time.sleep(0.1)"
    subprocess.Popen([sys.executable, "-c", write])
    yield Finding("note", os.environ["OMP_NUM_THREADS"])
    time.sleep(600)
