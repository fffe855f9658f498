"""The command line. Each command is a thin module; TensorFlow loads inside commands only."""

import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from alloyk import __version__
from alloyk.cli.terminal import notes_on_stderr
from alloyk.errors import AlloykError

# Command → what one line of `alloyk --help` says. Modules load when their command is asked for.
COMMANDS = {
    "simulate": "Write a labelled set of simulated radiographs.",
    "audit": "Say what is wrong with a data set before training.",
    "ceiling": "Which accuracy is possible at all on simulated radiographs.",
    "plan": "Which set-up would tell the alloys best apart.",
    "split": "Sort images into train, val and test folders.",
    "train": "Train a classifier and evaluate it on the test split.",
    "evaluate": "Metrics and pictures of a trained run.",
    "explain": "Show which places of an image spoke for its class.",
    "report": "One HTML file on a run, a comparison or a cross-validation.",
    "compare": "Tables, paired tests and pictures over runs.",
    "ensemble": "A voted classifier from several runs.",
    "cross-validate": "Train and test on folds of the data set.",
    "tune": "Search for better settings.",
    "export": "Write a model file for the device, and check it.",
    "predict": "Classify images.",
}

# Nobody's mistake but the disk's, wherever it comes up: everything else with a cause in the machine
# is named where it happens.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM ended, as a shell counts it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which a command is to take as it takes Ctrl-C."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the command, so that what is half written is removed.

    A second one ends the process at once. Where somebody has set a handler, or the signal is
    ignored, it stays so.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(*_):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class AlloykGroup(click.Group):
    """Loads commands on demand, ends them cleanly, and turns what the user can mend into a line."""

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
        """Run the command line; end the process at once after an interrupt.

        Threads of tf.data may still call into Python then, which crashes an interpreter that is
        shutting down. All files are closed, as the interrupt has unwound the command.
        """
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
            with sigterm_as_interrupt(), notes_on_stderr():
                return super().invoke(ctx)
        except Terminated:
            self.interrupted = True
            click.echo("Terminated!", err=True)  # as click says "Aborted!"
            ctx.exit(TERMINATED)
        except AlloykError as error:
            raise click.ClickException(" ".join(str(error).split())) from error
        except OSError as error:
            if error.errno not in FULL:
                raise
            name = error.filename or "a file"
            raise click.ClickException(
                f"cannot write {name}: {error.strerror}; make room, or write elsewhere"
            ) from error


@click.group(cls=AlloykGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="alloyk")
def main():
    """Tell metals apart in X-ray transmission images.

    \b
    Example:
      alloyk train --arch efficientnetb0
    """
