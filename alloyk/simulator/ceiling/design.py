"""The reference ceiling over set-up parameters: which set-up would tell these alloys best apart."""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from alloyk.errors import AlloykError
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.simulator.ceiling.reference import Ceiling, reference_ceiling
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.validity import refuse_saturation, validity_notes
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters

IMAGE_SIZE = "image_size"
"""The one key of a sweep that is no parameter of the simulator."""

BEAM_KEYS = ("tube.", "detector.csi")
"""Beginnings of keys that change how many photons a second of exposure gives."""


@dataclass(frozen=True)
class Sweep:
    """One parameter and the values it takes.

    Attributes:
        key: As ``--set`` takes it, or ``image_size``.
        values: As text, two or more.
    """

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """One set-up tried.

    Attributes:
        values: One of each sweep.
        ceiling: What an ideal classifier reaches there.
        gain: Its accuracy less that of the set-up as it is.
        gain_error: Monte Carlo error of the gain; both are tried on the same plates, so it is
            smaller than the errors of the two.
    """

    values: tuple[str, ...]
    ceiling: Ceiling
    gain: float
    gain_error: float


@dataclass(frozen=True)
class Plan:
    """Set-ups tried.

    Attributes:
        sweeps: One or two.
        base: The ceiling of the set-up as it is.
        points: All combinations of values, the last sweep's running fastest.
        notes: What to know about the comparison, a sentence each.
    """

    sweeps: tuple[Sweep, ...]
    base: Ceiling
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Point:
        """The point of highest accuracy, the first of equals."""
        return max(self.points, key=lambda point: point.ceiling.accuracy)

    def as_good_as_best(self) -> list[Point]:
        """Points whose accuracy is within two Monte Carlo errors of the best, itself included."""
        best = self.best
        return [
            point
            for point in self.points
            if _gain(best.ceiling, point.ceiling)[0] <= 2 * _gain(best.ceiling, point.ceiling)[1]
        ]


def parse_sweeps(texts: Sequence[str]) -> tuple[Sweep, ...]:
    """Sweeps from ``KEY=A,B,C``; a comma inside brackets does not divide.

    >>> parse_sweeps(["tube.voltage_kvp=40,50", "plate.thicknesses_mm=[1,2],[2,5]"])[1].values
    ('[1,2]', '[2,5]')

    Raises:
        AlloykError: Not one or two sweeps, a key twice, fewer than two values, a value twice.
    """
    sweeps = []
    for text in texts:
        key, equals, values = text.partition("=")
        parts = tuple(part.strip() for part in re.split(r",(?![^\[{]*[\]}])", values))
        if not equals or not key.strip() or "" in parts or len(parts) < 2:
            raise AlloykError(
                f"a sweep wants KEY=A,B,… with two values or more, found {text!r}: write for "
                "example tube.voltage_kvp=40,45,50"
            )
        if len(set(parts)) < len(parts):
            raise AlloykError(f"the sweep {text!r} names a value twice: name each once")
        sweeps.append(Sweep(key.strip(), parts))
    if not 1 <= len(sweeps) <= 2:
        raise AlloykError(f"wanted one or two sweeps, found {len(sweeps)}")
    if len({sweep.key for sweep in sweeps}) < len(sweeps):
        raise AlloykError(f"both sweeps are of {sweeps[0].key}: put its values into one")
    return tuple(sweeps)


