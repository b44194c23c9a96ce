"""Runs kernels in Triton's interpreter, in a separate process: `make interpreter`, or TRITON_INTERPRET=1 and pytest."""

import pytest

from spikevrt_kernels.core.launch import interpreted
from tests.interpreting import patched_once, poisoned, without_overflow_checks  # noqa: F401

collect_ignore_glob = [] if interpreted() else ["test_*.py"]


def pytest_report_header(config: pytest.Config) -> str:
    if interpreted():
        return "kernels run in Triton's interpreter"
    return "tests/interpreter left out: TRITON_INTERPRET is not set (make interpreter runs it)"
