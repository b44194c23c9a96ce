"""Reads what people write in small files and after `--opts`: encodings, YAML, texts.

YAML guesses the type of what it reads: the folder 2024 becomes a number, `no` becomes false, 12:30:00 becomes 45000.
Here a scalar stays as it was written until the type of its key is known (`Scalar`), and nothing is read but sections,
lists and scalars: no dates, no tags that make objects.
"""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from spikevrt.errors import UserError, shown

Tree = dict[str, Any]
"""Nested sections by upper-case names, with `Scalar`s or plain values as leaves."""
MOST_BYTES = 2**16
"""A configuration with every key has some 3,000 bytes; what has more than this is another file."""
MOST_LEVELS = 16
"""A list in a section of a section of a section has four."""
TOO_DEEP = "too many levels inside each other"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""First bytes of a text file that make its encoding certain; longer marks come before those that they begin with."""
ENCODINGS = ("utf-8", "gb18030")
"""Encodings without a mark that `decoded` tries, in this order; one that does not fit is noticed."""
REMEDY = "save it as UTF-8 in an editor, or name the right file"


def read_text(path: Path, name: str) -> str:
    """Read a text file that people write: UTF-8, or what its byte order mark says.

    Args:
        path: a file of at most `MOST_BYTES`; a pipe is allowed.
        name: what messages call the file.

    Raises:
        UserError: the file is larger, or it is no text in these encodings.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{name}: has more than {MOST_BYTES} bytes, too many for a configuration; name the right file")
    marked, rest = without_mark(content)
    encoding = marked or "utf-8"
    try:
        text = rest.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}: line {line} is not {encoding.upper()} text; {REMEDY}") from None
    if "\0" in text:
        raise UserError(f"{name}: holds NUL bytes, so it is no UTF-8 text; {REMEDY}")
    return text


def without_mark(content: bytes) -> tuple[str | None, bytes]:
    """The encoding that a byte order mark announces (None = no mark), and the bytes behind the mark."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return encoding, content[len(mark) :]
    return None, content


def decoded(content: bytes) -> str:
    """The text of a file of other tools: by its byte order mark, else UTF-16, UTF-8 or GB 18030, whichever fits.

    In any other encoding, characters outside ASCII become U+FFFD, and the rest stays readable.
    """
    encoding, rest = without_mark(content)
    if encoding is not None:
        return rest.decode(encoding, "replace")
    if b"\0" in content:
        # ASCII in UTF-16: every other byte is 0, the second of each pair where the low byte comes first.
        low_first = content[1::2].count(0) >= content[::2].count(0)
        return content.decode("utf-16-le" if low_first else "utf-16-be", "replace")
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("ascii", "replace")


class Scalar(NamedTuple):
    """An unquoted word of a file or an option, whose meaning depends on the type of its key."""

    text: str
    """As it was written."""
    value: Any
    """None, a bool, an int or a float where the word looks like one; else the text."""

    def __repr__(self) -> str:
        return repr(self.value)

    def __str__(self) -> str:
        return self.text


WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null"), None),
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
    ".nan": float("nan"),
    **{f"{sign}.inf": float(f"{sign}inf") for sign in ("", "+", "-")},
}
"""Lower-case words that stand for a value."""
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?", re.ASCII)
"""An integer or a float. Integers are decimal: 010 is ten, although YAML 1.1 reads it as eight."""


def meaning(text: str) -> Any:
    """The value of an unquoted word where a number, true, false or nothing is expected; else the word."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if not NUMBER.fullmatch(text):
        return text
    try:
        return float(text) if re.search("[.eE]", text) else int(text)
    except ValueError:
        # Python reads integers of at most some thousand digits.
        return text


def parse_option(text: str) -> Any:
    """Parse the value of `--opts KEY=VALUE` for a key that is no text; a `yaml.YAMLError` says what is wrong."""
    return parse_yaml(text) if len(text) <= MOST_BYTES else text


def literal(text: str) -> str | None:
    """The value of `--opts KEY=VALUE` for a text key: as it stands, except for quotes around all of it.

    An empty value is none; within quotes, YAML's rules hold.
    """
    if text[:1] in ("'", '"') and text[-1:] == text[:1]:
        try:
            value = parse_yaml(text)
        except yaml.YAMLError:
            return text
        return value if isinstance(value, str) else text
    return text or None


def parse_yaml(text: str) -> Any:
    """Parse YAML to dicts, lists, `Scalar`s and (where quoted) texts; None for an empty text.

    Raises:
        yaml.YAMLError: it is not YAML, or holds more than sections, lists and scalars.
    """
    node = compose(text)
    return None if node is None else Reading().value(node, 0)


def compose(text: str) -> yaml.Node | None:
    """The first node of a YAML document: no value is built, so no tag, reference or date has an effect.

    Raises:
        yaml.YAMLError: it is not YAML, or has more than `MOST_LEVELS` levels.
    """
    try:
        return yaml.compose(text, Composer)
    except (ValueError, OverflowError):
        # PyYAML does not check the numbers behind \\U and \\x.
        raise yaml.MarkedYAMLError(problem="an escape sequence stands for no character") from None


class Composer(yaml.SafeLoader):
    """Gives up at `MOST_LEVELS`, long before Python's stack is full."""

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.level += 1
        if self.level > MOST_LEVELS:
            raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


class Reading:
    """Turns the nodes of one document into values; each node once, however often the document refers to it."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def value(self, node: yaml.Node, level: int) -> Any:
        """The value of a node that lies inside of `level` others."""
        # A node that refers to itself has endlessly many levels.
        if level > MOST_LEVELS:
            raise problem(TOO_DEEP, node)
        if id(node) not in self._known:
            self._known[id(node)] = self.read(node, level)
        return self._known[id(node)]

    def read(self, node: yaml.Node, level: int) -> Any:
        """As `value`, without looking whether the node is known."""
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self.mapping(node, level)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.value(item, level + 1) for item in node.value]
        if isinstance(node, yaml.ScalarNode) and kind in PLAIN_KINDS:
            quoted = node.style is not None
            return node.value if quoted else Scalar(node.value, meaning(node.value))
        raise problem(f"the tag {shown(node.tag)} is not allowed here", node)

    def mapping(self, node: yaml.MappingNode, level: int) -> Tree:
        """The entries of a mapping; those of merged ones (`<<`) are added where it has none of the same name."""
        own: Tree = {}
        merged: Tree = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise problem("a list or a section is no name", key)
            if key.tag == "tag:yaml.org,2002:merge":
                for base in self.bases(value, level):
                    merged = base | merged
                continue
            # Plain YAML would silently keep the last one, even of whole sections.
            if key.value in own:
                raise problem(f"{shown(key.value)} stands twice", key)
            own[key.value] = self.value(value, level + 1)
        return merged | own

    def bases(self, node: yaml.Node, level: int) -> Iterator[Tree]:
        """The mappings that `<<` names: one, or a list of them."""
        for base in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.value(base, level + 1)
            if not isinstance(value, dict):
                raise problem("<< needs sections", base)
            yield value


PLAIN_KINDS = ("str", "null", "bool", "int", "float", "timestamp", "value")
"""What YAML takes unquoted words for; all of them are words here."""


def problem(text: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    """An error that knows the line of a node."""
    return yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)
