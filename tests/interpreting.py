"""What tests share that run kernels in Triton's interpreter."""

from types import SimpleNamespace

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


@pytest.fixture(autouse=True)
def patched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's language is patched once a kernel, not for every call of a device function: a third of the time."""
    from triton import language
    from triton.runtime import interpreter

    plain = interpreter._patch_lang
    everything = SimpleNamespace(__globals__={"language": language, "core": language.core})

    def call(self: interpreter.InterpretedFunction, *args: object, **kwargs: object) -> object:
        return self.rewrite()(*args, **kwargs)

    monkeypatch.setattr(interpreter, "_patch_lang", lambda kernel: plain(everything))
    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
