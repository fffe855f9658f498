"""Train the experiments of a plan, several seeds each, on simulated plates.

    python scripts/run_experiments.py PLAN [--networks resnet18 …] [--only recipe adam …]
        [--seeds 0 1 2] [--training-images 2550] [--work saved_models/experiments]
        [--results docs/results] [--list]

A training run whose result is in `--results` is not repeated; to repeat one, give another folder.

`PLAN` is one of `experiment_plans.PLANS`. Each run has a folder in `--work`. It is resumed if it
was interrupted, and skipped if its result is there. A result in `--results`/PLAN is
`<network>-<images>-<experiment>-<seed>.json` (settings, history, test accuracy, ceiling, the
plan's controls, seconds, kernels) with the test predictions beside it as `.csv`.
`scripts/experiment_tables.py` makes the tables of the pages from them. One run
of resnet18 takes about ten minutes on two cores.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from experiment_plans import PLANS, TEST_IMAGES, VALIDATION_IMAGES, Plan
from experiments import ROOT, Settings, environment, plates, simulated, train
from result_pages import keep_predictions

from alloyk.config.recipes import ARCHITECTURES

# Seeds of the simulated plates: other plates for a test set of its own.
PLATES_SEED, TEST_PLATES_SEED = 7, 8


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("plan", choices=PLANS)
    parser.add_argument(
        "--networks", nargs="+", choices=ARCHITECTURES, help="by default those of the plan"
    )
    parser.add_argument("--only", nargs="+", metavar="EXPERIMENT", help="by default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--training-images", type=int, default=2550)
    parser.add_argument("--work", type=Path, default=ROOT / "saved_models" / "experiments")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument(
        "--on-jax", action="store_true", help="train with scripts/train_on_jax.py, as on a GPU"
    )
    parser.add_argument("--list", action="store_true", help="print the training runs, run none")
    options = parser.parse_args()
    unknown = set(options.only or ()) - set(PLANS[options.plan].changes)
    if unknown:
        known = ", ".join(PLANS[options.plan].changes)
        parser.error(f"--only must be among {known}; got {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = parse_arguments()
    plan = PLANS[options.plan]
    for name in options.only or plan.changes:
        for network in options.networks or plan.networks:
            if changes_nothing(plan, network, name):
                print(f"{options.plan}: {name} is what the recipe of {network} has")
                continue
            for seed in options.seeds:
                run_one(options, network, name, seed)


def changes_nothing(plan: Plan, network: str, name: str) -> bool:
    """Whether all that an experiment changes is the optimizer, to what the recipe has."""
    from alloyk.config.recipes import recipe_settings

    changed = {**plan.changes[name], **table_optimizer(network, name)}
    recipe = recipe_settings(network, "alloyk")["optimizer"]
    own = {f"optimizer.{key}": value for key, value in recipe.items()}
    return bool(changed) and all(key in own and own[key] == changed[key] for key in changed)


def table_optimizer(network: str, name: str) -> Settings:
    """The optimizer of Table 1, for the experiment that takes it."""
    from alloyk.config.recipes import STUDY

    if name != "table-optimizer":
        return {}
    return {f"optimizer.{key}": value for key, value in STUDY[network]["optimizer"].items()}


def run_one(options: argparse.Namespace, network: str, name: str, seed: int) -> None:
    """Train, test and keep one training run, unless its result is there."""
    plan, images = PLANS[options.plan], options.training_images
    stem = f"{network}-{images}-{name}-{seed}"
    target = options.results / options.plan / stem
    done = target.with_name(f"{stem}.json").is_file()
    state = "done; --results FOLDER trains it again" if done else "to do"
    print(f"{options.plan}/{stem}: {state}", flush=True)
    if done or options.list:
        return
    work = options.work / options.plan
    settings = settings_of(plan, network, name, seed, images, work)
    train(work / stem, settings, on_jax=options.on_jax)
    tested = work / stem
    if plan.balanced_test:
        tested = balanced_test(plan, work / stem, work)
    about = {"arch": network, "experiment": name, "seed": seed, "training_images": images}
    if plan.baselines:
        evaluate_baselines(plan, work / stem)
    keep(work / stem, tested, settings, about, target, probabilities=plan.votes)


def evaluate_baselines(plan: Plan, run: Path) -> None:
    """Evaluate the controls of a plan beside a run, into its folder."""
    command = [sys.executable, "-m", "alloyk", "evaluate", str(run)]
    command += [f"--{name}-control" for name in plan.baselines]
    subprocess.run(command, check=True, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL)


def settings_of(
    plan: Plan, network: str, name: str, seed: int, images: int, work: Path
) -> Settings:
    """Dotted settings of one training run; a changed rate is a multiple of the recipe's."""
    from alloyk.config.recipes import recipe_settings

    counts = [images, VALIDATION_IMAGES, TEST_IMAGES]
    data = simulated(
        work / f"data-{sum(counts)}", preset=plan.preset, images=sum(counts), image_size=64,
        seed=PLATES_SEED, **plan.simulator,
    )  # fmt: skip
    settings: Settings = {
        "seed": seed,
        "data.path": str(data),
        "data.ratios": [count / sum(counts) for count in counts],
        "model.arch": network,
        **plates(network, images, longer=plan.longer),
        **plan.base,
        **plan.changes[name],
        **table_optimizer(network, name),
    }
    factor = {"half": 0.5, "double": 2.0}.get(str(settings.get("optimizer.learning_rate")))
    if factor:
        rate = recipe_settings(network, "alloyk")["optimizer"]["learning_rate"]
        settings["optimizer.learning_rate"] = factor * rate
    return settings


