"""Attention backends: which exist, what can run, and the sentence that says why not.

`naive` is the plain PyTorch reference, `sdpa` goes through `scaled_dot_product_attention`, `triton` is a
fused kernel. An explicit choice never falls back: it runs or raises `BackendError`. `auto` takes the first
that can run.
"""

import logging

BACKENDS = ("triton", "sdpa", "naive")
CHOICES = ("auto", *BACKENDS)
TRITON_OPS: tuple[str, ...] = ()
"""Operators that have a Triton kernel in this version."""

logger = logging.getLogger(__name__)


class BackendError(ValueError):
    """A backend that was asked for by name cannot run; the message is the sentence that says why."""


def why_not_triton() -> str | None:
    """None when the Triton backend can run here, else one sentence that says why it cannot."""
    if not TRITON_OPS:
        return "attention backend triton cannot run: no operator has a Triton kernel in this version; use sdpa"
    return None


def resolve_backend(choice: str) -> str:
    """The backend that `choice` (`auto`, `triton`, `sdpa` or `naive`) stands for.

    Raises:
        BackendError: an unknown name, or `triton` where it cannot run.
    """
    if choice not in CHOICES:
        raise BackendError(f"attention backend {choice}: unknown; choose one of {', '.join(CHOICES)}")
    if choice not in ("auto", "triton"):
        return choice
    reason = why_not_triton()
    if reason is None:
        return "triton"
    if choice == "triton":
        raise BackendError(reason)
    logger.debug("auto: %s", reason)
    return "sdpa"
