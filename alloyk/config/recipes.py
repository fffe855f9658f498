"""Training settings per architecture: the study's Table 1, and where alloyk departs from it.

A recipe is a nested dictionary of configuration keys. It is the weakest source of settings: the
user's file and command line override it.
"""

from typing import Any

from alloyk.settings import overlay

Settings = dict[str, Any]

# Table 1 of the study, without the activations, which are in `alloyk.models.ARCHITECTURES`. The
# study's ranges for the rest: 50 to 200 epochs, batches of 16 to 64.
STUDY: dict[str, Settings] = {
    "fnn": {
        "optimizer": {"name": "sgd", "learning_rate": 0.01, "weight_decay": 0.001},
    },
    "cnn": {
        "optimizer": {"name": "adam", "learning_rate": 0.001, "weight_decay": 0.0001},
    },
    "resnet18": {
        "optimizer": {"name": "adam", "learning_rate": 0.001, "weight_decay": 0.0001},
    },
    "resnet34": {
        "optimizer": {"name": "sgd", "learning_rate": 0.01, "weight_decay": 0.0001},
    },
    "resnet50": {
        "optimizer": {"name": "rmsprop", "learning_rate": 0.0005, "weight_decay": 0.0005},
    },
    "vgg16": {
        "optimizer": {"name": "momentum", "learning_rate": 0.01, "weight_decay": 0.0001},
    },
    "vgg19": {
        "optimizer": {"name": "momentum", "learning_rate": 0.01, "weight_decay": 0.0001},
    },
    "efficientnetb0": {
        "optimizer": {"name": "rmsprop", "learning_rate": 0.002, "weight_decay": 0.0001},
    },
}

ARCHITECTURES = tuple(STUDY)

# Common to all training runs of the study, within its stated ranges.
STUDY_TRAINING: Settings = {
    "preprocess": {"repair": False, "normalize": "min_max", "upright": False},
    "schedule": {"name": "constant"},
    "train": {"epochs": 100, "batch_size": 32, "patience": 10, "start_from_epoch": 30},
}

# Where the recipe `alloyk` departs from Table 1; docs/recipe.md says what was tested.
ALLOYK: dict[str, Settings] = {
    # At Adam's usual rate of 0.001, one step can change all of a unit's thousands of weights at
    # once.
    "fnn": {
        "optimizer": {
            "name": "adam",
            "learning_rate": 0.0001,
            "weight_decay": 0.001,
            "clip_norm": 1.0,
        },
    },
    # Keras' default of 0.99 needs more steps than a short training run has.
    "resnet50": {"model": {"batch_norm_momentum": 0.9}},
    # SGD without momentum makes little progress in a short run at the table's learning rate.
    "resnet34": {
        "optimizer": {
            "name": "momentum",
            "learning_rate": 0.01,
            "weight_decay": 0.0001,
            "clip_norm": 1.0,
        },
    },
    # RMSprop as in Tan and Le (2019, section 5): momentum 0.9, and the epsilon of 0.001 of their
    # published code. Their epsilon outweighs the mean square of clipped gradients, so steps are
    # smaller than the table's rate says: it is doubled. With few epochs, the batch-norm averages
    # must converge within one, no block is dropped, and each block begins as an identity, so that
    # the first layers learn from the first step.
    "efficientnetb0": {
        "model": {
            "batch_norm_momentum": 0.9,
            "stochastic_depth": 0.0,
            "zero_init_residual": True,
        },
        "optimizer": {"learning_rate": 0.004, "momentum": 0.9, "epsilon": 0.001},
    },
}

ALLOYK_TRAINING: Settings = {
    "schedule": {"name": "cosine", "warmup_epochs": 2},
    "optimizer": {"clip_norm": 1.0},
    "train": {"epochs": 20, "batch_size": 32},
}

RELATIVE_LENGTH = {"fnn": 6}
"""Epochs as a multiple of those of other networks, wherever alloyk chooses them.

A dense network needs more steps, each of which takes a fraction of the time of other networks.
"""


def recipe_settings(arch: str, recipe: str) -> Settings:
    """The settings of a recipe for an architecture.

    Args:
        arch: One of `ARCHITECTURES`. Another name gives the settings common to all.
        recipe: `study` or `alloyk`.
    """
    table = STUDY.get(arch, {})
    if recipe == "study":
        return overlay(table, STUDY_TRAINING)
    common = lengthened(ALLOYK_TRAINING, arch)
    return override(overlay(table, common), ALLOYK.get(arch, {}))


def lengthened(settings: Settings, arch: str) -> Settings:
    """Settings for any network, with the epochs that this one needs.

    >>> lengthened({"train": {"epochs": 6}}, "fnn"), lengthened({"train": {"epochs": 6}}, "cnn")
    ({'train': {'epochs': 36}}, {'train': {'epochs': 6}})
    """
    epochs = settings["train"]["epochs"] * RELATIVE_LENGTH.get(arch, 1)
    return overlay(settings, {"train": {"epochs": epochs}})


def override(weaker: Settings, settings: Settings) -> Settings:
    """Return `settings` over weaker ones, such as those of a recipe or of the embedded default.

    A section in which `settings` chooses another kind by `name` loses the weaker keys: the
    momentum of SGD means nothing to Adam.

    >>> override({"o": {"name": "sgd", "rate": 0.1}}, {"o": {"decay": 0}})
    {'o': {'name': 'sgd', 'rate': 0.1, 'decay': 0}}
    >>> override({"o": {"name": "sgd", "momentum": 0.9}}, {"o": {"name": "adam"}})
    {'o': {'name': 'adam'}}
    """
    kept = {}
    for key, section in weaker.items():
        ours = settings.get(key)
        another = (
            isinstance(section, dict)
            and isinstance(ours, dict)
            and ours.get("name", section.get("name")) != section.get("name")
        )
        kept[key] = {} if another else section
    return overlay(kept, settings)
