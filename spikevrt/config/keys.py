"""A key of a section: its default, its text, the values that it may have; and the checks of values."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

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


T = TypeVar("T")
ABOUT = "about"


class Rule(NamedTuple):
    """Which values a key may have."""

    text: str
    """Follows `must be`."""
    holds: Callable[[Any], bool]


class About(NamedTuple):
    """What is known of a key besides its type and default."""

    does: str
    """What it does, with its unit; a sentence or a few."""
    rule: Rule | None
    """None = every value of the type."""
    derived: bool
    """`none` in a file stands for a value that follows from other keys."""
    free: bool
    """May change when a run goes on: it is no part of what the weights mean."""


def key(default: T, does: str, rule: Rule | None = None, *, derived: bool = False, free: bool = False) -> T:
    """The field of a section for one key; arguments as in `About`."""
    return field(default=default, metadata={ABOUT: About(does, rule, derived, free)})


def about(own: Field[Any]) -> About:
    """What `key` was told."""
    return own.metadata[ABOUT]


@dataclass(frozen=True)
class Section:
    """A section of the configuration; its keys are checked when it is built.

    Raises:
        UserError: a value outside what is allowed, naming key, value and the allowed range.
    """

    SECTION: ClassVar[str]
    """Where it stands, dotted: `MODEL.VRT`."""

    def __post_init__(self) -> None:
        self.check(own.name for own in fields(self))

    def check(self, names: Iterable[str]) -> None:
        """Hold the keys called `names` against their rules."""
        wanted = set(names)
        for own in fields(self):
            value = getattr(self, own.name)
            if own.name not in wanted or ABOUT not in own.metadata or value is None:
                continue
            rule = about(own).rule
            if rule is not None:
                shown = list(value) if isinstance(value, tuple) else value
                require(rule.holds(value), f"{self.SECTION}.{own.name.upper()}", shown, rule.text)


def at_least(least: float) -> Rule:
    """A number (not NaN) with a lower bound."""
    return Rule(f"at least {least}", lambda value: value >= least)


def between(low: float, high: float) -> Rule:
    """A number with both bounds."""
    return Rule(f"between {low} and {high}", lambda value: low <= value <= high)


def one_of(choices: Sequence[str]) -> Rule:
    """One of some words."""
    return Rule("one of " + ", ".join(choices), lambda value: value in choices)


def positives(length: int) -> Rule:
    """A list of so many positive integers."""
    return Rule(
        f"a list of exactly {length} values, all positive",
        lambda values: len(values) == length and all(value > 0 for value in values),
    )


POSITIVE = Rule("a positive finite number", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Rule("0 or more, and finite", lambda value: 0 <= value < math.inf)
FINITE = Rule("finite", math.isfinite)
SHARE = Rule("in [0, 1)", lambda value: 0 <= value < 1)
ALL_POSITIVE = Rule("positive integers", lambda values: all(value > 0 for value in values))
FOLDER = Rule("the name of a folder", bool)
