"""What a run has not shown, and what its classifier is for: as plain sentences from its files."""

import unicodedata

from alloyk.alloys import display_name
from alloyk.evaluation.text_report import OTHER_DATA, describe_grouping

FEW_PLATES = 30
FEW_IMAGES = 30


def limits(metrics: dict, facts: dict, config: dict, explanations: list[dict]) -> list[str]:
    """What a careful reader would object, as far as the files tell.

    Args:
        metrics: Of ``metrics.json``.
        facts: Of ``facts.json``.
        config: Of ``config.yaml``.
        explanations: Of every ``explanation.json`` in the run.
    """
    found = []
    if metrics.get("simulated"):
        found.append(
            "All images are simulated. No real image has been compared with the simulation: on "
            "radiographs the figures will differ, most likely for the worse."
        )
    if metrics.get("grouped_by") in (None, "folders", "manifest", OTHER_DATA, "unknown"):
        found.append(describe_grouping(metrics.get("grouped_by")))
    found += metrics.get("notes", [])
    found += _few(metrics)
    names = ", ".join(_name(label) for label in metrics["classes"])
    found.append(
        f"The classifier answers {names} and nothing else, for whatever it is shown: a confident "
        "answer does not mean that the material is one of them."
    )
    found.append(
        "Thicknesses, tube voltages, detectors and set-ups that the test images do not hold have "
        "not been tested."
    )
    if config.get("seed") is not None:
        found.append(
            f"One training, seed {config['seed']}. The intervals tell what other plates would do "
            "to the figures, not what another seed would: train several and compare them."
        )
    thresholds = [row for row in metrics.get("abstention") or [] if row["threshold"] is not None]
    if any(row["chosen_on"] == "the same images" for row in thresholds):
        found.append(
            "The thresholds for abstaining were chosen on the images that they are judged by, and "
            "look better than they are."
        )
    for explanation in explanations:
        if not explanation["sanity_check"]["passed"]:
            found.append(
                f"The {explanation['method']} maps hardly depend on the weights: they are no "
                "evidence of what was learnt."
            )
    found += [
        f"Undefined: {name}: {why}." for name, why in (metrics.get("undefined") or {}).items()
    ]
    return found


def _name(label: str) -> str:
    """A class as it stands in a sentence; one written from right to left turns nothing round."""
    name = display_name(label)
    if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in name):
        return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"
    return name


def _few(metrics: dict) -> list[str]:
    found = []
    resampling = metrics.get("resampling") or {}
    if resampling.get("over") == "images":
        found.append(
            "Which images show one plate is not known. If several do, the intervals are too narrow."
        )
    elif resampling.get("groups", FEW_PLATES) < FEW_PLATES:
        found.append(
            f"The test images show {resampling['groups']} plates: intervals from so few are rough."
        )
    rare = [
        f"{_name(label)} ({figures['support']})"
        for label, figures in metrics["per_class"].items()
        if figures["support"] < FEW_IMAGES
    ]
    if rare:
        found.append(f"Fewer than {FEW_IMAGES} test images of {', '.join(rare)}.")
    return found


def model_card(
    name: str, kind: str, metrics: dict, facts: dict, config: dict
) -> list[tuple[str, str]]:
    """A model card as names and texts.

    Reference: [Mitchell et al., 2019](https://arxiv.org/abs/1810.03993).
    """
    classes = ", ".join(_name(label) for label in metrics["classes"])
    simulated = bool(metrics.get("simulated"))
    preprocess = config.get("preprocess") or {}
    size = preprocess.get("image_size")
    parameters = facts.get("parameters")
    what = f"{kind or 'a classifier'}, from one radiograph to one of: {classes}"
    if parameters:
        what += f"; {parameters:,} parameters"
    rows = [("Model", what)]
    if size:
        steps = [f"scaled by {preprocess.get('normalize')}"]
        steps += ["histogram equalised"] if preprocess.get("equalize") else []
        rows.append(
            (
                "Input",
                "a raw X-ray transmission image of any size and depth, as decoded; inside the "
                f"model it is made gray, {', '.join(steps)} and resized to {size[0]}×{size[1]}",
            )
        )
    rows += [
        (
            "Intended use",
            "research on telling these materials apart in radiographs that are made like the "
            "training images: same set-up, same range of thickness and tube voltage"
            + (
                "; and trying out alloyk, since it has seen simulated images only"
                if simulated
                else ""
            ),
        ),
        (
            "Not intended",
            "accepting or rejecting parts that people's safety depends on without another "
            "measurement; materials other than the classes above; images of another set-up "
            "without an evaluation on labelled images of it",
        ),
        (
            "Training data",
            "simulated radiographs" if simulated else "labelled radiographs, see Data",
        ),
        (
            "Evaluation",
            f"{metrics['n']:,} images, {metrics['evaluated']}; none of them was trained on by the "
            "network that judged it",
        ),
        (
            "How to use",
            f"alloyk predict {name} IMAGE, or alloyk.load({name!r}).predict([...]) in Python",
        ),
    ]
    return rows
