"""Runs kernels in Triton's interpreter, in a separate process: `make interpreter`, or TRITON_INTERPRET=1 and pytest."""

import pytest
import torch

from spikevrt_kernels.core.launch import interpreted

collect_ignore_glob = [] if interpreted() else ["test_*.py"]


def pytest_report_header(config: pytest.Config) -> str:
    if interpreted():
        return "kernels run in Triton's interpreter"
    return "tests/interpreter left out: TRITON_INTERPRET is not set (make interpreter runs it)"


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs hold NaN until a kernel writes them."""
    plain = torch.Tensor.new_empty

    def new_empty(x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        out = plain(x, *args, **kwargs)  # type: ignore[call-overload]
        return out.fill_(torch.nan) if out.is_floating_point() else out

    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)


@pytest.fixture(autouse=True)
def without_overflow_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the interpreter's time goes into them, and they report nothing outside debugging."""
    from triton.runtime import interpreter

    options = interpreter.InterpreterOptions(sanitize_overflow=False)
    monkeypatch.setattr(interpreter.interpreter_builder, "options", options)
