"""Serve a model to a laboratory."""

from pathlib import Path


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    watch: str | Path | None = None,
    abstain: float | None = None,
    threads: int | None = None,
    max_megabytes: int = 64,
    max_pixels: int = 2**25,
    timeout: float = 30.0,
    queue: int = 64,
) -> None:
    """Serve a page and an HTTP endpoint until interrupted, as `alloyk serve` does.

    Args:
        model: Run folder, `.keras` file, SavedModel folder, `.tflite` or `.onnx` file.
        host: Address to listen on; by default this computer only.
        port: TCP port; 0 for any free one.
        watch: A folder whose images the page shows as they arrive.
        abstain: Error rate, such as 0.02, for whose threshold in the run uncertain classes are left
            out.
        threads: Processor threads for a `.tflite` file.
        max_megabytes: Largest image file, in MiB.
        max_pixels: Most pixels of an image.
        timeout: Seconds in which an image must arrive, and then be classified.
        queue: Most requests at one time.

    Raises:
        AlloykError: The model cannot be loaded, the address cannot be used, or the packages of
            `alloyk[serve]` are missing.

    Example:
        >>> import alloyk
        >>> alloyk.serve("resnet18.tflite", port=8080)  # doctest: +SKIP
    """
    from alloyk.serving.limits import Limits
    from alloyk.serving.server import run_server

    limits = Limits(
        body_bytes=max_megabytes * 2**20,
        pixels=max_pixels,
        body_seconds=timeout,
        header_seconds=min(10.0, timeout),
        answer_seconds=timeout,
        waiting=queue,
        waiting_bytes=max(8, max_megabytes) * 2**23,
    )
    run_server(
        model, host=host, port=port, watch=watch, abstain=abstain, threads=threads, limits=limits
    )
