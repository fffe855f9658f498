"""Searches as `alloyk tune` leaves them, written without a training run."""

from pathlib import Path

import numpy as np
import pandas as pd

from alloyk.runs.predictions import write_predictions
from alloyk.runs.search_folder import SearchFolder
from alloyk.runs.search_records import FROM, GENERATION, PARENT, UNTIL, write_description
from alloyk.runs.search_space import parameters_of

SPACE = {
    "optimizer.learning_rate": {"min": 1e-6, "max": 1.0, "log": True},
    "loss.name": ["cross_entropy", "focal"],
    "loss.gamma": {"min": 0.5, "max": 4.0, "when": {"loss.name": "focal"}},
    "train.batch_size": {"min": 8, "max": 64, "step": 8},
}
# Fifteen keys: ranges, conditional ones, forty choices, text and numbers mixed, markup.
LARGE = {
    **SPACE,
    "model.arch": [f"architecture_{number}" for number in range(40)],
    "model.width": [8, "wide", 16.5, None, "3"],
    "model.activation": ["relu", "</script><b>gelu"],
    **{f"augment.a_rather_long_name_{n}": {"min": 0.0, "max": 1.0} for n in range(8)},
}


ERRORS = (
    "the loss became nan in epoch 2, seen at batch 3: lower the rate",
    "ResourceExhaustedError: OOM when allocating",
    "ValueError: <b>no</b>",
)


def drawn_values(space, rng):
    values = {}
    for one in parameters_of(space):
        if not one.is_active(values):
            continue
        if one.choices:
            values[one.key] = one.choices[int(rng.integers(len(one.choices)))]
        elif one.log:
            values[one.key] = float(one.low * (one.high / one.low) ** rng.random())
        else:
            values[one.key] = one.number(round(one.low + rng.random() * (one.high - one.low), 4))
    return values


def loss_of(values):
    """Small at a learning rate of 1e-3, in whichever loss."""
    distance = np.log10(values["optimizer.learning_rate"]) + 3
    return 0.2 + 0.1 * float(distance**2)


def write_search(
    folder, space=SPACE, *, trials=20, search="random", monitor="val_loss", objective=loss_of,
    lost=0.0, running=0, predictions=0, seed=0,
):  # fmt: skip
    """A search of `trials` trials; `lost` is the share of those that failed.

    The best `predictions` trials have predictions of 60 validation images.
    """
    rng = np.random.default_rng(seed)
    describe(folder, space, search=search, monitor=monitor)
    records = SearchFolder(folder).records
    for number in range(trials):
        trial = records.begin(drawn_values(space, rng))
        if rng.random() < lost:
            records.end(trial, None, error=ERRORS[number % 3])
        else:
            records.end(trial, objective(trial.values), epochs=5, seconds=12.5)
    for _ in range(running):
        records.begin(drawn_values(space, rng))
    for rank, trial in enumerate(records.best_first(monitor)[:predictions]):
        right = round(60 * trial.result) if monitor == "val_accuracy" else 48 - 8 * rank
        write_validation(records.folder(trial), right)
    return folder


def describe(folder, space, *, search="random", monitor="val_loss", **more):
    write_description(
        folder,
        {
            "search": search,
            "space": space,
            "config": {"train": {"monitor": monitor, "epochs": 9}, "data": {"path": "plates"}},
            "data": "ab12" * 16,
            "versions": {"keras": "3.15.1"},
            "simulated": False,
            **more,
        },
    )


def write_validation(folder, right):
    """Predictions of 60 images of two classes, the first `right` of which are right."""
    names = [f"{number}.png" for number in range(60)]
    table = pd.DataFrame({"path": names, "label": np.resize(["a", "b"], 60)})
    of_true = np.where(np.arange(60) < right, 0.9, 0.2)
    first = np.where(np.arange(60) % 2 == 0, of_true, 1 - of_true)
    write_predictions(folder / "predictions_val.csv", table, np.stack([first, 1 - first], 1),
                      ("a", "b"))  # fmt: skip


def write_population(folder, members=4, generations=3):
    """A search by Population-Based Training in which the first member's line is the best."""
    space = {"optimizer.learning_rate": {"min": 1e-4, "max": 1e-1, "log": True},
             "augment.flip": [True, False]}  # fmt: skip
    describe(folder, space, search="pbt",
             population={"size": members, "generation_epochs": 3, "burn_in": 0})  # fmt: skip
    records = SearchFolder(folder).records
    for generation in range(generations):
        for member in range(members):
            values = {"optimizer.learning_rate": 0.01 * 0.8**generation / (member + 1),
                      "augment.flip": "true", "seed": member, GENERATION: generation,
                      FROM: 3 * generation, UNTIL: 3 * generation + 3}  # fmt: skip
            if generation:
                parent = 0 if member == members - 1 else member
                values[PARENT] = f"{(generation - 1) * members + parent:04d}"
            trial = records.begin(values)
            records.end(trial, 1.0 / (generation + 1) + 0.1 * member, epochs=values[UNTIL],
                        seconds=3.0, weights="00")  # fmt: skip
    return Path(folder)
