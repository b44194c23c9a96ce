"""Checks that the sections share: each raises a `UserError` naming key, value and what is allowed."""

from collections.abc import Sequence
from typing import Any

from spikevrt.errors import UserError


def fail(key: str, value: Any, allowed: str) -> None:
    """Raise the error every check gives: `KEY = value: must be ...`."""
    raise UserError(f"{key} = {value}: must be {allowed}")


def require(condition: bool, key: str, value: Any, allowed: str) -> None:
    """`fail` unless `condition` holds."""
    if not condition:
        fail(key, value, allowed)


def require_length(key: str, values: Sequence[Any], length: int) -> None:
    """`values` has exactly `length` entries."""
    require(len(values) == length, key, list(values), f"a list of exactly {length} values, not {len(values)}")
