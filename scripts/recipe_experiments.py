"""Train the recipe and one change of it at a time, several seeds each, on simulated plates.

    python scripts/recipe_experiments.py [--arch resnet18 efficientnetb0] [--only recipe adam …]
        [--seeds 0 1 2 3 4] [--training-images 2550] [--work saved_models/recipe]
        [--results docs/results/recipe] [--list]

Each training is a run in `--work`, resumed if it was interrupted and skipped if its result is
there. A result is `<arch>-<images>-<experiment>-<seed>.json` (settings, history, test accuracy,
seconds, kernels) with the test predictions beside it as `.csv`. `scripts/recipe_tables.py` makes
the tables of docs/recipe.md from them. One run of resnet18 takes about five minutes on two cores.
"""

import argparse
import json
from pathlib import Path

from experiments import EPOCHS, EPOCHS_OF, PLATES, ROOT, simulated, train

TEST_IMAGES = 1500
VALIDATION_IMAGES = 450

# Name → what differs from the recipe, most valuable first.
EXPERIMENTS: dict[str, dict[str, object]] = {
    "recipe": {},
    "table-optimizer": {},  # its kind, rate and decay in Table 1
    "average": {"train.average_weights": 0.99},
    "adam": {
        "optimizer.name": "adam",
        "optimizer.learning_rate": 0.001,
        "optimizer.clip_norm": 1.0,
    },
    "no-augmentation": dict.fromkeys(
        ("augment.rotation_deg", "augment.shift", "augment.crop", "augment.defects"), 0
    ),
    "min-max": {"preprocess.normalize": "min_max"},
    "log": {"preprocess.normalize": "log"},
    "equalized": {"preprocess.equalize": True},
    "batch-norm-0.99": {"model.batch_norm_momentum": 0.99},
    "no-warm-up": {"schedule.warmup_epochs": 0},
    "constant-rate": {"schedule.name": "constant"},
    "half-rate": {"optimizer.learning_rate": "half"},
    "double-rate": {"optimizer.learning_rate": "double"},
    "batch-16": {"train.batch_size": 16},
    "batch-64": {"train.batch_size": 64},
    "label-smoothing": {"loss.label_smoothing": 0.1},
    "stem-stride-1": {"model.stem_stride": 1},
    "no-clipping": {"optimizer.clip_norm": None},
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=["resnet18", "efficientnetb0"])
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--training-images", type=int, default=2550)
    parser.add_argument("--work", type=Path, default=ROOT / "saved_models" / "recipe")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "recipe")
    parser.add_argument("--list", action="store_true", help="print the trainings, run none")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    trainings = [
        (arch, name, seed)
        for name in options.only
        for arch in options.arch
        for seed in options.seeds
    ]
    for arch, name, seed in trainings:
        stem = f"{arch}-{options.training_images}-{name}-{seed}"
        done = (options.results / f"{stem}.json").is_file()
        print(f"{stem}: {'done' if done else 'to do'}", flush=True)
        if done or options.list:
            continue
        run = options.work / stem
        settings = settings_of(arch, name, seed, options)
        train(run, settings)
        keep(run, settings, options.results / stem, (arch, name, seed, options.training_images))


def settings_of(arch: str, name: str, seed: int, options: argparse.Namespace) -> dict[str, object]:
    """Dotted settings of one training; a changed rate is a multiple of the recipe's."""
    from alloyk.config.recipes import STUDY, recipe_settings

    total = options.training_images + VALIDATION_IMAGES + TEST_IMAGES
    ratios = [options.training_images, VALIDATION_IMAGES, TEST_IMAGES]
    settings = {
        "seed": seed,
        "data.path": str(dataset(options.work, total)),
        "data.ratios": [count / total for count in ratios],
        "model.arch": arch,
        "train.epochs": EPOCHS_OF.get(arch, EPOCHS),
        **PLATES,
        **EXPERIMENTS[name],
    }
    if name == "table-optimizer":
        for key, value in STUDY[arch]["optimizer"].items():
            settings[f"optimizer.{key}"] = value
    factor = {"half": 0.5, "double": 2.0}.get(str(settings.get("optimizer.learning_rate")))
    if factor:
        rate = recipe_settings(arch, "alloyk")["optimizer"]["learning_rate"]
        settings["optimizer.learning_rate"] = factor * rate
    return settings


def dataset(work: Path, images: int) -> Path:
    """Simulated plates, one image of each, made on first use; each split has its own plates."""
    folder = work / f"study-{images}"
    return simulated(folder, preset="study", images=images, image_size=64, seed=7)


def keep(
    run: Path, settings: dict[str, object], target: Path, about: tuple[str, str, int, int]
) -> None:
    """Write the result of a finished run."""
    import csv

    from alloyk import RunFolder

    folder = RunFolder(run)
    metrics = json.loads(folder.metrics_file.read_text(encoding="utf-8"))
    facts = json.loads(folder.facts_file.read_text(encoding="utf-8"))
    with folder.history_file.open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    with folder.predictions_file().open(newline="", encoding="utf-8") as file:
        rows = [[row["path"], row["label"], row["predicted"]] for row in csv.DictReader(file)]
    arch, name, seed, images = about
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(target.name + ".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "predicted"], *rows])
    result = {
        "arch": arch,
        "experiment": name,
        "seed": seed,
        "training_images": images,
        "settings": {key: value for key, value in settings.items() if key != "data.path"},
        "n": len(rows),
        "correct": sum(label == predicted for _, label, predicted in rows),
        "best_epoch": metrics["train"]["best_epoch"],
        "seconds": metrics["train"]["seconds"],
        "kernels": facts.get("cpu_kernels"),
        "packages": facts.get("packages"),
        "history": {
            column: [float(row[column]) for row in history]
            for column in ("loss", "accuracy", "val_loss", "val_accuracy")
        },
    }
    target.with_name(target.name + ".json").write_text(
        json.dumps(result, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
