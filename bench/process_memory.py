"""Memory of this process as Linux counts it."""

import re
from pathlib import Path


def status_kib(name: str) -> int:
    """A figure of /proc/self/status in KiB: RssAnon (anonymous, now), VmHWM (resident, at most)."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None, f"no {name} in /proc/self/status: Linux is needed"
    return int(found[1])
