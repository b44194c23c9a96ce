"""The published numbers, by every backend: those of PyTorch, or the kernels in a process that interprets them."""

from spikevrt_kernels.core.launch import interpreted

if interpreted():
    from tests.interpreting import patched_once, poisoned, without_overflow_checks  # noqa: F401
