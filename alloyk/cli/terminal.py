"""What a command shows while it works: bars on a terminal, notes on stderr."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from alloyk.progress import Advance, Progress


class TerminalProgress(Progress):
    """A bar on stderr if that is a terminal, nothing otherwise."""

    @contextmanager
    def task(self, label: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """Draw one bar, see `Progress.task`."""
        if not sys.stderr.isatty():
            yield lambda done: None
            return
        with click.progressbar(length=total, label=label, file=sys.stderr, show_pos=True) as bar:
            yield bar.update


PROGRESS = TerminalProgress()


class NotesHandler(logging.Handler):
    """Writes log messages to stderr; warnings get the prefix `note: `."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            prefix = "note: " if record.levelno >= logging.WARNING else ""
            click.echo(f"{prefix}{record.getMessage()}", err=True)
        except Exception:  # as every handler of logging does
            self.handleError(record)


@contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Show the messages of the logger `alloyk` while a command runs."""
    logger = logging.getLogger("alloyk")
    before = logger.level, logger.propagate
    handler = NotesHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def replace_unprintable() -> None:
    """Print characters that the encoding of the output lacks as `?`, such as `→` in Latin-1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
