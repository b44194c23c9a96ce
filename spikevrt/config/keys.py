"""Configuration keys (default, description, allowed values) and the checks of their values."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

from spikevrt.errors import UserError


def fail(key: str, value: Any, allowed: str) -> None:
    """Raise the `UserError` of every failed check: `KEY = value: must be ...`."""
    raise UserError(f"{key} = {value}: must be {allowed}")


def require(condition: bool, key: str, value: Any, allowed: str) -> None:
    """Call `fail` unless `condition` holds."""
    if not condition:
        fail(key, value, allowed)


def require_length(key: str, values: Sequence[Any], length: int) -> None:
    """Fail unless `values` has exactly `length` entries."""
    require(len(values) == length, key, list(values), f"a list of exactly {length} values, not {len(values)}")


T = TypeVar("T")
ABOUT = "about"


class Rule(NamedTuple):
    """The values that a key may have."""

    text: str
    """Completes the sentence `must be ...`."""
    holds: Callable[[Any], bool]


class About(NamedTuple):
    """What describes a key besides its type and its default."""

    does: str
    """One or a few sentences: what the key does, with its unit."""
    rule: Rule | None
    """None = every value of the type is allowed."""
    derived: bool
    """Whether `none` in a file means: compute the value from other keys."""
    free: bool
    """Whether the value may change when a run resumes, because the weights do not depend on it."""


def key(default: T, does: str, rule: Rule | None = None, *, derived: bool = False, free: bool = False) -> T:
    """Make the dataclass field of one key; the arguments are those of `About`."""
    return field(default=default, metadata={ABOUT: About(does, rule, derived, free)})


def about(own: Field[Any]) -> About:
    """The `About` record that `key` stored in a field."""
    return own.metadata[ABOUT]


@dataclass(frozen=True)
class Section:
    """A section of the configuration; its keys are checked when it is built.

    Raises:
        UserError: a value outside what is allowed, naming key, value and the allowed range.
    """

    SECTION: ClassVar[str]
    """Dotted name of the section, for example `MODEL.VRT`."""

    def __post_init__(self) -> None:
        self.check(own.name for own in fields(self))

    def check(self, names: Iterable[str]) -> None:
        """Check the keys called `names` against their rules."""
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
    """Rule for a number (not NaN) with a lower bound."""
    return Rule(f"at least {least}", lambda value: value >= least)


def between(low: float, high: float) -> Rule:
    """Rule for a number with a lower and an upper bound, both allowed."""
    return Rule(f"between {low} and {high}", lambda value: low <= value <= high)


def one_of(choices: Sequence[str]) -> Rule:
    """Rule for a word out of a list."""
    return Rule("one of " + ", ".join(choices), lambda value: value in choices)


def positives(length: int) -> Rule:
    """Rule for a list of exactly `length` positive integers."""
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
