"""Processes that are forked from a server, so that the packages of a command are imported once.

Nothing of TensorFlow is loaded in the server: each process chooses its own kernels, devices,
threads and random numbers.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from unrendered import use_one_pixel

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["alloyk.training", "alloyk.cli.train"])


def start(function: Callable, *arguments, messages: Path, cwd: Path | None = None) -> BaseProcess:
    """Call a function of an importable module in a process of its own.

    Args:
        function: The function; its module is imported in the process.
        arguments: Its arguments, which are pickled.
        messages: File for standard output and standard error.
        cwd: Working directory.
    """
    process = SERVER.Process(target=_call, args=(function, arguments, messages, cwd))
    process.start()
    return process


def _call(function, arguments, messages, cwd):
    with open(messages, "ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    if cwd:
        os.chdir(cwd)
    function(*arguments)


def run_command(*arguments):
    """`alloyk ARGUMENTS`, as the console script runs it, with figures of one pixel."""
    from alloyk.cli import main

    use_one_pixel()
    main([str(argument) for argument in arguments], prog_name="alloyk")
