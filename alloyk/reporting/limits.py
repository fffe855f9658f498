"""Limitations of a run and the model card of its classifier, as sentences from its files."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from alloyk.alloys import display_name
from alloyk.evaluation.text_report import OTHER_DATA, describe_grouping, undefined_lines
from alloyk.messages import counted
from alloyk.runs.facts import UNKNOWN_GROUPING, Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.metrics import Metrics
from alloyk.runs.settings import RunSettings

FEW_PLATES = 30
FEW_IMAGES = 30


def limits(
    metrics: Metrics,
    facts: Facts,
    settings: RunSettings,
    explanations: Sequence[Mapping[str, Any]],
    stressed: bool,
) -> list[str]:
    """List the limitations that follow from the files of a run.

    Args:
        metrics: The run's metrics.
        facts: The run's facts.
        settings: The run's configuration.
        explanations: The record of every explanation in the run.
        stressed: Whether there is a stress test.
    """
    found = []
    if metrics.get("simulated"):
        found.append(
            "All images are simulated. No real image has been compared with the simulation: on "
            "radiographs the metrics will differ, most likely for the worse."
        )
    if metrics.get("grouped_by") in (None, "folders", "manifest", OTHER_DATA, UNKNOWN_GROUPING):
        found.append(describe_grouping(metrics.get("grouped_by")))
    found += metrics.get("notes", [])
    found += _few(metrics)
    names = ", ".join(_name(label) for label in metrics["classes"])
    found.append(
        f"The classifier answers {names} and nothing else, whatever the image: a confident answer "
        "does not mean that the material is one of them."
    )
    found.append(
        "Thicknesses, tube voltages, detectors and set-ups that the test images lack have not been "
        "tested"
        + (
            ", except on the disturbed and simulated images of the stress test."
            if stressed
            else "."
        )
    )
    if settings.seed is not None:
        trained = "One training run"
        if facts.cross_validation:
            trained += f" for each of {len(facts.cross_validation['held_out'])} folds"
        found.append(
            f"{trained}, seed {settings.seed}. The intervals describe the effect of other plates, "
            "not of another seed: train with several seeds and compare."
        )
    thresholds = [row for row in metrics.get("abstention") or [] if row["threshold"] is not None]
    if any(row["chosen_on"] == "the same images" for row in thresholds):
        found.append(
            "The thresholds for abstaining were chosen on the evaluated images: their results are "
            "optimistic."
        )
    for explanation in explanations:
        if explanation["sanity_check"]["passed"] is False:
            found.append(
                f"The {explanation['method']} maps depend little on the weights: they are no "
                "evidence of what was learned."
            )
    found += [f"Undefined: {line}." for line in undefined_lines(metrics.get("undefined") or {})]
    return found


def _name(label: str) -> str:
    """A class name for a sentence; a right-to-left name is isolated."""
    name = display_name(label)
    if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name):
        return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"
    return name


def _few(metrics: Metrics) -> list[str]:
    """Sentences on few plates, and on few images of a class."""
    found = []
    resampling = metrics["resampling"]
    if resampling["over"] == "images":
        found.append("Plates are not known: if images share a plate, the intervals are too narrow.")
    elif resampling["groups"] < FEW_PLATES:
        found.append(
            f"The test images show {counted(resampling['groups'], 'plate')}: intervals from so few "
            "are rough."
        )
    rare = [
        f"{_name(label)} ({of_class['support']})"
        for label, of_class in metrics["per_class"].items()
        if of_class["support"] < FEW_IMAGES
    ]
    if rare:
        found.append(f"Fewer than {FEW_IMAGES} test images of {', '.join(rare)}.")
    return found


def _channels(channels: Mapping[str, Any]) -> str:
    """The images that are one sample, for example `tube_voltage_kvp (40, 50)`."""
    return f"{channels['column']} ({', '.join(map(str, channels['values']))})"


def model_card(
    run: RunFolder, kind: str, metrics: Metrics, facts: Facts, settings: RunSettings
) -> list[tuple[str, str]]:
    """Write a model card as names and texts; without a model none of them says how to use it.

    Reference: [Mitchell et al., 2019](https://arxiv.org/abs/1810.03993).
    """
    classes = ", ".join(_name(label) for label in metrics["classes"])
    simulated = bool(metrics.get("simulated"))
    preprocess, size = settings.section("preprocess"), settings.image_size
    parameters = facts.parameters
    channels = settings.section("data").get("channels")
    one = f"one radiograph for each {_channels(channels)}" if channels else "one radiograph"
    what = f"{kind or 'a classifier'}, from {one} to one of: {classes}"
    if parameters:
        what += f"; {parameters:,} parameters"
    rows = [("Model", what)]
    if size:
        steps = [f"scaled by {preprocess.get('normalize')}"]
        steps += ["histogram equalised"] if preprocess.get("equalize") else []
        rows.append(
            (
                "Input",
                "a raw X-ray transmission image of any size and depth, as decoded"
                + (f", for each {_channels(channels)}" if channels else "")
                + f"; the model converts {'each' if channels else 'it'} to gray, "
                f"{', '.join(steps)}, resized to {size[0]}×{size[1]}",
            )
        )
    rows += [
        (
            "Intended use",
            "research on classifying these materials in radiographs that are made like the "
            "training images: same set-up, same range of thickness and tube voltage"
            + (
                "; and trying out alloyk, since it was trained on simulated images only"
                if simulated
                else ""
            ),
        ),
        (
            "Not intended",
            "accepting or rejecting safety-critical parts without another measurement; materials "
            "other than the classes above; images of another set-up without an evaluation on "
            "labelled images of it",
        ),
        (
            "Training data",
            "simulated radiographs" if simulated else "labelled radiographs, see Data",
        ),
        (
            "Evaluation",
            f"{metrics['n']:,} images, {metrics['evaluated']}; each was classified by a network "
            "that was not trained on it",
        ),
    ]
    if run.model_file.is_file():
        name = run.name
        use = f"alloyk predict {name} IMAGE, or alloyk.load({name!r}).predict([...]) in Python"
        rows.append(("How to use", use))
    return rows
