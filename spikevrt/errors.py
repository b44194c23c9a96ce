"""The one exception that users see."""


class UserError(Exception):
    """Bad input, said in one line that names the thing and the remedy.

    Commands print it without a traceback and exit with code 2 (`spikevrt.cli.run_command`).
    """
