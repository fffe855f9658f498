"""The ranges of activations that quantisation-aware training has learned, and their file."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from alloyk.errors import ModelError
from alloyk.messages import shown
from alloyk.runs.json_file import read_json, write_json


class ActivationRange(NamedTuple):
    """The range of an activation that an int8 file rounds.

    Attributes:
        layers: Names of the layers whose joint output it is.
        weighted: Whether it is the result of a layer with weights.
        low: Its lowest value.
        high: Its highest value.
    """

    layers: tuple[str, ...]
    weighted: bool
    low: float
    high: float


def read_activation_ranges(path: Path) -> tuple[ActivationRange, ...]:
    """Read the file of a run; empty where there is none.

    Raises:
        ModelError: It is damaged.
    """
    content = read_json(path)
    try:
        return tuple(
            ActivationRange(
                tuple(map(str, one["layers"])),
                bool(one["weighted"]),
                float(one["low"]),
                float(one["high"]),
            )
            for one in (content["ranges"] if content else ())
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{shown(path)} must have the ranges of quantisation-aware training, got an invalid "
            f"file ({error}); restore it, or fine-tune again"
        ) from error


def write_activation_ranges(path: Path, ranges: Sequence[ActivationRange]) -> None:
    """Write the file of a run."""
    write_json(path, {"ranges": [one._asdict() for one in ranges]})
