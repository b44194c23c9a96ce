"""The one exception that users see, and what most often raises it."""


class UserError(Exception):
    """Bad input, said in one line that names the thing and the remedy.

    Commands print it without a traceback and exit with code 2 (`spikevrt.cli.run_command`).
    """


def require_at_least(least: int, option: str, value: float) -> None:
    """Raise a `UserError` where the value of an option is too small, or no number."""
    if not value >= least:
        raise UserError(f"{option} {value}: must be at least {least}")
