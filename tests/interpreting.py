"""What tests share that run kernels in Triton's interpreter."""

import pytest
import torch

from spikevrt_kernels.core.launch import interpreted

CONFORMANT = ("triton",) if interpreted() else ("naive", "sdpa")
"""Backends that are held to the published numbers: in a process that interprets kernels those alone."""


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
