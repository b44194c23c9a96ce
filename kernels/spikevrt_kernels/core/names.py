"""Names that a person types, for whoever needs them without importing torch: backends and operators."""

from pathlib import Path

BACKENDS = ("triton", "sdpa", "naive")
CHOICES = ("auto", *BACKENDS)
"""What MODEL.ATTN_BACKEND may be."""


def operator_names() -> tuple[str, ...]:
    """Operators of the registry, by name in alphabetical order: the folders that hold a `spec.py`."""
    return tuple(sorted(spec.parent.name for spec in Path(__file__).parents[1].glob("*/spec.py")))
