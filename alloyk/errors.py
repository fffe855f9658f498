"""The one exception that a user of alloyk is meant to see."""


class AlloykError(Exception):
    """Something the user can mend: one line that says what was wanted, what was found, what to do.

    The command line prints it as ``Error: …`` and ends with exit code 1.
    """
