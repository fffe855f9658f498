"""The embedded default data set: simulated once, kept in the user's cache folder."""

import hashlib
import json
import os
from pathlib import Path

from alloyk._version import __version__


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/alloyk``, by default ``~/.cache/alloyk``.

    Source: XDG Base Directory Specification 0.8, which ignores a path that is not absolute.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "alloyk"


def default_dataset(preset: str, images: int, image_size: int, seed: int, overrides: dict) -> Path:
    """Folder of the simulated data set with these settings, made on first use.

    The folder's name carries the version and all settings, so that another setting or a newer
    simulator never meets old images.

    Raises:
        AlloykError: A setting is out of range, or the cache folder cannot be written.
    """
    settings = [__version__, preset, images, image_size, seed, overrides]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    folder = cache_folder() / "simulated" / f"{preset}-{images}x{image_size}-{digest}"
    if not folder.is_dir():
        import click

        from alloyk.xray.simulation import simulate_dataset

        click.echo(f"simulating {images} images ({preset}) into {folder}", err=True)
        simulate_dataset(
            folder, preset=preset, images=images, image_size=image_size, seed=seed,
            overrides=overrides,
        )  # fmt: skip
    return folder
