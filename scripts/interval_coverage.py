"""How often the 95 % intervals hold the truth, in simulated experiments with plates.

    python scripts/interval_coverage.py                  # accuracy: plates, sizes, likeness
    python scripts/interval_coverage.py --figures        # every other figure, five classes

Likeness is the correlation between the images of one plate (beta-binomial). About 15 and 10
minutes on one core.
"""

import argparse

import numpy as np
import pandas as pd

from alloyk.metrics import classification_metrics
from alloyk.metrics.intervals import accuracy_interval, confidence_intervals
from alloyk.runs.predictions import Predictions

SIZES = {"1 image": (1, 2), "2": (2, 3), "5": (5, 6), "1 to 10": (1, 11), "1 to 40": (1, 41)}
ACCURACIES = (0.7, 0.8, 0.9, 0.95)


def accuracy_coverage(rng, experiments, resamples, plates, accuracy, likeness, sizes):
    held = 0
    for seed in range(experiments):
        share = np.full(plates, accuracy)
        if likeness:
            spread = 1 / likeness - 1
            share = rng.beta(accuracy * spread, (1 - accuracy) * spread, plates)
        plate = np.repeat(np.arange(plates), rng.integers(*sizes, plates))
        correct = rng.random(len(plate)) < share[plate]
        low, high = accuracy_interval(correct, plate, resamples=resamples, seed=seed)
        held += low <= accuracy <= high
    return held / experiments


def accuracy_table(experiments, resamples):
    rng = np.random.default_rng(0)
    print(f"accuracy, {experiments:,} experiments each")
    print(
        f"{'plates':>6} {'images':>9} {'likeness':>9}  " + "  ".join(f"{a:5}" for a in ACCURACIES)
    )
    for plates in (20, 50, 100, 300):
        for name, sizes in SIZES.items():
            for likeness in (0, 0.2, 0.6) if name != "1 image" else (0,):
                row = [
                    accuracy_coverage(rng, experiments, resamples, plates, a, likeness, sizes)
                    for a in ACCURACIES
                ]
                shares = "  ".join(f"{share:.3f}" for share in row)
                print(f"{plates:6} {name:>9} {likeness:9}  {shares}", flush=True)


def five_alloys(rng, plates, per_plate, skill, plate_noise):
    """Predictions whose decisions are alike within a plate; the last class is rare."""
    of_plate = rng.choice(5, plates, p=[0.25, 0.25, 0.2, 0.2, 0.1])
    plate = np.repeat(np.arange(plates), per_plate)
    y = of_plate[plate]
    logits = rng.normal(size=(len(y), 5)) + plate_noise * rng.normal(size=(plates, 5))[plate]
    logits[np.arange(len(y)), y] += skill
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame({"path": [str(i) for i in range(len(y))]}, dtype=object)
    table["plate_id"] = plate.astype(str).astype(object)
    return Predictions(table, tuple("ABCDE"), y, p.argmax(axis=1), p)


def at(figures, path):
    for part in path.split("."):
        figures = figures[part]
    return figures


def figures_table(experiments, resamples, plates=150, per_plate=4):
    rng = np.random.default_rng(1)
    print(f"five classes, {plates} plates of {per_plate} images, {experiments:,} experiments each")
    for skill, plate_noise in ((2.5, 0.5), (2.5, 1.5), (4.5, 1.0)):
        truth = classification_metrics(five_alloys(rng, 100_000, per_plate, skill, plate_noise))
        held, had = {}, {}
        for seed in range(experiments):
            predictions = five_alloys(rng, plates, per_plate, skill, plate_noise)
            figures = classification_metrics(predictions)
            found, _ = confidence_intervals(predictions, figures, resamples=resamples, seed=seed)
            for path, (low, high) in found.items():
                had[path] = had.get(path, 0) + 1
                held[path] = held.get(path, 0) + (low <= at(truth, path) <= high)
        print(f"true accuracy {truth['accuracy']:.3f}")
        for path in had:
            if "per_class" not in path or ".A." in path or ".E." in path:
                print(f"  {path:32} {held[path] / had[path]:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    table = figures_table if options.figures else accuracy_table
    table(options.experiments, options.resamples)


if __name__ == "__main__":
    main()
