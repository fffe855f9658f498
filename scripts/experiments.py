"""Trainings of the scripts that repeat experiments: a process each, resumed if interrupted."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]

DEFAULT = yaml.safe_load((ROOT / "alloyk/config/default.yaml").read_text(encoding="utf-8"))
# A training run has as many steps as five epochs of the embedded default, whatever its number of
# images.
IMAGES_SEEN = 5 * 0.70 * DEFAULT["data"]["simulate"]["images"]
WARMUP_SHARE = 0.1

Settings = dict[str, object]

# Linux' names → ours, the newest first.
INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx2": "AVX2"}

# What differed in an earlier embedded default, with which some results were made.
EARLIER_DEFAULT: Settings = {
    "preprocess.equalize": False,
    "augment.response": 0,
    "schedule.hold_fraction": 0,
    "schedule.warmup_epochs": 2,
}
# Network → what differed in its earlier recipe.
EARLIER_RECIPE: dict[str, Settings] = {
    "efficientnetb0": {"optimizer.learning_rate": 0.002, "model.zero_init_residual": False},
}


def plates(network: str, images: int, *, longer: int = 1) -> Settings:
    """The embedded default for a number of training images, without its data set.

    Args:
        network: Some need more steps (`alloyk.config.recipes.RELATIVE_LENGTH`).
        images: The fewer they are, the more epochs.
        longer: Times the epochs.
    """
    from alloyk.config.recipes import RELATIVE_LENGTH

    epochs = round(IMAGES_SEEN / images)
    epochs *= RELATIVE_LENGTH.get(network, 1) * longer
    sections = {key: DEFAULT[key] for key in ("preprocess", "augment", "schedule")}
    settings = {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.items()
    }
    return {
        **settings,
        "train.epochs": epochs,
        "schedule.warmup_epochs": round(WARMUP_SHARE * epochs, 1),
    }


def simulated(
    folder: Path,
    *,
    preset: str = "study",
    set: Mapping[str, Any] = MappingProxyType({}),
    **size: Any,
) -> Path:
    """A simulated data set in a folder, made on first use.

    Ends the process if the folder has a data set that was made with other options.

    Args:
        folder: Of the data set.
        preset: Of the simulator.
        set: Parameters of the simulator.
        size: Other options of `alloyk.simulate`.
    """
    import alloyk
    from alloyk.simulator.dataset.recipe import load_recipe, make_recipe

    if not folder.is_dir():
        alloyk.simulate(folder, preset=preset, set=set, **size)
    elif load_recipe(folder / "simulation.yaml") != make_recipe(preset, overrides=set, **size):
        sys.exit(
            f"{folder} must be simulated with the options of this script, got others in its "
            "simulation.yaml; delete the folder, or choose another one for the results"
        )
    return folder


def train(run: Path, settings: Settings, *, on_jax: bool = False) -> None:
    """Train unless the run is finished.

    In a process of its own, so that its CPU kernels are chosen for its network.

    Args:
        run: Run folder, whose name ends in the seed; the configuration is written beside it.
        settings: Dotted key → value.
        on_jax: Train with `scripts/train_on_jax.py`, for example on a GPU. An interrupted run
            starts again.
    """
    if (run / "model.keras").is_file() and (run / "metrics.json").is_file():
        return
    if on_jax:
        _train_on_jax(run, settings)
        return
    command = [sys.executable, "-m", "alloyk", "train", "--run", str(run)]
    if (run / "checkpoint" / "state.npz").is_file():
        command.append("--resume")
    else:
        shutil.rmtree(run, ignore_errors=True)
        run.parent.mkdir(parents=True, exist_ok=True)
        file = run.with_name(run.name + ".yaml")
        file.write_text(experiment_yaml(settings), encoding="utf-8")
        command.insert(4, str(file))
    subprocess.run(command, check=True, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL)


def _train_on_jax(run: Path, settings: Settings) -> None:
    seed = str(settings["seed"])
    shutil.rmtree(run, ignore_errors=True)
    run.parent.mkdir(parents=True, exist_ok=True)
    file = run.with_name(run.name.removesuffix(f"-{seed}") + ".yaml")
    file.write_text(experiment_yaml(settings), encoding="utf-8")
    for script, *options in (
        ("train_on_jax.py", str(file), "--runs", str(run.parent), "--seeds", seed),
        ("finish_jax_run.py", str(run)),
    ):
        command = [sys.executable, str(ROOT / "scripts" / script), *options]
        subprocess.run(command, check=True, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL)


def machine() -> str:
    """The processor, and the newest of the instructions that decide which kernels are fast."""
    from alloyk.runtime.kernels import cpu_flags, processor_name

    newest = [name for flag, name in INSTRUCTIONS.items() if flag in cpu_flags()]
    return f"{processor_name()} with {newest[0]}" if newest else processor_name()


def environment() -> dict[str, str]:
    """Environment variables for a child process that runs alloyk."""
    return {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}


def experiment_yaml(settings: Settings) -> str:
    """The settings as a configuration file."""
    from alloyk.config import dump_yaml

    return dump_yaml(nested(settings))


def nested(settings: Settings) -> Settings:
    """Sections of dotted keys.

    >>> nested({"train.epochs": 3, "seed": 1})
    {'train': {'epochs': 3}, 'seed': 1}
    """
    tree: Settings = {}
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})  # type: ignore[assignment]
        place[last] = value
    return tree
