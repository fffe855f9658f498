"""The reference ceiling of a data set on disk, computed once and kept."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable

import click

from alloyk import __version__
from alloyk.data import ImageDataset
from alloyk.data.source import cache_folder
from alloyk.errors import AlloykError
from alloyk.files import whole_file

SHARE_DIGITS = 2
"""Shares of the classes are rounded, so that the folds of one data set have one ceiling."""


def dataset_ceiling(dataset: ImageDataset, labels: Iterable[str]) -> dict | None:
    """What an ideal classifier reaches on images of a simulated data set.

    It takes a second or so, and is kept in the user's cache folder. Where there is none although
    the images are simulated, stderr says why: a missing ceiling must not cost a trained model.

    Args:
        dataset: The data set; its `simulation.yaml` is read.
        labels: Of the images in question, for the shares of the classes.

    Returns:
        As `Ceiling.as_dict`, with ``notes``, of the classes that have images among these;
        None for images that are not simulated.
    """
    if not dataset.simulated:
        return None
    from alloyk.simulator.dataset.recipe import load_recipe
    from alloyk.simulator.settings.overrides import with_overrides

    counts = Counter(labels)
    total = sum(counts.values())
    shares = {c: round(counts[c] / total, SHARE_DIGITS) for c in dataset.classes}
    # The ideal classifier knows the shares, and never decides for a class that has none.
    shares = {c: share for c, share in shares.items() if share}
    try:
        recipe = load_recipe(dataset.root / "simulation.yaml")
        foreign = set(dataset.classes) - set(recipe.parameters.alloys)
        if foreign:
            raise AlloykError(f"its simulation.yaml does not know the class {min(foreign)}")
        parameters = with_overrides(recipe.parameters, {"alloys": tuple(shares)})
        return _kept(parameters, recipe.image_size, shares)
    except AlloykError as error:
        click.echo(f"note: no reference ceiling for {dataset.root}: {error}", err=True)
        return None


def _kept(parameters, image_size: int, shares: dict[str, float]) -> dict:
    settings = [__version__, parameters.model_dump(mode="json"), image_size, shares]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    file = cache_folder() / "ceilings" / f"{digest}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass  # not yet there
    from alloyk.simulator.ceiling.reference import caveats, reference_ceiling

    found = reference_ceiling(parameters, image_size, shares=shares).as_dict()
    found["notes"] = caveats(parameters, image_size)
    try:
        with whole_file(file) as unfinished:
            unfinished.write_text(json.dumps(found), encoding="utf-8")
    except AlloykError:
        pass  # a cache that cannot be written costs a second next time
    return found
