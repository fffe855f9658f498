"""The reference ceiling over set-up parameters: which set-up separates the alloys best."""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from alloyk.errors import ConfigError
from alloyk.messages import counted
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.simulator.ceiling.reference import Ceiling, reference_ceiling
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.validity import refuse_saturation, validity_notes
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters

IMAGE_SIZE = "image_size"
"""The only key of a sweep that is not a parameter of the simulator."""

BEAM_KEYS = ("tube.", "detector.csi")
"""Prefixes of keys that change the number of photons per second of exposure."""


@dataclass(frozen=True)
class Sweep:
    """A parameter and its values.

    Attributes:
        key: As `--set` takes it, or `image_size`.
        values: Two or more, as text.
    """

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """One set-up.

    Attributes:
        values: One value of each sweep.
        ceiling: Its reference ceiling.
        gain: Its accuracy minus that of the base set-up.
        gain_error: Monte Carlo error of the gain. Both set-ups are tested on the same plates, so
            it is smaller than the errors of the two accuracies.
    """

    values: tuple[str, ...]
    ceiling: Ceiling
    gain: float
    gain_error: float


@dataclass(frozen=True)
class Plan:
    """The ceilings of all set-ups.

    Attributes:
        sweeps: One or two sweeps.
        base: The ceiling of the base set-up.
        points: All combinations of values; those of the last sweep vary fastest.
        notes: Sentences about the comparison.
    """

    sweeps: tuple[Sweep, ...]
    base: Ceiling
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of all set-ups, which differ where the alloys are swept."""
        labels = (label for point in self.points for label in point.ceiling.classes)
        return tuple(dict.fromkeys(labels))

    @property
    def best(self) -> Point:
        """The point of highest accuracy; the first of equal ones."""
        return max(self.points, key=lambda point: point.ceiling.accuracy)

    def as_good_as_best(self) -> list[Point]:
        """Points within two Monte Carlo errors of the best, including the best."""
        best = self.best
        return [
            point
            for point in self.points
            if _gain(best.ceiling, point.ceiling)[0] <= 2 * _gain(best.ceiling, point.ceiling)[1]
        ]


def parse_sweeps(texts: Sequence[str]) -> tuple[Sweep, ...]:
    """Sweeps from `KEY=A,B,C` texts; a comma inside brackets does not separate values.

    >>> parse_sweeps(["tube.voltage_kvp=40,50", "plate.thicknesses_mm=[1,2],[2,5]"])[1].values
    ('[1,2]', '[2,5]')

    Raises:
        ConfigError: Not one or two sweeps, fewer than two values, or a key or value given twice.
    """
    sweeps = []
    for text in texts:
        key, equals, values = text.partition("=")
        parts = tuple(part.strip() for part in re.split(r",(?![^\[{]*[\]}])", values))
        if not equals or not key.strip() or "" in parts or len(parts) < 2:
            raise ConfigError(
                f"--sweep must be KEY=A,B,… with two or more values, got {text!r}; for example "
                "tube.voltage_kvp=40,45,50"
            )
        if len(set(parts)) < len(parts):
            raise ConfigError(f"--sweep must have each value once, got {text!r}")
        sweeps.append(Sweep(key.strip(), parts))
    if not 1 <= len(sweeps) <= 2:
        raise ConfigError(f"--sweep must be given once or twice, got {len(sweeps)} sweeps")
    if len({sweep.key for sweep in sweeps}) < len(sweeps):
        raise ConfigError(
            f"sweeps must have different keys, got {sweeps[0].key} twice; merge their values"
        )
    return tuple(sweeps)


def plan_setups(
    parameters: Parameters,
    sweeps: Sequence[Sweep],
    image_size: int = 224,
    *,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Plan:
    """Compute the ceiling of every combination of values, and of the base set-up.

    Args:
        parameters: The base set-up.
        sweeps: One or two sweeps.
        image_size: Pixels along each side.
        seed: Seed of all random numbers; all set-ups are tested on the same draws.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        ConfigError: A key is unknown or a value is wrong; raised before any ceiling is computed.
    """
    combinations = list(itertools.product(*(sweep.values for sweep in sweeps)))
    setups = []
    for values in combinations:
        overrides = dict(zip((sweep.key for sweep in sweeps), values, strict=True))
        size = _size(overrides.pop(IMAGE_SIZE, str(image_size)))
        setup = with_overrides(parameters, overrides)
        with _setup_in_errors(sweeps, values):
            # The beam checks voltages, anodes and filters.
            refuse_saturation(Beam(setup), size)
        setups.append((setup, size))

    points = []
    with progress.task("computing", 1 + len(setups), "ceilings") as advance:
        base = reference_ceiling(parameters, image_size, seed=seed)
        advance(1)
        for values, (setup, size) in zip(combinations, setups, strict=True):
            with _setup_in_errors(sweeps, values):
                found = reference_ceiling(setup, size, seed=seed)
            points.append(Point(values, found, *_gain(found, base)))
            advance(1)
    notes = _notes(parameters, sweeps)
    for point, (setup, size) in zip(points, setups, strict=True):
        named = _named(sweeps, point.values)
        notes += [f"{named}: {note}" for note in validity_notes(Beam(setup), size)]
    return Plan(tuple(sweeps), base, tuple(points), tuple(notes))


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """Rows of `plan.csv`: the values, the ceiling, the gain, recalls and thickness.

    The recall of a class that a set-up lacks is None.
    """

    def rounded(recall: float | None) -> float | None:
        return None if recall is None else round(recall, 6)

    return [
        {
            **dict(zip((sweep.key for sweep in plan.sweeps), point.values, strict=True)),
            "accuracy": round(point.ceiling.accuracy, 6),
            "error": round(point.ceiling.error, 6),
            "gain": round(point.gain, 6),
            "gain_error": round(point.gain_error, 6),
            **{
                f"recall_{label}": rounded(point.ceiling.recall.get(label))
                for label in plan.classes
            },
            "thickness_rmse_mm": round(point.ceiling.thickness_rmse_mm, 6),
        }
        for point in plan.points
    ]


def verdict(plan: Plan) -> str:
    """State the best set-up, and whether it is better than the base set-up."""
    best, equals = plan.best, plan.as_good_as_best()
    named = _named(plan.sweeps, best.values)
    line = (
        f"best: {named}: {percentage(best.ceiling)}, {100 * best.gain:+.1f} ± "
        f"{100 * best.gain_error:.1f} points over the base set-up ({percentage(plan.base)})"
    )
    if best.gain < -2 * best.gain_error:
        return f"{line}. No set-up is as good as the base set-up."
    if best.gain <= 2 * best.gain_error:
        return f"{line}. This is within the Monte Carlo error: no reason to change the set-up."
    if others := len(equals) - 1:
        line += f". {counted(others, 'other set-up', 'are')} as good within the Monte Carlo error"
    return f"{line}."


def percentage(ceiling: Ceiling) -> str:
    """For example `85.6 ± 0.3 %`."""
    return f"{100 * ceiling.accuracy:.1f} ± {100 * ceiling.error:.1f} %"


def _gain(one: Ceiling, other: Ceiling) -> tuple[float, float]:
    """Difference of two accuracies on the same draws, and its error."""
    difference = np.subtract(one.by_block, other.by_block)
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


def _named(sweeps: Sequence[Sweep], values: Sequence[str]) -> str:
    return ", ".join(f"{s.key}={value}" for s, value in zip(sweeps, values, strict=True))


@contextmanager
def _setup_in_errors(sweeps: Sequence[Sweep], values: Sequence[str]) -> Iterator[None]:
    """Name the set-up in errors about its values."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{_named(sweeps, values)}: {error}") from None


def _size(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < 8:
        raise ConfigError(f"image_size must be >= 8, got {text!r}")
    return size


def _notes(parameters: Parameters, sweeps: Sequence[Sweep]) -> list[str]:
    exposure = parameters.exposure
    beam = [sweep.key for sweep in sweeps if sweep.key.startswith(BEAM_KEYS)]
    if beam and exposure.exposure_time_s is None:
        return [
            f"The exposure is fixed at {exposure.photons_per_mm2:.2g} absorbed photons per mm² "
            f"while {' and '.join(beam)} changes; with --set exposure.exposure_time_s=SECONDS it "
            "follows the tube's output."
        ]
    return []
