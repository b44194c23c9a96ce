"""The one exception that users see, what most often raises it, and the exit codes of commands."""

EXIT_USER_ERROR = 2
"""Bad input."""
EXIT_INTERRUPTED = 130
"""Stopped by Ctrl-C, as shells report it: 128 + SIGINT."""


class UserError(Exception):
    """Bad input, said in one line that names the thing and the remedy.

    Commands print it without a traceback and exit with `EXIT_USER_ERROR` (`spikevrt.cli.run_command`).
    """


def require_at_least(least: int, option: str, value: float) -> None:
    """Raise a `UserError` where the value of an option is too small, or no number."""
    if not value >= least:
        raise UserError(f"{option} {value}: must be at least {least}")
