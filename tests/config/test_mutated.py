"""Configurations that went wrong in every way: right, or one short line, and never a long wait.

`SPIKEVRT_FUZZ_CONFIGS` sets how many are tried (`make test` tries 120; 500 take about a minute).
"""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spikevrt.config import config_to_yaml, load_config, preset_names, preset_text
from spikevrt.config.loader import all_keys
from spikevrt.errors import UserError
from spikevrt.models.planning import feature_rows, parameter_rows

COUNT = int(os.environ.get("SPIKEVRT_FUZZ_CONFIGS", "120"))
SECONDS = 10
PLANNED_EVERY = 40
"""Every so manieth configuration is also built and its shapes found, which takes seconds."""
VALUES = (
    *(
        "",
        "0",
        "-1",
        "-0.0",
        "1",
        "3",
        "1.5",
        "1e5",
        "1e999",
        ".inf",
        "-.inf",
        ".nan",
        "010",
        "0x1f",
        "1_0",
        "12:30:00",
    ),
    *("9" * 30, "9" * 5000, "2024-13-45", "yes", "No", "true", "null", "~", "none", "~/x", "~nobody/x", "/d #2", "@x"),
    *("[]", "[1]", "[8, 8, 8, 8]", "[2, 4, 4]", "[-1, 0, 1]", "[[1]]", "[1, x, null]", "{}", "{a: b}", "{<<: {}}"),
    *("[" * 5000, "{a: " * 2000, "&a [*a]", "*b", "!!int ''", "!!python/name:os.system", "!x y", "? [a]", "'", '"'),
    *(
        '"\\x1b[31m"',
        '"\\u202e"',
        '"\\UFFFFFFFF"',
        "\0",
        "\x1b",
        "\t",
        "é数",
        "- x",
        "a: b",
        "|",
        "> x",
        "%",
        "`",
        "x" * 9999,
    ),
)
BYTES = (
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\t",
    b"\r",
    b"\x1b",
    b"{",
    b"]",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"#",
)


@contextmanager
def right_or_one_line() -> Iterator[None]:
    """What is inside ends within some seconds; if with an error, then with one of one short line."""
    message = ""
    with limited(SECONDS):
        try:
            yield
        except UserError as error:
            message = str(error)
    assert len(message) < 400
    assert message.isprintable()


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Fail if what is inside takes longer, wherever it is."""

    def stop(number, frame):
        pytest.fail(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def with_bytes(text: bytes, draw: random.Random) -> bytes:
    """A few bytes inserted, removed, changed, or the text cut."""
    changed = bytearray(text)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(changed) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            changed[place:place] = draw.choice(BYTES)
        elif kind == 1:
            del changed[place : place + draw.randint(1, 40)]
        elif kind == 2 and place < len(changed):
            changed[place] = draw.randrange(256)
        elif kind == 3 and draw.random() < 0.3:
            del changed[place:]
    return bytes(changed)


def with_values(text: bytes, draw: random.Random) -> bytes:
    """Some values of a complete configuration replaced."""
    lines = text.decode().splitlines()
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(lines))
        head, colon, _ = lines[place].partition(":")
        lines[place] = f"{head}{colon} {draw.choice(VALUES)}"
    return "\n".join(lines).encode()


def with_structure(text: bytes, draw: random.Random) -> bytes:
    """Lines moved, doubled, removed, or indented otherwise."""
    lines = text.decode().splitlines()
    for _ in range(draw.randint(1, 3)):
        line = lines.pop(draw.randrange(len(lines)))
        for _ in range(draw.randrange(3)):
            lines.insert(draw.randrange(len(lines) + 1), draw.choice(("", " ", "  ", "- ")) + line)
    return "\n".join(lines).encode()


MUTATIONS = (with_bytes, with_values, with_structure)


def some_options(draw: random.Random) -> list[str]:
    keys = list(all_keys())
    return [
        f"{draw.choice(keys)[draw.randrange(2) * draw.randrange(3) :]}={draw.choice(VALUES)}"
        for _ in range(draw.randint(1, 2))
    ]


@pytest.mark.parametrize("number", range(COUNT))
def test_a_mutated_configuration_is_read_right_or_refused_in_one_line(number, tmp_path):
    draw = random.Random(number)
    name = draw.choice(preset_names())
    path = tmp_path / "own.yaml"
    whole = config_to_yaml(load_config(name)).encode()
    path.write_bytes(draw.choice(MUTATIONS)(draw.choice((preset_text(name).encode(), whole)), draw))
    options = some_options(draw) if draw.random() < 0.5 else []
    with right_or_one_line():
        config = load_config(str(path), options)
        path.write_text(config_to_yaml(config))
        assert load_config(str(path)) == config
        if number % PLANNED_EVERY == 0:
            assert parameter_rows(config)
            assert feature_rows(config)


@pytest.mark.parametrize("number", range(COUNT))
def test_an_option_of_any_value_is_read_right_or_refused_in_one_line(number):
    draw = random.Random(number)
    with right_or_one_line():
        load_config("fast", some_options(draw))
