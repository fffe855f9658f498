"""A Ray cluster: here, or on other machines.

Ray starts processes, on this machine or on those of a cluster, and notices when one of them dies.
Usage statistics, dashboard and logs are off.

Light to import: Ray loads only where it is used.
"""

import contextlib
import io
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

from alloyk.errors import AlloykError, ConfigError
from alloyk.runtime.leftovers import temporary_folder
from alloyk.runtime.native_output import held_output

LOCAL = "local"
"""The address of a cluster that is started on this machine and ends with the command."""
AUTHENTICATION = "RAY_AUTH_MODE"
POLL_S = 1.0
CONNECT_LIMIT_S = 60.0
"""Longest wait for an answer of a cluster."""
START_LIMIT_S = 180.0
"""Longest wait for a worker to start."""
OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's smallest store; the workers exchange files and short texts."""


def require_ray(user: str, extra: str) -> Any:
    """Import Ray, which neither reports its use nor logs.

    Args:
        user: The option that needs it, for the error.
        extra: The extra of alloyk that installs it.

    Raises:
        ConfigError: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_worker_niceness", "0")  # as other processes of alloyk
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f'{user} needs Ray, which is not installed; run `pip install "alloyk[{extra}]"`'
        ) from error
    return ray


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions that decide whether two machines compute alike: of alloyk and of these packages."""
    return {name: _version(name) for name in ("alloyk", *packages)}


def other_version(versions: Mapping[str, str]) -> str | None:
    """What another machine has, but this one has not or in another version; None if nothing."""
    for name, version in versions.items():
        if _version(name) != version:
            return f"{socket.gethostname()} must have {name} {version}, got {_version(name)}"
    return None


def _version(package: str) -> str:
    from alloyk import __version__

    if package == "alloyk":
        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


@contextmanager
def ray_cluster(ray: Any, address: str | None, processors: int) -> Iterator[None]:
    """A connection to Ray; what was started here is ended after the block.

    Args:
        ray: The module.
        address: `HOST:PORT` of a cluster, which has been checked; None or `local` starts Ray here.
        processors: Processes of one processor each that may run at once, if it is started here.

    Raises:
        AlloykError: There is no such cluster.
    """
    if ray.is_initialized():  # by the caller of a Python function
        yield
        return
    with contextlib.ExitStack() as cleanup:
        options: dict[str, Any] = {
            "log_to_driver": False, "configure_logging": False, "logging_level": logging.CRITICAL,
        }  # fmt: skip
        if address not in (None, LOCAL):
            options |= {"address": address}
        else:
            folder = temporary_folder(Path(tempfile.gettempdir()), "alloyk-ray")
            options |= {
                "address": "local", "num_cpus": processors, "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_temp_dir": str(cleanup.enter_context(folder)),
            }  # fmt: skip
        cleanup.callback(ray.shutdown)
        with _own_signals():
            problem = _connected(ray, options)
        if problem is not None:
            raise AlloykError(f"Ray must start, got: {problem}")
        with without_reports(ray):
            yield


@contextmanager
def without_reports(ray: Any) -> Iterator[None]:
    """Keep Ray from printing to stdout that a process has died, which `log_to_driver` does not."""
    module = ray._private.worker  # it has no public switch
    before = getattr(module, "_worker_logs_enabled", True)
    module._worker_logs_enabled = False
    try:
        yield
    finally:
        module._worker_logs_enabled = before


def _connected(ray: Any, options: Mapping[str, Any]) -> str | None:
    """Connect; return why that failed."""
    silence = io.StringIO()  # of sys.stdout and sys.stderr that are no descriptor, as in a notebook
    with held_output(), redirect_stdout(silence), redirect_stderr(silence):
        try:
            ray.init(**options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            return " ".join(str(error).split())[:300]
    return None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what the command does when it is ended; Ray sets a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def why(ray: Any, error: Exception) -> str:
    """The reason of a failed process, in a few words."""
    if "No module named 'alloyk" in str(error):
        return "alloyk must be installed on each machine of the cluster"
    if isinstance(error, ray.exceptions.RayActorError):
        return "its process was ended from outside, or its machine has failed"
    return str(error).strip().splitlines()[-1]


def refuse_missing_cluster(address: str) -> None:
    """Raise if no cluster answers.

    Ray itself waits for minutes for one that is not there. So another process asks first, which can
    be ended.

    Raises:
        AlloykError: There is none, or the address has another form.
    """
    if address == LOCAL:
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()) or "/" in host:
        raise ConfigError(
            f"address must be HOST:PORT of a Ray cluster, or {LOCAL}, got {address!r}; "
            "`ray start --head` prints it"
        )
    problem, advice = None, "start one by `ray start --head`"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE, address], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=CONNECT_LIMIT_S,
        )  # fmt: skip
        if probe.returncode != 0:
            problem = (probe.stderr.strip().splitlines() or ["no answer"])[-1]
            if not os.environ.get(AUTHENTICATION):
                # Ray sends its token to an address that it is given only if told so.
                advice = f"if it authenticates by token, set {AUTHENTICATION}=token"
    except subprocess.TimeoutExpired:
        problem = f"no answer of Ray within {CONNECT_LIMIT_S:g} s"
    except (OSError, OverflowError) as error:
        problem = str(getattr(error, "strerror", None) or error)
    if problem is not None:
        raise AlloykError(
            f"address must be that of a running Ray cluster, got {address}: {problem}; {advice}"
        )


_PROBE = """
import logging, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False,
         logging_level=logging.CRITICAL)
ray.shutdown()
"""
