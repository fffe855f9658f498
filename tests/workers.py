"""Several workers of one training run, as processes on this machine."""

import json
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from multiprocessing.process import BaseProcess
from pathlib import Path

from own_process import run_command, start

from alloyk.runtime.kernels import VARIABLE


def free_ports(count: int) -> list[int]:
    """Different ports that are free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def addresses(count: int = 2) -> list[str]:
    """Addresses of workers on this machine."""
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def tf_config(workers: list[str], index: int) -> str:
    """`TF_CONFIG` of a worker."""
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def start_worker(
    workers: list[str],
    index: int,
    *arguments: object,
    messages: Path,
    run: Callable[..., None] = run_command,
) -> BaseProcess:
    """`alloyk ARGUMENTS` as one of the workers."""
    described = tf_config(workers, index)
    return start(_run, run, described, *map(str, arguments), messages=messages)


def _run(run: Callable[..., None], described: str, *arguments: str) -> None:
    os.environ["TF_CONFIG"] = described
    run(*arguments)


def run_with_kernels_of_workers(run: Callable[..., None], *arguments: object) -> None:
    """One worker alone, with the CPU kernels that several workers use.

    It is here because TensorFlow reads the variable when it is imported, as many tests do.
    """
    os.environ[VARIABLE] = "0"
    run(*arguments)
