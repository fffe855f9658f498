"""The reference ceiling of a simulated data set on disk, computed once and cached."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from alloyk import __version__
from alloyk.data.source import cache_folder
from alloyk.errors import AlloykError, DataError
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.json_file import read_json, write_json
from alloyk.runs.metrics import Ceiling
from alloyk.runs.predictions import Predictions

log = logging.getLogger(__name__)

SHARE_DIGITS = 2
"""Shares of the classes are rounded, so that the folds of one data set have one ceiling."""

METHOD = 2
"""Raised when a set-up gets another ceiling, so that kept ones are computed again."""


def ceiling_of(facts: Facts, predictions: Predictions, earlier: RunFolder) -> Ceiling | None:
    """The reference ceiling of the images that were predicted.

    Args:
        facts: Facts of the evaluation. A run of an earlier version has the ceiling there.
        predictions: Predictions for the split.
        earlier: Folder of an earlier evaluation, whose ceiling is taken where the images have gone
            since.

    Returns:
        The ceiling; None for images that are not simulated.
    """
    if facts.ceiling:
        return facts.ceiling
    if facts.data_root is None or facts.simulated is False:
        return None
    if facts.data_root.is_dir():
        return dataset_ceiling(facts.data_root, predictions.table["label"], facts.channels)
    metrics = earlier.metrics
    counts = {
        label: of_class["support"] for label, of_class in metrics.get("per_class", {}).items()
    }
    same = {label: n for label, n in counts.items() if n} == Counter(predictions.table["label"])
    return metrics.get("ceiling") if same else None


def recorded_ceiling(run: RunFolder) -> Ceiling | None:
    """The ceiling of a run's own test split, as an earlier evaluation computed it."""
    return run.facts.ceiling or run.metrics.get("ceiling")


def dataset_ceiling(
    root: Path, labels: Iterable[str], channels: Mapping[str, Any] | None = None
) -> Ceiling | None:
    """What an ideal classifier reaches on images of a simulated data set.

    It takes a second or so, and is kept in the user's cache folder. Where there is none although
    the images are simulated, a warning says why: a missing ceiling must not cost a trained model.

    Args:
        root: Folder of the data set; its `simulation.yaml` is read.
        labels: Labels of the images in question; they give the shares of the classes.
        channels: Which images are one sample, as `Facts.channels`.

    Returns:
        As `Ceiling.as_dict` of the simulator, with `notes`, of the classes that have images
        among these; None for images that are not simulated.
    """
    recipe_file = root / "simulation.yaml"
    if not recipe_file.is_file():
        return None
    from alloyk.simulator.dataset.recipe import load_recipe
    from alloyk.simulator.settings.channels import parameters_as_used, steps_as_taken
    from alloyk.simulator.settings.overrides import with_overrides

    counts = Counter(labels)
    # The ideal classifier knows the class frequencies and never predicts an absent class.
    rounded = {c: round(counts[c] / counts.total(), SHARE_DIGITS) for c in sorted(counts)}
    shares = {c: share for c, share in rounded.items() if share}
    try:
        recipe = load_recipe(recipe_file)
        unknown = set(counts) - set(recipe.parameters.alloys)
        if unknown:
            raise DataError(f"its simulation.yaml has no class {min(unknown)}")
        parameters = parameters_as_used(recipe.parameters, channels)
        parameters = steps_as_taken(parameters, recipe.images_per_plate)
        parameters = with_overrides(parameters, {"alloys": tuple(shares)})
        return _cached(parameters, recipe.image_size, shares)
    except AlloykError as error:
        log.warning("no reference ceiling for %s: %s", root, error)
        return None


def _cached(parameters: Any, image_size: int, shares: dict[str, float]) -> Ceiling:
    settings = [METHOD, __version__, parameters.model_dump(mode="json"), image_size, shares]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    file = cache_folder() / "ceilings" / f"{digest}.json"
    with suppress(AlloykError):
        if found := cast("Ceiling", read_json(file)):
            return found
    from alloyk.simulator.ceiling.reference import caveats, reference_ceiling

    found = cast("Ceiling", reference_ceiling(parameters, image_size, shares=shares).as_dict())
    found["notes"] = caveats(parameters, image_size)
    with suppress(AlloykError):  # a cache that cannot be written costs a second next time
        write_json(file, found)
    return found
