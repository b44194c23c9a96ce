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


def require_at_least(key: str, value: float, least: float) -> None:
    """`value` >= `least` (and not NaN)."""
    require(value >= least, key, value, f"at least {least}")


def require_between(key: str, value: float, low: float, high: float) -> None:
    """`low` <= `value` <= `high`."""
    require(low <= value <= high, key, value, f"between {low} and {high}")


def require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """`value` is one of `choices`."""
    require(value in choices, key, value, "one of " + ", ".join(choices))


def require_length(key: str, values: Sequence[Any], length: int) -> None:
    """`values` has exactly `length` entries."""
    require(len(values) == length, key, list(values), f"a list of exactly {length} values, not {len(values)}")


def require_positive(key: str, values: Sequence[int]) -> None:
    """Every entry is a positive integer."""
    require(all(v > 0 for v in values), key, list(values), "positive integers")
