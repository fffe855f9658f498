"""Tell metals apart in X-ray transmission images."""

from alloyk._version import __version__

__all__ = ["__version__"]
