"""The exception for errors of the user, warnings of a file, how texts of others are shown in them, and exit codes."""

import reprlib
import warnings
from pathlib import Path

EXIT_USER_ERROR = 2
"""Exit code for bad input."""
EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells report it."""
MESSAGE_LENGTH = 380
"""Most characters of a message; with `error: ` in front, a line has fewer than 400."""
VALUE_LENGTH = 80
"""Most characters of one value inside a message."""
REASON_LENGTH = 160
"""Most characters of what is wrong (an exception's text) inside a message."""
CUT = " ... "
"""Stands for the middle that was left out of a long text."""


def one_line(text: str, most: int = MESSAGE_LENGTH) -> str:
    """A text as one line of at most `most` characters that any terminal shows harmlessly.

    Control characters, line breaks, marks that turn the direction of writing, and bytes of a file name that are not
    UTF-8 are escaped, as in `\\x1b`. A text that is too long loses its middle: it begins with the thing and ends with
    the remedy.
    """
    # What is cut anyway is not looked at: a text may have millions of characters.
    text = "".join(map(escaped, shortened(text, 2 * most)))
    return shortened(text, most)


def escaped(character: str) -> str:
    """A character, or its escape sequence where a terminal would not show it."""
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def shortened(text: str, most: int) -> str:
    """A text without its middle if it has more than `most` characters."""
    if len(text) <= most:
        return text
    end = (most - len(CUT)) // 2
    return text[: most - len(CUT) - end] + CUT + text[-end:]


SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxlist, SHORT.maxtuple, SHORT.maxdict = 2, 16, 16, 4
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = VALUE_LENGTH


def shown(value: object) -> str:
    """Any value as one short line for a message: a text as it is, others (and no text at all) as Python writes them.

    However large, deep or linked to itself a value is, this takes no time.
    """
    return one_line(value if isinstance(value, str) and value else quoted(value), VALUE_LENGTH)


def quoted(value: object) -> str:
    """As `shown`, but a text stands in quotes."""
    if isinstance(value, int) and value.bit_length() > VALUE_LENGTH * 3:
        # Python refuses to write integers of thousands of digits.
        return f"an integer of {value.bit_length()} bits"
    try:
        return one_line(SHORT.repr(value), 2 * VALUE_LENGTH)
    except ValueError:
        # Such an integer may also lie inside of a list.
        return f"a {type(value).__name__}"


def reason_of(error: object) -> str:
    """What an exception, or its text, says in its first line, as one short line; its type where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(lines[0], REASON_LENGTH)


class UserError(Exception):
    """Bad input, described in one line that names the thing, its value and the remedy.

    Commands print it without a traceback and exit with `EXIT_USER_ERROR` (see `spikevrt.cli.run_command`). Whatever is
    in the message, `one_line` makes it fit to be printed.
    """

    def __init__(self, message: str) -> None:
        # A worker of torch's DataLoader hands its error over with a traceback in front.
        super().__init__(one_line(message.rpartition(f"\n{__name__}.UserError: ")[2].rstrip("\n")))


def require_between(least: int, most: int, option: str, value: float) -> None:
    """Raise a `UserError` unless the value of an option is a number from `least` to `most`."""
    if not value >= least:
        raise UserError(f"{option} {shown(value)}: must be at least {least}")
    if value > most:
        raise UserError(f"{option} {shown(value)}: must be at most {most}")


def warn(path: Path | str, what: str) -> None:
    """Warn of a file; Python prints equal warnings once, however often the file is read."""
    warnings.warn(f"{path}: {what}", stacklevel=1)
