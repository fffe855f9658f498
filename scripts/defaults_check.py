"""Defaults without any setting against a plain Keras script and a forest, on real radiographs.

    python scripts/defaults_check.py FOLDER_OF_SETS OUT [--sets castings threatobjects fishbones]
        [--seeds 0 1 2] [--epochs 20] [--image-size 96] [--trials 20]

For each data set and seed, on the same split (test images that are copies of training images are
left out first; docs/data.md says where the sets are from):

- alloyk: `alloyk train --data …`, only the seed is set
- plain: `scripts/baseline_plain_keras.py` with resnet18 and `--epochs`, images at most
  `--image-size`
- forest: 300 trees on means of 16 × 16 blocks, of the images and of the equalised images
- random, with `--trials` only: of so many random settings of `configs/tune_ARCH.yaml` around the
  defaults (`alloyk tune --search random`) the best on the validation images, trained once more;
  the network is that of the defaults, and all seeds are compared with this one training run

Prints the mean accuracy over the seeds, and alloyk minus each other with a 95 % interval from a
paired bootstrap over the test images (each with its mean over the seeds), and writes
OUT/defaults_check.json. Trainings that are done are not repeated.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPTS = Path(__file__).resolve().parent
WAYS = ("alloyk", "plain", "forest", "random")
SETS = ("castings", "threatobjects", "fishbones")
TREES = 300
DRAWS = 10_000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder_of_sets", metavar="FOLDER_OF_SETS", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--trials", type=int, help="random settings to try; none if not given")
    options = parser.parse_args()
    for name in options.sets:
        if not (options.folder_of_sets / name).is_dir():
            parser.error(
                f"FOLDER_OF_SETS must have a folder {name}, got {options.folder_of_sets}; "
                "--sets chooses the data sets"
            )
    return options


def main() -> None:
    options = parse_arguments()
    written = options.out / "defaults_check.json"
    results = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
    for name in options.sets:
        data = without_copies(options.folder_of_sets / name, options.out / name / "sorted")
        right: dict[str, list[dict[str, bool]]] = {way: [] for way in WAYS}
        for seed in options.seeds:
            right["alloyk"].append(alloyk_answers(options, name, data, seed))
            right["plain"].append(plain_answers(options, name, data, seed))
            right["forest"].append(forest_answers(data, seed))
            report(name, right, results)
            written.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        if options.trials:
            right["random"].append(random_answers(options, name, data))
            report(name, right, results)
            written.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def without_copies(source: Path, target: Path) -> Path:
    """Copy a data set into split folders, without test images that are also training images."""
    from alloyk.auditing.scan import scan_images
    from alloyk.data import SPLITS, load_dataset

    if target.is_dir():
        return target
    dataset = load_dataset(source)
    paths = {name: dataset.paths(name) for name in SPLITS}
    digests = {name: list(scan_images(paths[name]).measures["digest"]) for name in SPLITS}
    learnt = {*digests["train"], *digests["val"]}
    unfinished = target.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for split in SPLITS:
        for path, digest in zip(paths[split], digests[split], strict=True):
            if split == "test" and digest in learnt:
                continue
            copy = unfinished / split / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    unfinished.rename(target)
    return target


def alloyk_answers(
    options: argparse.Namespace, name: str, data: Path, seed: int
) -> dict[str, bool]:
    """Test image → whether it is classified correctly."""
    run = options.out / name / f"alloyk-{seed}"
    return trained_answers(run, "--data", data, "--set", f"seed={seed}")


def trained_answers(run: Path, *arguments: str | Path) -> dict[str, bool]:
    """The same of `alloyk train` with these arguments; a run that is done is not repeated."""
    if not (run / "metrics.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        alloyk("train", *arguments, "--run", run)
    return answers(run / "predictions.csv")


def alloyk(*arguments: str | Path) -> None:
    """Run a command of alloyk in a process of its own."""
    command = [sys.executable, "-m", "alloyk", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def random_answers(options: argparse.Namespace, name: str, data: Path) -> dict[str, bool]:
    """The same of the best of `--trials` random settings, chosen on the validation images."""
    from alloyk.runs.folder import RunFolder

    folder = options.out / name
    network = RunFolder(folder / f"alloyk-{options.seeds[0]}").settings.arch
    search = folder / "random"
    alloyk(
        "tune", "--search", "random", "--trials", f"{options.trials}", "--out", search,
        "--space", SCRIPTS.parent / "configs" / f"tune_{network}.yaml",
        "--arch", network, "--data", data,
    )  # fmt: skip
    return trained_answers(folder / "random-best", search / "best.yaml")


def plain_answers(options: argparse.Namespace, name: str, data: Path, seed: int) -> dict[str, bool]:
    """The same of the plain script; images are not enlarged."""
    from alloyk.auditing.scan import scan_images

    out = options.out / name / f"plain-{seed}"
    if not (out / "predictions.csv").is_file():
        measures = scan_images(sorted((data / "train").glob("*/*"))[:200]).measures
        side = int(min(measures["height"].median(), measures["width"].median()))
        size = min(side, options.image_size)
        command = [
            sys.executable, str(SCRIPTS / "baseline_plain_keras.py"), str(data), str(out),
            "--image-size", str(size), "--epochs", str(options.epochs), "--seed", str(seed),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return answers(out / "predictions.csv")


def forest_answers(data: Path, seed: int) -> dict[str, bool]:
    """The same of a random forest on block means."""
    from sklearn.ensemble import RandomForestClassifier

    from alloyk.auditing.scan import scan_images

    def features(split: str) -> tuple[np.ndarray, list[str], list[str]]:
        paths = sorted((data / split).glob("*/*"))
        scan = scan_images(paths)
        thumbs = scan.thumbs.reshape(len(paths), -1).astype(np.float32)
        equalized = scan.equalized.reshape(len(paths), -1).astype(np.float32)
        labels = [path.parent.name for path in paths]
        names = [f"{path.parent.name}/{path.stem}" for path in paths]
        return np.hstack([thumbs, equalized]), labels, names

    images, labels, _ = features("train")
    forest = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=seed)
    forest.fit(images, labels)
    images, labels, names = features("test")
    found = forest.predict(images)
    return {name: label == one for name, label, one in zip(names, labels, found, strict=True)}


def answers(file: Path) -> dict[str, bool]:
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {
        "/".join(Path(row["path"]).with_suffix("").parts[-2:]): row["label"] == row["predicted"]
        for row in rows
    }


def report(name: str, right: dict[str, list[dict[str, bool]]], results: dict[str, object]) -> None:
    """Print the accuracies, and the paired differences with their intervals."""
    images = sorted(right["alloyk"][0])
    ways = [way for way in WAYS if right[way]]
    mean = {way: np.mean([[one[i] for i in images] for one in right[way]], axis=0) for way in ways}
    seeds = len(right["alloyk"])
    print(f"{name}: {len(images)} test images, {seeds} seeds", flush=True)
    found: dict[str, object] = {"test_images": len(images), "seeds": seeds}
    draws = np.random.default_rng(0).integers(0, len(images), (DRAWS, len(images)))
    for way in ways:
        each = [float(np.mean([one[i] for i in images])) for one in right[way]]
        found[way] = each
        line = f"  {way:7s} {np.mean(each):.4f}  (" + ", ".join(f"{a:.4f}" for a in each) + ")"
        if way != "alloyk":
            difference = mean["alloyk"] - mean[way]
            low, high = np.quantile(difference[draws].mean(axis=1), [0.025, 0.975])
            line += f"  alloyk minus {way} {difference.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
            found[f"minus_{way}"] = [float(difference.mean()), float(low), float(high)]
        print(line, flush=True)
    results[name] = found


if __name__ == "__main__":
    main()
