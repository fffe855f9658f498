"""What a data set follows from: parameters, size and seed; kept in its `simulation.yaml`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from alloyk import __version__
from alloyk.errors import AlloykError
from alloyk.simulator.dataset import sampling
from alloyk.simulator.settings.overrides import validate_parameters, with_overrides
from alloyk.simulator.settings.parameters import Parameters
from alloyk.simulator.settings.presets import preset_parameters

SUFFIXES = {"png": ".png", "tiff": ".tif"}
CONTAINER_BITS = {"png": (8, 16), "tiff": (8, 16, 32)}
"""Depths that each image format can hold."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a data set's bytes.

    Attributes:
        parameters: All parameters of the simulator.
        preset: Name of the preset they came from; for the reader only.
        images: Number of images.
        image_size: Pixels along each side.
        seed: Of all random numbers.
        images_per_plate: Images that show one plate.
        imbalance: Largest over smallest class.
        class_order: Classes from the largest to the smallest.
        image_format: ``"png"`` or ``"tiff"``.
        bits: Depth of the files; the counts inside are not scaled to it.
        with_flats: Write flat and dark frames too.

    Raises:
        AlloykError: A number out of its range, or counts that do not fit into the files.
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

    def __post_init__(self):
        for name, least in (("images", 1), ("image_size", 8), ("seed", 0), ("images_per_plate", 1)):
            if getattr(self, name) < least:
                raise AlloykError(f"wanted {name} of {least} or more, found {getattr(self, name)}")
        depths = CONTAINER_BITS.get(self.image_format)
        if depths is None:
            raise AlloykError(f"wanted the image format png or tiff, found {self.image_format!r}")
        if self.bits not in depths:
            raise AlloykError(
                f"wanted {' or '.join(map(str, depths))} bits in a {self.image_format} file, "
                f"found {self.bits}"
            )
        if self.parameters.detector.adc_bits > self.bits:
            raise AlloykError(
                f"{self.parameters.detector.adc_bits}-bit counts do not fit into {self.bits}-bit "
                f"files: write {self.bits * 2}-bit files, or set detector.adc_bits={self.bits}"
            )

    def class_counts(self) -> dict[str, int]:
        """Label → number of images."""
        return sampling.class_counts(
            self.images, self.parameters.alloys, self.imbalance, self.class_order
        )

    def plan(self) -> Iterator[sampling.PlannedImage]:
        """All images in turn, drawn but not yet simulated."""
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
        preset: Name in :data:`alloyk.simulator.settings.presets.PRESETS`.
        alloys: Class labels instead of the preset's.
        overrides: Dotted parameter key → value, see :mod:`alloyk.simulator.settings.overrides`.
        **size: Other fields of :class:`Recipe`.

    Raises:
        AlloykError: Unknown preset, alloy or key, or a value out of its range.
    """
    changes = dict(overrides or {})
    if alloys is not None:
        changes["alloys"] = tuple(alloys)
    return Recipe(with_overrides(preset_parameters(preset), changes), preset, **size)


def recipe_text(recipe: Recipe) -> str:
    """Content of `simulation.yaml`."""
    document = {
        "alloyk_version": __version__,
        "numpy_version": np.__version__,
        **{f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name != "parameters"},
        "class_order": list(recipe.class_order),
        "parameters": recipe.parameters.model_dump(mode="json"),
    }
    header = "# `alloyk simulate OUT --from simulation.yaml` makes this data set again.\n"
    return header + yaml.safe_dump(document, sort_keys=False)


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a `simulation.yaml`.

    Raises:
        AlloykError: The file cannot be read, or is not such a file.
    """
    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or "it is not YAML"
        raise AlloykError(f"cannot read the recipe {path}: {reason}") from None
    known = {f.name for f in fields(Recipe)}
    if not isinstance(document, dict) or not known <= set(document):
        raise AlloykError(f"{path} is not a simulation.yaml as `alloyk simulate` writes it")
    values = {name: document[name] for name in known}
    values["parameters"] = validate_parameters(values["parameters"])
    values["class_order"] = tuple(values["class_order"])
    return Recipe(**values)
