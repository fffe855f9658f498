"""Serve a model to a laboratory."""

from pathlib import Path

from alloyk.serving.limits import Limits

_DEFAULTS = Limits()


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    watch: str | Path | None = None,
    abstain: float | None = None,
    threads: int | None = None,
    max_megabytes: int = _DEFAULTS.body_bytes // 2**20,
    max_pixels: int = _DEFAULTS.pixels,
    timeout: float = _DEFAULTS.seconds,
    queue: int = _DEFAULTS.requests,
) -> None:
    """Serve a page and an HTTP endpoint until interrupted, as `alloyk serve` does.

    Args:
        model: Run folder, `.keras` file, SavedModel folder, `.tflite` or `.onnx` file.
        host: Address to listen on; by default this computer only.
        port: TCP port; 0 for any free one.
        watch: A folder whose images the page shows as they arrive.
        abstain: Error rate, such as 0.02: the class is left empty below the run's threshold for
            it, and for images unlike the training images.
        threads: Processor threads for a `.tflite` or `.onnx` file.
        max_megabytes: Largest image file, in MiB.
        max_pixels: Largest image, in pixels.
        timeout: Time limit in seconds for an upload, and again for its classification.
        queue: Maximum number of concurrent requests.

    Raises:
        AlloykError: The model cannot be loaded, the address cannot be used, or the packages of
            `alloyk[serve]` are missing.

    Example:
        >>> import alloyk
        >>> alloyk.serve("resnet18.tflite", port=8080)  # doctest: +SKIP
    """
    from alloyk.serving.server import run_server

    limits = Limits(
        body_bytes=max_megabytes * 2**20, pixels=max_pixels, seconds=timeout, requests=queue
    )
    run_server(
        model, host=host, port=port, watch=watch, abstain=abstain, threads=threads, limits=limits
    )