def plan_setups(
    parameters: Parameters,
    sweeps: Sequence[Sweep],
    image_size: int = 224,
    *,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Plan:
    """The ceiling at every combination of the sweeps' values, and at the set-up as it is.

    Args:
        parameters: The set-up as it is.
        sweeps: One or two.
        image_size: Pixels along each side.
        seed: Of all random numbers; every set-up is tried on the same draws.
        progress: Shows how far it is, see `alloyk.progress`.

    Raises:
        AlloykError: A key or value that the simulator does not take; before anything is computed.
    """
    combinations = list(itertools.product(*(sweep.values for sweep in sweeps)))
    setups = []
    for values in combinations:
        overrides = dict(zip((sweep.key for sweep in sweeps), values, strict=True))
        size = _size(overrides.pop(IMAGE_SIZE, str(image_size)))
        setup = with_overrides(parameters, overrides)
        with _told_where(sweeps, values):
            # The beam knows the voltages, anodes and filters that can be computed.
            refuse_saturation(Beam(setup), size)
        setups.append((setup, size))

    points = []
    with progress.task("computing", 1 + len(setups), "ceilings") as advance:
        base = reference_ceiling(parameters, image_size, seed=seed)
        advance(1)
        for values, setup in zip(combinations, setups, strict=True):
            with _told_where(sweeps, values):
                found = reference_ceiling(*setup, seed=seed)
            points.append(Point(values, found, *_gain(found, base)))
            advance(1)
    notes = _notes(parameters, sweeps)
    for point, (setup, size) in zip(points, setups, strict=True):
        named = _named(sweeps, point.values)
        notes += [f"{named}: {note}" for note in validity_notes(Beam(setup), size)]
    return Plan(tuple(sweeps), base, tuple(points), tuple(notes))


def plan_rows(plan: Plan) -> list[dict]:
    """Rows of `plan.csv`: the values, the ceiling, the gain, recalls and thickness."""
    return [
        {
            **dict(zip((sweep.key for sweep in plan.sweeps), point.values, strict=True)),
            "accuracy": round(point.ceiling.accuracy, 6),
            "error": round(point.ceiling.error, 6),
            "gain": round(point.gain, 6),
            "gain_error": round(point.gain_error, 6),
            **{f"recall_{label}": round(r, 6) for label, r in point.ceiling.recall.items()},
            "thickness_rmse_mm": round(point.ceiling.thickness_rmse_mm, 6),
        }
        for point in plan.points
    ]


def verdict(plan: Plan) -> str:
    """Which set-up is best, and whether it is worth measuring."""
    best, equals = plan.best, plan.as_good_as_best()
    named = _named(plan.sweeps, best.values)
    line = (
        f"best: {named}: {percentage(best.ceiling)}, {100 * best.gain:+.1f} ± "
        f"{100 * best.gain_error:.1f} points over the set-up as it is ({percentage(plan.base)})"
    )
    if best.gain < -2 * best.gain_error:
        return f"{line}. None of these is as good as the set-up as it is."
    if best.gain <= 2 * best.gain_error:
        return f"{line}. That is within the Monte Carlo error: no reason to change the set-up."
    if others := len(equals) - 1:
        are = "is" if others == 1 else "are"
        line += f". {others} of the others {are} as good within the Monte Carlo error"
    return f"{line}."


def percentage(ceiling: Ceiling) -> str:
    """For example ``85.6 ± 0.3 %``."""
    return f"{100 * ceiling.accuracy:.1f} ± {100 * ceiling.error:.1f} %"


def _gain(one: Ceiling, other: Ceiling) -> tuple[float, float]:
    """Difference of two ceilings on the same draws, and its error."""
    difference = np.subtract(one.by_block, other.by_block)
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


def _named(sweeps: Sequence[Sweep], values: Sequence[str]) -> str:
    return ", ".join(f"{s.key}={value}" for s, value in zip(sweeps, values, strict=True))


@contextmanager
def _told_where(sweeps: Sequence[Sweep], values: Sequence[str]) -> Iterator[None]:
    """Name the set-up in an error that comes of several values together."""
    try:
        yield
    except AlloykError as error:
        raise AlloykError(f"{_named(sweeps, values)}: {error}") from None


def _size(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < 8:
        raise AlloykError(f"wanted an image_size of 8 or more, found {text!r}")
    return size


def _notes(parameters: Parameters, sweeps: Sequence[Sweep]) -> list[str]:
    exposure = parameters.exposure
    beam = [sweep.key for sweep in sweeps if sweep.key.startswith(BEAM_KEYS)]
    if beam and exposure.exposure_time_s is None:
        return [
            f"The exposure is held at {exposure.photons_per_mm2:.2g} photons absorbed per mm² "
            f"while {' and '.join(beam)} changes; --set exposure.exposure_time_s=SECONDS lets it "
            "follow the tube's output."
        ]
    return []
