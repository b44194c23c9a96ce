"""The exception for errors of the user, a common check that raises it, and the exit codes of commands."""

EXIT_USER_ERROR = 2
"""Exit code for bad input."""
EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells report it."""


class UserError(Exception):
    """Bad input, described in one line that names the thing, its value and the remedy.

    Commands print it without a traceback and exit with `EXIT_USER_ERROR` (see `spikevrt.cli.run_command`).
    """


def require_at_least(least: int, option: str, value: float) -> None:
    """Raise a `UserError` if the value of an option is less than `least` or not a number."""
    if not value >= least:
        raise UserError(f"{option} {value}: must be at least {least}")
