"""The experiments of docs/, one plan for each table: what is trained and what is changed.

`scripts/run_experiments.py` trains them, `scripts/experiment_tables.py` writes the tables.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from experiments import EARLIER_DEFAULT, EARLIER_RECIPE, Settings

TEST_IMAGES = 1500
VALIDATION_IMAGES = 450


class Plan(NamedTuple):
    """Experiments that share plates and settings, and differ from the first of them.

    Attributes:
        page: Page of `docs/` with the table.
        preset: Of the simulator.
        networks: Trained unless others are asked for.
        base: Settings of every training run, over `experiments.plates`.
        changes: Experiment → settings that differ. The first one is compared with all others.
        measures: Columns of the table: `accuracy`, `macro_f1`, `recall CLASS`, or `mae COLUMN` of
            a number that the network estimates. The first one is given for each seed, with its
            difference from the first experiment.
        simulator: Options of `alloyk.simulate` for training and validation images.
        balanced_test: Test on plates made without `imbalance`, instead of a part of the data set.
        baselines: Controls of `alloyk evaluate`, `noise` or `classical`, in columns of their own.
        votes: Keep the probabilities, and add a table of the soft votes of training runs.
        longer: Times the usual epochs.
    """

    page: str
    preset: str
    networks: tuple[str, ...]
    base: Settings
    changes: dict[str, Settings]
    measures: tuple[str, ...] = ("accuracy",)
    simulator: Mapping[str, Any] = MappingProxyType({})
    balanced_test: bool = False
    baselines: tuple[str, ...] = ()
    votes: bool = False
    longer: int = 1


# What decides convergence, most valuable first.
RECIPE_CHANGES: dict[str, Settings] = {
    "recipe": {},
    "table-optimizer": {},  # its kind, rate and decay in Table 1
    "average": {"train.average_weights": 0.99},
    "adam": {
        "optimizer.name": "adam",
        "optimizer.learning_rate": 0.001,
        "optimizer.clip_norm": 1.0,
    },
    "no-augmentation": {
        f"augment.{change}": 0
        for change in ("rotation_deg", "shift", "crop", "response", "defects")
    },
    "min-max": {"preprocess.normalize": "min_max"},
    "log": {"preprocess.normalize": "log"},
    "not-equalized": {"preprocess.equalize": False},
    "batch-norm-0.99": {"model.batch_norm_momentum": 0.99},
    "no-warm-up": {"schedule.warmup_epochs": 0},
    "not-held": {"schedule.hold_fraction": 0},
    "constant-rate": {"schedule.hold_fraction": 1},
    "half-rate": {"optimizer.learning_rate": "half"},
    "double-rate": {"optimizer.learning_rate": "double"},
    "batch-16": {"train.batch_size": 16},
    "batch-64": {"train.batch_size": 64},
    "label-smoothing": {"loss.label_smoothing": 0.1},
    "stem-stride-1": {"model.stem_stride": 1},
    "zero-init-residual": {"model.zero_init_residual": True},
    "not-zero-init": {"model.zero_init_residual": False},
    "no-clipping": {"optimizer.clip_norm": None},
}

# The small network, half as wide as by default: a step takes a third of the time.
SMALL_CNN: Settings = {"model.width": 16}

# Class weights are `class_balanced` with β near 1 (inverse frequencies); logit adjustment in
# training is `balanced_softmax` with its temperature `tau` (Menon et al. 2021, equation 10).
LONG_TAIL_CHANGES: dict[str, Settings] = {
    "cross-entropy": {"loss.name": "cross_entropy"},
    "focal": {"loss.name": "focal"},
    "class-balanced": {"loss.name": "class_balanced", "loss.beta": 0.99},
    "class-weights": {"loss.name": "class_balanced", "loss.beta": 0.9999},
    "class-balanced-focal": {"loss.name": "class_balanced_focal", "loss.beta": 0.99},
    "balanced-softmax": {"loss.name": "balanced_softmax"},
    "balanced-softmax-tau-1.5": {"loss.name": "balanced_softmax", "loss.tau": 1.5},
    "resampling": {"loss.name": "cross_entropy", "data.sampling": "class_aware"},
}

REPRESENTATION_CHANGES: dict[str, Settings] = {
    "robust": {},
    "min-max": {"preprocess.normalize": "min_max"},
    "log": {"preprocess.normalize": "log"},
    "full-scale": {"preprocess.normalize": "full_scale"},
    "robust-equalized": {"preprocess.equalize": True},
    "min-max-equalized": {"preprocess.normalize": "min_max", "preprocess.equalize": True},
    # The histogram has 256 levels: equalised after rounding to 8 bit, not before.
    "robust-equalized-8-bit": {"preprocess.equalize": True, "preprocess.levels": 256},
}

VOLTAGES_KVP = [40, 45, 50]

VOLTAGE_CHANGES: dict[str, Settings] = {
    "50-kv": {"data.channels.values": ["50"]},
    "40-45-50-kv": {"data.channels.values": [f"{voltage}" for voltage in VOLTAGES_KVP]},
}

FIVE_ALLOYS = ("1050", "7075", "2017", "6082", "5083")


def long_tail(imbalance: float) -> Plan:
    """Al 6082 and 5083, the two that are hardest to tell apart from 1050, are in the tail."""
    return Plan(
        page="long_tail.md",
        preset="alloys5",
        networks=("cnn",),
        base=SMALL_CNN | EARLIER_DEFAULT,
        changes=LONG_TAIL_CHANGES,
        measures=("macro_f1", "accuracy", "recall 1050", "recall 6082", "recall 5083"),
        simulator={"imbalance": imbalance, "class_order": FIVE_ALLOYS},
        balanced_test=True,
    )


# In the full layout only the level and the noise tell the alloys apart. Augmentation must change
# neither: rotation, shift and crop resample training images, whose noise is then weaker than that
# of test images. There is no edge of the plate by which an image could be turned upright.
AS_MEASURED: Settings = {
    "preprocess.upright": False,
    **{f"augment.{change}": 0 for change in ("rotation_deg", "shift", "crop", "response")},
}


def representation(layout: str) -> Plan:
    return Plan(
        page="preprocessing.md",
        preset="study",
        networks=("cnn",),
        base=SMALL_CNN | {"preprocess.equalize": False} | (AS_MEASURED if layout == "full" else {}),
        changes=REPRESENTATION_CHANGES,
        simulator={"set": {"layout.name": layout}},
        baselines=("noise", "classical") if layout == "step" else ("noise",),
    )


def voltages(preset: str) -> Plan:
    """One image of each plate, or one at each voltage in the same pose."""
    return Plan(
        page="five_alloys.md",
        preset=preset,
        networks=("cnn",),
        base=SMALL_CNN | {"preprocess.equalize": False},  # which would erase the ratio of channels
        changes=VOLTAGE_CHANGES,
        measures=("accuracy", "macro_f1"),
        simulator={"set": {"tube.channels_kvp": VOLTAGES_KVP}},
        longer=3,
    )


def thickness_task(preset: str) -> Plan:
    """The alloy alone, or with the plate's thickness as a second task."""
    return Plan(
        page="five_alloys.md",
        preset=preset,
        networks=("cnn",),
        base={},
        changes={
            "alloy": {},
            "alloy-and-thickness": {"model.tasks": ["alloy", "thickness"]},
            "not-equalized": {"preprocess.equalize": False},
            "earlier-recipe": EARLIER_RECIPE["efficientnetb0"],
        },
        measures=("accuracy", "macro_f1", "mae true_thickness_mm"),
        votes=True,
        longer=3,
    )


# Name of the plan and of its folder in docs/results/ → plan.
PLANS: dict[str, Plan] = {
    "recipe": Plan("recipe.md", "study", ("resnet18", "efficientnetb0"), {}, RECIPE_CHANGES),
    "long_tail_10": long_tail(10),
    "long_tail_100": long_tail(100),
    "voltages": voltages("alloys5"),
    "voltages_hard2": voltages("hard2"),
    "alloys5": thickness_task("alloys5"),
    "hard2": thickness_task("hard2"),
    "hard5": Plan(
        "five_alloys.md",
        "hard5",
        ("fnn", "cnn", "resnet18", "efficientnetb0"),
        {},
        {"alloy": {}, "earlier-recipe": EARLIER_RECIPE["efficientnetb0"]},
        ("accuracy", "macro_f1"),
        votes=True,
        longer=3,
    ),
    "representation_step": representation("step"),
    "representation_full": representation("full"),
}

# The default and the setting that scripts/search_gain.py finds and trains.
SEARCH = "search_hard2"
SEARCH_PLAN = Plan("tuning.md", "hard2", ("cnn",), {}, {"default": {}, "found": {}})
