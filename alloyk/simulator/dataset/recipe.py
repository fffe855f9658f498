"""The recipe of a simulated data set: parameters, size and seed; saved in `simulation.yaml`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from alloyk import __version__
from alloyk.errors import AlloykError, ConfigError
from alloyk.settings import dump_yaml, read_yaml
from alloyk.settings.problems import shown_value
from alloyk.simulator.dataset import sampling
from alloyk.simulator.settings.field_types import strings
from alloyk.simulator.settings.overrides import (
    add_alloys,
    validate_parameters,
    with_overrides,
)
from alloyk.simulator.settings.parameters import Parameters
from alloyk.simulator.settings.presets import preset_parameters

SUFFIXES = {"png": ".png", "tiff": ".tif"}
CONTAINER_BITS = {"png": (8, 16), "tiff": (8, 16, 32)}
"""Depths that each image format can hold."""

_TYPES = (
    (Integral, "a whole number", ("images", "image_size", "seed", "images_per_plate", "bits")),
    (Real, "a number", ("imbalance",)),
    (str, "text", ("preset", "image_format")),
    (bool, "true or false", ("with_flats",)),
)
"""Type, its name in errors, and the fields of a recipe that must have it."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the bytes of a data set.

    Attributes:
        parameters: All parameters of the simulator.
        preset: Name of the preset that they came from; it changes nothing.
        images: Number of images; with `tube.channels_kvp` each is a file for every voltage.
        image_size: Pixels along each side.
        seed: Seed of all random numbers.
        images_per_plate: Number of images of each plate.
        imbalance: Size of the largest class divided by that of the smallest.
        class_order: Classes from the largest to the smallest.
        image_format: `"png"` or `"tiff"`.
        bits: Bit depth of the files; the counts are not scaled to it.
        with_flats: Whether to write flat and dark frames too.

    Raises:
        ConfigError: A value has another type or is out of its range, a class lacks an image, or
            the counts do not fit into the files.
    """

    parameters: Parameters
    preset: str = "study"
    images: int = 3000
    image_size: int = 224
    seed: int = 0
    images_per_plate: int = 1
    imbalance: float = 1.0
    class_order: tuple[str, ...] = ()
    image_format: str = "png"
    bits: int = 16
    with_flats: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        for name, least in (("images", 1), ("image_size", 8), ("seed", 0), ("images_per_plate", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be >= {least}, got {getattr(self, name)}")
        preset_parameters(self.preset)  # names the nearest known one
        depths = CONTAINER_BITS.get(self.image_format)
        if depths is None:
            raise ConfigError(f"the image format must be png or tiff, got {self.image_format!r}")
        if self.bits not in depths:
            raise ConfigError(
                f"bits must be {' or '.join(map(str, depths))} for {self.image_format} files, got "
                f"{self.bits}"
            )
        if self.parameters.detector.adc_bits > self.bits:
            raise ConfigError(
                f"bits must be at least detector.adc_bits={self.parameters.detector.adc_bits}, got "
                f"{self.bits}; write {self.bits * 2}-bit files, or set "
                f"detector.adc_bits={self.bits}"
            )
        self.class_counts()

    def _check_types(self) -> None:
        for kind, must, names in _TYPES:
            for name in names:
                value = getattr(self, name)
                if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                    raise ConfigError(f"{name} must be {must}, got {shown_value(value)}")

    @property
    def files(self) -> int:
        """Number of files of images."""
        return self.images * len(self.parameters.tube.channels_kvp or (0,))

    def class_counts(self) -> dict[str, int]:
        """Label → number of images."""
        return sampling.class_counts(
            self.images, self.parameters.alloys, self.imbalance, self.class_order
        )

    def plan(self) -> Iterator[sampling.PlannedImage]:
        """The images in order, with everything random drawn, not yet simulated."""
        suffix = SUFFIXES[self.image_format]
        return sampling.plan_images(
            self.parameters, self.class_counts(), self.images_per_plate, self.seed, suffix
        )


def make_recipe(
    preset: str = "study",
    *,
    alloys: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    **size: Any,
) -> Recipe:
    """A recipe from a preset.

    Args:
        preset: Name in `alloyk.simulator.settings.presets.PRESETS`.
        alloys: Class labels instead of the preset's.
        overrides: Dotted parameter key → value, see `alloyk.simulator.settings.overrides`.
        **size: Other fields of `Recipe`.

    Raises:
        ConfigError: A preset, alloy or key is unknown, or a value is out of its range.
    """
    changes = add_alloys(overrides or {}, None if alloys is None else tuple(alloys))
    return Recipe(with_overrides(preset_parameters(preset), changes), preset, **size)


def recipe_text(recipe: Recipe) -> str:
    """The text of `simulation.yaml`."""
    document = {
        "alloyk_version": __version__,
        "numpy_version": np.__version__,
        **{f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name != "parameters"},
        "class_order": list(recipe.class_order),
        "parameters": recipe.parameters.model_dump(mode="json"),
    }
    header = "# `alloyk simulate OUT --from simulation.yaml` makes this data set again.\n"
    return header + dump_yaml(document)


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a `simulation.yaml`.

    Raises:
        ConfigError: The file cannot be read, is not a `simulation.yaml`, or has a wrong value.
    """
    path = Path(path)
    document = read_yaml(path)
    known = {f.name for f in fields(Recipe)}
    missing = sorted(known - set(document))
    if missing:
        raise ConfigError(
            f"{path} must be a simulation.yaml of `alloyk simulate`; it has no key {missing[0]}"
        )
    values = {name: document[name] for name in known}
    try:
        return _recipe_of(values)
    except AlloykError as error:
        raise ConfigError(f"{path}: {error}") from error


def _recipe_of(values: dict[str, Any]) -> Recipe:
    """The recipe of values as YAML reads them."""
    for name, kind, must in (
        ("parameters", dict, "must have keys, such as parameters.alloys"),
        ("class_order", list | str, "must be a list of classes, which may be empty"),
    ):
        if not isinstance(values[name], kind):
            raise ConfigError(f"{name} {must}, got {shown_value(values[name])}")
    values["parameters"] = validate_parameters(values["parameters"])
    values["class_order"] = strings(values["class_order"])
    return Recipe(**values)
