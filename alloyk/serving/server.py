"""Listen for HTTP requests with uvicorn."""

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

from alloyk.errors import ConfigError
from alloyk.inference import load
from alloyk.inference.metadata import refuse_channels
from alloyk.serving.limits import Limits

logger = logging.getLogger(__name__)

LOCAL = ("127.0.0.1", "localhost", "::1")
_BACKLOG = 128
_SENDING_S = 30.0


def run_server(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    watch: str | Path | None = None,
    abstain: float | None = None,
    threads: int | None = None,
    limits: Limits,
) -> None:
    """Serve a model until interrupted.

    Args:
        model: Run folder, `.keras` file, SavedModel folder, `.tflite` or `.onnx` file.
        host: Address to listen on; by default this computer only.
        port: TCP port; 0 for any free one.
        watch: A folder whose images the page shows as they arrive.
        abstain: Error rate for which classes are left out, unless a request names another.
        threads: Processor threads for a `.tflite` or `.onnx` file.
        limits: Limits for clients.

    Raises:
        AlloykError: The model cannot be loaded, the address cannot be used, or the packages of the
            extra `alloyk[serve]` are missing.
    """
    try:
        import uvicorn

        from alloyk.serving.app import make_app
        from alloyk.serving.connections import TimedProtocol
        from alloyk.serving.service import Service
    except ImportError as error:
        raise ConfigError(
            f'serving needs {error.name}; install it with `pip install "alloyk[serve]"`'
        ) from None
    listening = _listening(host, port)
    with listening:
        classifier = load(model, threads=threads)
        refuse_channels(
            classifier.metadata, classifier.path, "serve", "use alloyk predict for this model"
        )
        service = Service(classifier, limits, abstain=abstain, watch=watch)
        hosts = LOCAL if host in LOCAL else ("*",)
        if host not in LOCAL:
            logger.warning("every computer that reaches %s can use this server", host)
        if classifier.simulated:
            logger.warning("this model was trained on simulated images")
        in_progress = 2 * limits.seconds + _SENDING_S
        protocol = TimedProtocol.within(limits.header_seconds, in_progress)
        config = uvicorn.Config(
            make_app(service, hosts), http=protocol, ws="none",
            log_config=None, access_log=False, server_header=False, timeout_keep_alive=15,
            timeout_graceful_shutdown=5, h11_max_incomplete_event_size=2**15,
        )  # fmt: skip
        name = f"[{host}]" if ":" in host else host
        logger.info("http://%s:%s (press Ctrl-C to stop)", name, listening.getsockname()[1])
        asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


def _listening(host: str, port: int) -> socket.socket:
    family: Any = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError, TypeError, UnicodeError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {why}; choose another --host or --port"
        ) from error
    return listening
