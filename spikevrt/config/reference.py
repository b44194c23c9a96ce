"""The reference of all configuration keys: type, value, description and allowed values."""

import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from inspect import cleandoc
from textwrap import wrap
from typing import Any, NamedTuple

from spikevrt.config.keys import Section, about
from spikevrt.config.loader import unknown_key
from spikevrt.config.schema import Config
from spikevrt.errors import UserError, one_line

TYPES = {bool: "true or false", int: "integer", float: "number", str: "text"}
WIDTH, INDENT = 100, " " * 6


class Entry(NamedTuple):
    """One line of the reference: a key."""

    name: str
    type: str
    value: str
    """The value, written as in YAML."""
    does: str
    allowed: str
    """The allowed values; empty = every value of the type."""


class Part(NamedTuple):
    """One section, without the sections inside it."""

    name: str
    does: str
    entries: tuple[Entry, ...]

    @property
    def keys(self) -> list[str]:
        """Dotted names of the section's entries."""
        return [f"{self.name}.{entry.name}" for entry in self.entries]


def parts(config: Config) -> Iterator[Part]:
    """All sections in the order of the configuration files, with the values of `config`."""
    for own in fields(config):
        yield from parts_of(getattr(config, own.name))


def parts_of(section: Section) -> Iterator[Part]:
    """A section, then the sections inside it."""
    hints = typing.get_type_hints(type(section))
    entries: list[Entry] = []
    below: list[Section] = []
    for own in fields(section):
        value = getattr(section, own.name)
        if is_dataclass(hints[own.name]):
            below.append(value)
            continue
        known = about(own)
        allowed = known.rule.text if known.rule else ""
        kind = type_text(hints[own.name], known.derived)
        entries.append(Entry(own.name.upper(), kind, value_text(value), known.does, allowed))
    yield Part(section.SECTION, cleandoc(type(section).__doc__ or ""), tuple(entries))
    for inner in below:
        yield from parts_of(inner)


def type_text(hint: Any, derived: bool) -> str:
    """The type as text, for example `integer or none`."""
    optional = isinstance(hint, types.UnionType)
    plain = next(h for h in typing.get_args(hint) if h is not types.NoneType) if optional else hint
    is_list = typing.get_origin(plain) is tuple
    text = "list of integers" if is_list else TYPES[plain]
    return f"{text} or none" if optional or derived else text


def value_text(value: Any) -> str:
    """The value as text, as a file or an option writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return one_line(str(value))


def select(every: Iterable[Part], names: Sequence[str]) -> list[Part]:
    """The sections and keys called `names`; all of them where `names` is empty.

    Names are dotted; a section includes the sections inside it.

    Raises:
        UserError: a name is neither a section nor a key; the message suggests the most similar one.
    """
    every = list(every)
    chosen: set[str] = set()
    for name in names:
        found = [key for part in every for key in part.keys if f"{key}.".startswith(f"{name}.")]
        if not found:
            raise UserError(unknown_key(name))
        chosen.update(found)
    if not names:
        return every
    kept = (
        part._replace(entries=tuple(e for e, key in zip(part.entries, part.keys, strict=True) if key in chosen))
        for part in every
    )
    return [part for part in kept if part.entries]


def plain_text(chosen: Sequence[Part]) -> str:
    """Format the reference for a terminal: a paragraph per section, a few lines per key."""
    lines: list[str] = []
    for part in chosen:
        lines += [part.name, *(f"  {line}".rstrip() for line in part.does.splitlines()), ""]
        for key, entry in zip(part.keys, part.entries, strict=True):
            lines.append(f"  {key} = {entry.value}    ({entry.type})")
            text = f"{entry.does}{f' Must be {entry.allowed}.' if entry.allowed else ''}"
            lines += wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
        lines.append("")
    return "\n".join(lines).rstrip()


def markdown(chosen: Sequence[Part], name: str) -> str:
    """Format the reference as Markdown, a table per section, with the values of the configuration called `name`."""
    lines = [
        "# Configuration",
        "",
        f"Every key with its value in `{name}`, as `python -m spikevrt.config --markdown` prints it. Set keys in a",
        "YAML file (`--config FILE`) or on the command line (`--opts TRAIN.LR=5e-5 DATA.CROP_SIZE=192`).",
    ]
    for part in chosen:
        lines += ["", f"## {part.name}", "", escaped(part.does), ""]
        lines += [f"| key | type | {name} | what it does | allowed |", "| --- | --- | --- | --- | --- |"]
        for entry in part.entries:
            cells = (f"`{entry.name}`", entry.type, f"`{entry.value}`", entry.does, entry.allowed)
            lines.append("| " + " | ".join(map(escaped, cells)) + " |")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text that Markdown would take for a column or, outside of backquotes, for a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")
