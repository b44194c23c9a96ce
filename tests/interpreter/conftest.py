"""Kernels in Triton's interpreter, a process of its own: `make interpreter`, or TRITON_INTERPRET=1 before pytest."""

import pytest

from spikevrt_kernels.launches import interpreted

collect_ignore_glob = [] if interpreted() else ["test_*.py"]


def pytest_report_header(config: pytest.Config) -> str:
    if interpreted():
        return "kernels run in Triton's interpreter"
    return "tests/interpreter left out: TRITON_INTERPRET is not set (make interpreter runs it)"
