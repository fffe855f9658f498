"""Training settings per architecture: the study's Table 1, and where alloyk departs from it.

A recipe is a nested dictionary of configuration keys (`alloyk.config`), laid under whatever the
user's file and command line say.
"""


def merge(base: dict, update: dict) -> dict:
    """`update` over `base`, section by section.

    A section that names another loss, optimizer or schedule replaces the whole section: the
    momentum of SGD means nothing to Adam.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    >>> merge({"o": {"name": "sgd", "momentum": 0.9}}, {"o": {"name": "adam"}})
    {'o': {'name': 'adam'}}
    """
    merged = dict(base)
    for key, value in update.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        same_kind = both and value.get("name", old.get("name")) == old.get("name")
        merged[key] = merge(old, value) if same_kind else value
    return merged


# Table 1 of the study, but for the activations, which `alloyk.models.ARCHITECTURES` holds. The
# study's ranges for the rest: 50 to 200 epochs, batches of 16 to 64.
STUDY = {
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

# What the study's training has in common, within its stated ranges.
STUDY_TRAINING = {
    "schedule": {"name": "constant"},
    "train": {"epochs": 100, "batch_size": 32, "patience": 10, "start_from_epoch": 30},
}

# Where alloyk's own recipe differs, and the experiment that says so: docs/recipes.md.
ALLOYK = {
    # Keras' batch-norm averages (0.99) need more steps than a short training has.
    "resnet50": {"model": {"batch_norm_momentum": 0.9}},
    # Plain SGD at the table's rate has hardly begun after a short training.
    "resnet34": {
        "optimizer": {
            "name": "momentum",
            "learning_rate": 0.01,
            "weight_decay": 0.0001,
            "clip_norm": 1.0,
        },
    },
    # RMSprop as its authors ran it (Tan and Le, 2019, section 5: momentum 0.9, here with the
    # epsilon 0.001 of their published code); AdamW stayed near chance from scratch. Batch-norm
    # averages follow within an epoch, and no block is skipped: epochs are few here.
    "efficientnetb0": {
        "model": {"batch_norm_momentum": 0.9, "stochastic_depth": 0.0},
        "optimizer": {"momentum": 0.9, "epsilon": 0.001},
    },
}

ALLOYK_TRAINING = {
    "schedule": {"name": "cosine", "warmup_epochs": 2},
    "optimizer": {"clip_norm": 1.0},
    "train": {"epochs": 20, "batch_size": 32},
}


def recipe_settings(arch: str, recipe: str) -> dict:
    """The configuration keys that `recipe` (``study`` or ``alloyk``) sets for `arch`.

    An unknown name gives no settings: the check of the configuration names it.
    """
    table = STUDY.get(arch, {})
    if recipe == "study":
        return merge(table, STUDY_TRAINING)
    return merge(merge(table, ALLOYK_TRAINING), ALLOYK.get(arch, {}))
