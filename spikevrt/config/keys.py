"""Configuration keys (default, description, allowed values) and the checks of their values."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

from spikevrt.errors import UserError, shown


def fail(key: str, value: Any, allowed: str) -> None:
    """Raise the `UserError` of every failed check: `KEY = value: must be ...`."""
    raise UserError(f"{key} = {shown(value)}: must be {allowed}")


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
    path: bool
    """Whether the value is a path of the file system, in which files and options may write `~` for a home folder."""


def key(
    default: T, does: str, rule: Rule | None = None, *, derived: bool = False, free: bool = False, path: bool = False
) -> T:
    """Make the dataclass field of one key; the arguments are those of `About`."""
    return field(default=default, metadata={ABOUT: About(does, rule, derived, free, path)})


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


def count(least: int, most: int) -> Rule:
    """Rule for an integer that counts something of which no machine has more than `most`."""
    return Rule(f"at least {least} and at most {most:,}", lambda value: least <= value <= most)


def above(low: float, most: float) -> Rule:
    """Rule for a number above `low`, which is not allowed itself, and up to `most`."""
    return Rule(f"above {low} and at most {most}", lambda value: low < value <= most)


def between(low: float, high: float) -> Rule:
    """Rule for a number with a lower and an upper bound, both allowed."""
    return Rule(f"between {low} and {high}", lambda value: low <= value <= high)


def one_of(choices: Sequence[str]) -> Rule:
    """Rule for a word out of a list."""
    return Rule("one of " + ", ".join(choices), lambda value: value in choices)


def positives(length: int, most: int) -> Rule:
    """Rule for a list of exactly `length` integers from 1 to `most`."""
    return Rule(
        f"a list of exactly {length} values, all positive and at most {most}",
        lambda values: len(values) == length and all(0 < value <= most for value in values),
    )


ENDLESS = 10**12
"""Bound of steps, frames and other counts that people set high to mean: never, or without a limit."""
POSITIVE = Rule("a positive finite number", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Rule("0 or more, and finite", lambda value: 0 <= value < math.inf)
SHARE = Rule("in [0, 1)", lambda value: 0 <= value < 1)
FOLDER = Rule("the name of a folder", lambda name: bool(name) and "\0" not in name)
PATH = Rule("a path (~ is the home folder)", FOLDER.holds)
AUTO = "auto"
BUDGET = Rule(f"{AUTO} or a number of GB above 0", lambda text: text == AUTO or is_budget(text))

TILE = Rule(f"{AUTO} or a whole number of pixels", lambda text: text == AUTO or (text.isdecimal() and int(text) > 0))


def is_budget(text: str) -> bool:
    """Whether a text is a finite number above 0."""
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
