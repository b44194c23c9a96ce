"""Names that a person types, for whoever needs them without importing torch: backends and operators."""

from pathlib import Path
from typing import NamedTuple

BACKENDS = ("triton", "sdpa", "naive")
CHOICES = ("auto", *BACKENDS)
"""What MODEL.ATTN_BACKEND may be."""


class Backends(NamedTuple):
    """The backend of each operator of a model."""

    temporal_block: str
    """For the spike branch and the fusion."""
    window_attention: str
    """This and all others are for the RGB backbone."""
    geglu_block: str = "auto"
    norm_linear: str = "auto"
    linear_residual: str = "auto"
    deform_conv: str = "auto"
    warp_pairs: str = "auto"

    @classmethod
    def of(cls, backend: "str | Backends") -> "Backends":
        """One backend for all operators, or backends as they are."""
        return backend if isinstance(backend, Backends) else cls(*(backend,) * len(cls._fields))


def operator_names() -> tuple[str, ...]:
    """Operators of the registry, by name in alphabetical order: the folders that hold a `spec.py`."""
    return tuple(sorted(spec.parent.name for spec in Path(__file__).parents[1].glob("*/spec.py")))
