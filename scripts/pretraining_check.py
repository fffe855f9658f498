"""Do weights trained on simulated radiographs help where few images have labels?

    python scripts/pretraining_check.py CASTINGS OUT [--labels 20 100 500] [--seeds 0 1 2]
        [--targets castings study] [--arch resnet18] [--results docs/results]

Trains a network on 20,000 simulated plates of four presets, then each target from few training
images per class, with these initial weights and without. Nothing else is set but the seed, which
also draws the images; a quarter as many images validate, all test images test. `castings` are real,
without test images that are copies of training images; `study` are simulated plates of their own.

Training runs that are done are not repeated. Prints a row for each, and writes the accuracies and
the gain with its 95 % interval over the seeds into `--results`/pretraining.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from defaults_check import answers, without_copies
from experiments import ROOT, environment, simulated
from result_pages import student_interval

from alloyk.config.recipes import ARCHITECTURES

PRESETS = ("study", "alloys5", "hard2", "hard5")
IMAGES_PER_PRESET, SIDE = 5000, 64
STUDY_IMAGES = (1200, 400)  # to draw training and validation images from
TEST_IMAGES = 1500
TARGETS = ("castings", "study")
# The weights of a dense network fit one image size.
ANY_SIDE = [arch for arch in ARCHITECTURES if arch != "fnn"]
# Plates of the target are not those of pretraining.
PRETRAINING_SEED, TARGET_SEED = 21, 22
WAYS = ("from scratch", "pretrained")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("castings", type=Path, help="class folders in folders of splits")
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 100, 500])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--arch", choices=ANY_SIDE, default="resnet18")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    weights = pretrained(options)
    for target in options.targets:
        data = target_images(options, target)
        for labels in options.labels:
            found = {
                way: [
                    accuracy(options, data, labels, seed, weights if way == "pretrained" else None)
                    for seed in options.seeds
                ]
                for way in WAYS
            }
            keep(options, target, labels, found)


def pretrained(options: argparse.Namespace) -> Path:
    """A network trained on plates of all presets, whose classes are the five alloys."""
    tables = []
    for preset in PRESETS:
        folder = simulated(
            options.out / "plates" / preset, preset=preset, images=IMAGES_PER_PRESET,
            image_size=SIDE, seed=PRETRAINING_SEED,
        )  # fmt: skip
        table = pd.read_csv(folder / "manifest.csv", dtype=str)
        tables.append(
            pd.DataFrame(
                {
                    "path": preset + "/" + table["path"],
                    "label": table["alloy"],
                    "plate_id": preset + "-" + table["plate_id"],
                }
            )
        )
    manifest = options.out / "plates" / "manifest.csv"
    pd.concat(tables).to_csv(manifest, index=False)
    run = options.out / f"pretraining-{options.arch}"
    train(run, manifest, options.arch, seed=0)
    return run / "model.keras"


def target_images(options: argparse.Namespace, target: str) -> Path:
    """Class folders in folders of splits."""
    import alloyk

    if target == "castings":
        return without_copies(options.castings, options.out / "castings")
    data = options.out / "study"
    if not data.is_dir():
        parts = (*STUDY_IMAGES, TEST_IMAGES)
        images = sum(parts)
        folder = simulated(
            options.out / "study-plates", images=images, image_size=SIDE, seed=TARGET_SEED
        )
        ratios = tuple(part / images for part in parts)
        alloyk.split(folder, data, ratios=ratios, seed=0)  # type: ignore[arg-type]
    return data


def accuracy(
    options: argparse.Namespace, data: Path, labels: int, seed: int, weights: Path | None
) -> float:
    """Of the test images, after training on this number of images per class."""
    way = "scratch" if weights is None else "pretrained"
    run = options.out / f"{data.name}-{options.arch}-{labels}-{way}-{seed}"
    manifest = few_labels(data, labels, seed)
    train(run, manifest, options.arch, seed, weights)
    right = answers(run / "predictions.csv")
    found = sum(right.values()) / len(right)
    print(
        f"{data.name:9s} {labels:4d} labels per class, {way}, seed {seed}: {found:.4f}", flush=True
    )
    return found


def few_labels(data: Path, labels: int, seed: int) -> Path:
    """A manifest of a part of the training and validation images, and of all test images."""
    draw = np.random.default_rng(seed)
    rows = []
    for split, most in (("train", labels), ("val", max(labels // 4, 5)), ("test", None)):
        for folder in sorted(path for path in (data / split).iterdir() if path.is_dir()):
            files = sorted(folder.iterdir())
            if most is not None:
                if most > len(files):
                    raise SystemExit(f"{folder} has {len(files)} images, fewer than {most}")
                files = [files[i] for i in draw.choice(len(files), most, replace=False)]
            rows += [(file.relative_to(data).as_posix(), folder.name, split) for file in files]
    manifest = data / f"few-{labels}-{seed}.csv"
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(manifest, index=False)
    return manifest


def train(run: Path, manifest: Path, arch: str, seed: int, weights: Path | None = None) -> None:
    """`alloyk train`, resumed if it was interrupted, unless it is done."""
    if (run / "metrics.json").is_file() and (run / "model.keras").is_file():
        return
    command = [sys.executable, "-m", "alloyk", "train", "--run", str(run)]
    if (run / "checkpoint" / "state.npz").is_file():
        command.append("--resume")
    else:
        command += ["--data", str(manifest), "--arch", arch, "--set", f"seed={seed}"]
        command += ["--set", f"model.weights={weights}"] if weights else []
    subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)


def keep(
    options: argparse.Namespace, target: str, labels: int, found: dict[str, list[float]]
) -> None:
    """Print the gain, and write it with the accuracies."""
    gains = np.subtract(found["pretrained"], found["from scratch"])
    result = {
        "target": target, "arch": options.arch, "labels_per_class": labels, "seeds": options.seeds,
        "accuracy": found, "gain": float(gains.mean()),
    }  # fmt: skip
    line = f"{target}, {labels} labels per class: gain {gains.mean():+.4f}"
    if len(gains) > 1:
        _, low, high = student_interval(gains.tolist())
        result["interval"] = [low, high]
        line += f" [{low:+.4f}, {high:+.4f}]"
    print(line, flush=True)
    file = options.results / "pretraining" / f"{options.arch}-{target}-{labels}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
