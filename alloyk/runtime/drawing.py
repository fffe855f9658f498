"""Figures that look the same whatever matplotlib is configured to do.

alloyk draws without pyplot, renders PNG with Agg, and takes no setting from `matplotlibrc`, from
`MPLBACKEND` or from the style of the calling program, which it leaves as they are.
"""

import importlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, ParamSpec, TypeVar

from alloyk.runtime.fonts import add_fallback_fonts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

# Settings that do not change what is drawn.
NOT_STYLE = (
    "animation.", "backend", "date.epoch", "docstring.", "figure.max_open_warning",
    "figure.raise_window", "interactive", "keymap.", "savefig.directory", "timezone", "tk.",
    "toolbar", "webagg.",
)  # fmt: skip


def load_matplotlib() -> None:
    """Import matplotlib, also if the user's settings make `import matplotlib` fail.

    A notebook sets `MPLBACKEND=module://matplotlib_inline.backend_inline` for the commands that it
    runs, and their environment may lack that package. A `matplotlibrc` that is not UTF-8 is not
    read.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports a home that cannot be written, and foreign settings
    try:
        try:
            import matplotlib
        except UnicodeDecodeError:
            matplotlib = _without_user_settings()
        import matplotlib.font_manager
    finally:
        logger.setLevel(level)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):  # not installed; nothing here shows a window
            matplotlib.rcParams["backend"] = backend


def _without_user_settings() -> ModuleType:
    """Import matplotlib with an empty `matplotlibrc`; it looks in the working folder first."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]
    chosen = os.environ.get("MATPLOTLIBRC")
    os.environ["MATPLOTLIBRC"] = os.devnull
    try:
        with tempfile.TemporaryDirectory() as empty, chdir(empty):
            return importlib.import_module("matplotlib")
    finally:
        del os.environ["MATPLOTLIBRC"]
        if chosen is not None:
            os.environ["MATPLOTLIBRC"] = chosen


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with matplotlib's defaults, not with the settings of the user or the program."""
    import matplotlib

    with matplotlib.rc_context(_default_style()), warnings.catch_warnings():
        # `add_fallback_fonts` reports these characters, once.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def in_house_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that draws: it runs in `house_style`."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with house_style():
            return draw(*args, **kwargs)

    return styled


@in_house_style
def write_png(figure: "Figure", file: Path | IO[bytes], dpi: int) -> None:
    """Render a figure as PNG with Agg; the same figure gives the same bytes."""
    add_fallback_fonts(figure)
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})


@cache
def _default_style() -> Any:  # its keys are literals in the types of matplotlib
    import matplotlib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated settings are among them
        return {
            name: value
            for name, value in matplotlib.rcParamsDefault.items()
            if not name.startswith(NOT_STYLE)
        }


load_matplotlib()
