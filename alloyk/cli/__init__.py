"""The command line. Each command is a thin module; TensorFlow loads inside commands only."""

import errno
import importlib
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click

from alloyk import __version__
from alloyk.cli.terminal import notes_on_stderr, replace_unprintable
from alloyk.errors import AlloykError, LostError, OptionError
from alloyk.runtime.interrupts import note_interrupt, noted_interrupts

# Command → its line in `alloyk --help`. A command's module loads when the command is used.
COMMANDS = {
    "simulate": "Write a labelled set of simulated radiographs.",
    "audit": "Check a data set for problems before training.",
    "ceiling": "Compute the best possible accuracy on simulated radiographs.",
    "plan": "Find the set-up that separates the alloys best.",
    "split": "Sort images into train, val and test folders.",
    "configure": "Make a configuration for a data set, with reasons.",
    "train": "Train a classifier and evaluate it on the test split.",
    "evaluate": "Write metrics and figures of a run.",
    "explain": "Show the image regions that drove a prediction.",
    "stress": "Test a run on disturbed images.",
    "report": "Write one HTML file on a run or a comparison.",
    "compare": "Compare runs: tables, paired tests, figures.",
    "ensemble": "Combine runs into a voted classifier.",
    "cross-validate": "Train and test on folds of the data set.",
    "tune": "Search for better settings.",
    "export": "Write a model file for a device, and check it.",
    "bench": "Measure the speed of a run and its exports.",
    "predict": "Classify images.",
    "serve": "Serve a page and an HTTP endpoint that classify.",
}

# Errors of a full disk. Any write can raise them, so they are reported here; other system errors
# are reported where they occur.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command ended by SIGTERM, as in a shell."""

RESEND_SECONDS = 0.05
"""Delay before a lost signal is sent again; by then the destructor has usually ended."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the command, so that unfinished files are removed.

    A second SIGTERM ends the process at once. A handler that is already set stays. Python ignores
    an exception that is raised in a destructor or in the callback of a weak reference: a SIGTERM or
    SIGINT that arrives there is sent again.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def terminate(*_):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        note_interrupt(Terminated)
        raise Terminated

    def resend(ignored):
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            report_unraisable(ignored)
            return
        number = signal.SIGINT
        if issubclass(ignored.exc_type, Terminated):
            number = signal.SIGTERM
            signal.signal(signal.SIGTERM, terminate)
        threading.Timer(RESEND_SECONDS, os.kill, [os.getpid(), number]).start()

    report_unraisable, sys.unraisablehook = sys.unraisablehook, resend
    signal.signal(signal.SIGTERM, terminate)
    try:
        with noted_interrupts():
            yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.unraisablehook = report_unraisable


@contextmanager
def warnings_not_fatal() -> Iterator[None]:
    """Ignore warnings under `PYTHONWARNINGS=error`, where a library's would end the command."""
    if not any(option.startswith("error") for option in sys.warnoptions):
        yield
        return
    os.environ["PYTHONWARNINGS"] = "ignore"  # for worker processes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def option_names(error: OptionError) -> str:
    """Return the message with Python names as options.

    >>> option_names(OptionError("`from_predictions` predicts no images; leave out `data`"))
    '--from-predictions predicts no images; leave out --data'
    """
    return re.sub(r"`(\w+)`", lambda name: f"--{name[1].replace('_', '-')}", str(error))


class AlloykGroup(click.Group):
    """Loads commands on demand and reports errors in one line.

    Exit code 1 means an error the user can fix, 2 wrong use of options.
    """

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, cmd_name):
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(importlib.import_module(f"alloyk.cli.{name}"), name)

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args=None, *rest, **extra):
        """Run the command line; end the process at once after an interrupt or a lost worker.

        Threads of tf.data may still call into Python then, which crashes an interpreter that is
        shutting down, and TensorFlow would wait for a lost worker. All files are closed by then,
        because the interrupt has unwound the command.
        """
        replace_unprintable()
        try:
            return super().main(args, *rest, **extra)
        except SystemExit as ended:
            if args is None and self.interrupted and "tensorflow" in sys.modules:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(ended.code if isinstance(ended.code, int) else 1)
            raise

    interrupted = False

    def invoke(self, ctx):
        try:
            return self._invoke(ctx)
        except KeyboardInterrupt:
            self.interrupted = True
            raise

    def _invoke(self, ctx):
        try:
            with sigterm_as_interrupt(), warnings_not_fatal(), notes_on_stderr():
                return super().invoke(ctx)
        except Terminated:
            self.interrupted = True
            click.echo("Terminated!", err=True)  # as click says "Aborted!"
            ctx.exit(TERMINATED)
        except OptionError as error:
            raise click.UsageError(option_names(error)) from error
        except AlloykError as error:
            self.interrupted = isinstance(error, LostError)
            raise click.ClickException(" ".join(str(error).split())) from error
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            name = error.filename or "a file"
            raise click.ClickException(
                f"cannot write {name}: {error.strerror}; free some space, or write elsewhere"
            ) from error


@click.group(cls=AlloykGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="alloyk")
def main():
    """Tell metals apart in X-ray transmission images.

    \b
    Example:
      alloyk train --arch efficientnetb0
    """
