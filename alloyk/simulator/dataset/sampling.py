"""Sampling: the plates and images of a data set, drawn before any image is rendered."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alloyk.errors import ConfigError
from alloyk.simulator.physics.plate import Plate, draw_plate
from alloyk.simulator.physics.scene import Circumstances, draw_channel, draw_circumstances
from alloyk.simulator.settings.parameters import Parameters

# Random streams, each with its own spawn key: a seed gives the same panel, plate 7 and image 12
# for any number of plates, images and processes.
PANEL, PLATES, IMAGES, TEXTURES, FLATS, DARKS, CHANNELS = range(7)
CIRCUMSTANCES, NOISE = 0, 1


@dataclass(frozen=True, eq=False)
class PlannedImage:
    """An image to be rendered.

    Attributes:
        path: File name relative to the data set, posix.
        plate: The plate in it.
        now: Its circumstances.
        seed: 63-bit integer from which circumstances and noise are drawn.
        pose_id: Number of the pose that several exposures share; empty where each has its own.
    """

    path: str
    plate: Plate
    now: Circumstances
    seed: int
    pose_id: str = ""


def generator(seed: int, *spawn_key: int) -> np.random.Generator:
    """The random generator of one stream."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


def image_seed(seed: int, stream: int, nth: int) -> int:
    """Seed of an image or frame: 63 bits, so that it fits into signed 64-bit integers."""
    sequence = np.random.SeedSequence(seed, spawn_key=(stream, nth))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def class_counts(
    images: int, classes: Sequence[str], imbalance: float = 1.0, order: Sequence[str] = ()
) -> dict[str, int]:
    """Images of each class: equal, or a long tail that falls by a constant factor.

    Args:
        images: Total number; all are allocated.
        classes: Labels.
        imbalance: Size of the largest class divided by that of the smallest, >= 1.
        order: Classes from the largest to the smallest; classes that it omits follow.

    Example:
        >>> class_counts(3000, ["1050", "6082", "5083", "7075", "2017"], imbalance=20)
        {'1050': 1620, '6082': 766, '5083': 362, '7075': 171, '2017': 81}

    Raises:
        ConfigError: Fewer images than classes, an imbalance below 1, or an unknown class.

    Source: the exponential long tail of Cui et al., CVPR 2019.
    """
    if not 1 <= imbalance < math.inf:
        raise ConfigError(f"imbalance must be finite and >= 1, got {imbalance:g}")
    for label in order:
        if label not in classes:
            raise ConfigError(
                f"the class order must name classes of {', '.join(classes)}, got {label!r}"
            )
    if len(set(order)) != len(order):
        raise ConfigError(f"the class order must name each class once, got {', '.join(order)}")
    if images < len(classes):
        raise ConfigError(f"images must be at least {len(classes)}, one per class, got {images}")
    ranked = [*order, *(label for label in classes if label not in order)]
    steps = max(len(ranked) - 1, 1)
    shares = np.array([imbalance ** (-rank / steps) for rank in range(len(ranked))])
    exact = images * shares / shares.sum()
    counts = np.maximum(np.floor(exact).astype(int), 1)
    # The class that lacks most comes first; ties go to the larger class.
    by_lack = np.argsort(counts - exact, kind="stable")
    for position in range(images - counts.sum()):
        counts[by_lack[position % len(ranked)]] += 1
    # Images that the smallest classes got beyond their share come from the largest class.
    while counts.sum() > images:
        counts[len(ranked) - 1 - np.argmax(counts[::-1])] -= 1
    found = dict(zip(ranked, counts.tolist(), strict=True))
    return {label: found[label] for label in classes}


def plan_images(
    parameters: Parameters,
    counts: dict[str, int],
    images_per_plate: int,
    seed: int,
    suffix: str = ".png",
) -> Iterator[PlannedImage]:
    """Draw every plate and the circumstances of every image.

    With `tube.channels_kvp` each image is as many files, one after the other.

    Within each class, successive plates take the nominal thicknesses in turn. The last plate of
    a class may have fewer images than the others.

    Args:
        parameters: All parameters.
        counts: Label → number of images.
        images_per_plate: Number of images of each plate.
        seed: Seed of the data set.
        suffix: Suffix of the files.
    """
    thicknesses = parameters.plate.nominal_thicknesses_mm
    plates = images = 0
    for label, count in counts.items():
        for first in range(0, count, images_per_plate):
            nominal = thicknesses[first // images_per_plate % len(thicknesses)]
            plate = draw_plate(
                plates, label, nominal, parameters.plate, generator(seed, PLATES, plates)
            )  # fmt: skip
            plates += 1
            for nth in range(min(images_per_plate, count - first)):
                own_seed = image_seed(seed, IMAGES, images)
                rng = generator(own_seed, CIRCUMSTANCES)
                now = draw_circumstances(parameters, rng, nth)
                name = f"{plate.plate_id}_{nth:02d}"
                one = PlannedImage(f"{label}/{name}{suffix}", plate, now, own_seed)
                images += 1
                if parameters.tube.channels_kvp:
                    yield from _channels(parameters, one, name, suffix)
                else:
                    yield one


def _channels(
    parameters: Parameters, one: PlannedImage, name: str, suffix: str
) -> Iterator[PlannedImage]:
    """The exposures of an image at each voltage of `tube.channels_kvp`, in its pose."""
    for number, voltage_kvp in enumerate(parameters.tube.channels_kvp or ()):
        seed = image_seed(one.seed, CHANNELS, number)
        now = draw_channel(parameters, one.now, voltage_kvp, generator(seed, CIRCUMSTANCES))
        path = f"{one.plate.alloy}/{name}_{voltage_kvp:g}kv{suffix}"
        yield PlannedImage(path, one.plate, now, seed, name)