def balanced_test(plan: Plan, run: Path, work: Path) -> Path:
    """Test a run on plates of its own, as many of each class; the folder with the result."""
    even = {key: value for key, value in plan.simulator.items() if key != "imbalance"}
    even.pop("class_order", None)
    data = simulated(
        work / "balanced-test", preset=plan.preset, images=TEST_IMAGES, image_size=64,
        seed=TEST_PLATES_SEED, **even,
    )  # fmt: skip
    tested = run / "balanced-test"
    command = [sys.executable, "-m", "alloyk", "evaluate", str(run), "--data", str(data)]
    command += ["--split", "all", "--out", str(tested)]
    subprocess.run(command, check=True, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL)
    return tested


def keep(
    run: Path,
    tested: Path,
    settings: Settings,
    about: dict[str, object],
    target: Path,
    *,
    probabilities: bool = False,
) -> None:
    """Write the result of a finished run.

    Args:
        run: Its folder.
        tested: Folder with the metrics and predictions of the test.
        settings: Of the training.
        about: Network, experiment, seed and number of training images.
        target: The files to write, without their endings.
        probabilities: Keep them too, to four decimals.
    """
    from alloyk import RunFolder

    trained, result = RunFolder(run), RunFolder(tested)
    metrics = json.loads(result.metrics_file.read_text(encoding="utf-8"))
    training = json.loads(trained.metrics_file.read_text(encoding="utf-8"))["train"]
    facts = json.loads(trained.facts_file.read_text(encoding="utf-8"))
    with trained.history_file.open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    [predictions] = (
        tested.glob("predictions*.csv") if tested != run else [result.predictions_file()]
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = keep_predictions(
        predictions, target.with_name(target.name + ".csv"), ["path", "label", "predicted"],
        probabilities=probabilities,
    )  # fmt: skip
    kept = {
        **about,
        "settings": {key: value for key, value in settings.items() if key != "data.path"},
        "n": len(rows),
        "correct": int((rows["label"] == rows["predicted"]).sum()),
        "ceiling": metrics.get("ceiling"),
        "baselines": {
            name: one["accuracy"] for name, one in (metrics.get("controls") or {}).items()
        },
        "mae": {column: one["mae"] for column, one in (metrics.get("regression") or {}).items()},
        "best_epoch": training["best_epoch"],
        "seconds": training["seconds"],
        "kernels": facts.get("cpu_kernels"),
        "packages": facts.get("packages"),
        "history": {
            column: [float(row[column]) for row in history]
            for column in ("loss", "accuracy", "val_loss", "val_accuracy")
        },
    }
    target.with_name(target.name + ".json").write_text(
        json.dumps(kept, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
