"""Messages: one line that any terminal shows, of limited length, whatever is in it."""

import pytest

from spikevrt.errors import MESSAGE_LENGTH, VALUE_LENGTH, UserError, one_line, quoted, require_between, shown


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a \x1b[31mb", r"a \x1b[31mb"),
        ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("x\udcff", r"x\udcff"),
        ("prise é 数", "prise é 数"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, wanted):
    assert one_line(text) == wanted
    assert str(UserError(text)) == wanted


def test_a_long_message_keeps_its_beginning_and_its_end():
    message = str(UserError("thing: " + "\n" * 10**6 + "; remedy"))
    assert len(message) <= MESSAGE_LENGTH
    assert message.startswith("thing: ")
    assert message.endswith("; remedy")


def test_an_error_of_a_worker_is_its_own_line():
    raised = "Caught UserError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\n"
    assert str(UserError(f"{raised}spikevrt.errors.UserError: a.dat: cut short; copy it again\n")) == (
        "a.dat: cut short; copy it again"
    )


def endless() -> list[object]:
    a: list[object] = []
    a.append(a)
    return a


def laughs() -> list[object]:
    a: list[object] = ["ha"] * 10
    for _ in range(30):
        a = [a] * 10
    return a


@pytest.mark.parametrize("value", [10**400, [10**9000], "x" * 10**6, endless(), laughs(), {1: laughs()}, b"x" * 999])
def test_any_value_is_shown_in_few_characters(value):
    assert len(shown(value)) <= VALUE_LENGTH
    assert len(quoted(value)) <= 2 * VALUE_LENGTH


def test_usual_values_are_shown_as_they_are():
    assert [shown(value) for value in (3, 1e-7, "text", "", None, [96, 96])] == [
        "3",
        "1e-07",
        "text",
        "''",
        "None",
        "[96, 96]",
    ]
    assert quoted("text") == "'text'"


@pytest.mark.parametrize(("value", "message"), [(0, "--x 0: must be at least 1"), (9, "--x 9: must be at most 8")])
def test_bounds_of_an_option(value, message):
    require_between(1, 8, "--x", 8)
    with pytest.raises(UserError, match=message):
        require_between(1, 8, "--x", value)
