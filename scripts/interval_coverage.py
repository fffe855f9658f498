"""How often the 95 % intervals hold the truth, in simulated experiments with plates.

    python scripts/interval_coverage.py                  # accuracy: plates, sizes, likeness
    python scripts/interval_coverage.py --figures        # every other figure, five classes
    python scripts/interval_coverage.py --rare           # means over a common and a rare class
    python scripts/interval_coverage.py --bounds         # one-sided: error rate, loss of accuracy

Likeness is the correlation between the images of one plate (beta-binomial). About 15, 10, 4 and 3
minutes on one core.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from alloyk.metrics import classification_metrics
from alloyk.metrics.bounds import upper_bound
from alloyk.metrics.intervals import accuracy_interval, confidence_intervals
from alloyk.metrics.significance import least_difference
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


BOUNDED = (
    (60, 6, 0.05),
    (60, 6, 0.1),
    (300, 6, 0.0125),
    (300, 6, 0.05),
    (1800, 1, 0.003),
    (1800, 1, 0.01),
)
LOSSES_AND_GAINS = ((0.005, 0.0), (0.01, 0.0), (0.01, 0.005), (0.02, 0.01), (0.05, 0.05))


def events(rng, share, likeness, plate):
    """Which images something happens to, alike within a plate, `(n,)` bool."""
    rate = np.full(plate.max() + 1, share)
    if likeness:
        spread = 1 / likeness - 1
        rate = rng.beta(share * spread, (1 - share) * spread, len(rate))
    return rng.random(len(plate)) < rate[plate]


def bounds_table(experiments, resamples):
    rng = np.random.default_rng(2)
    print(
        f"upper bound of the error rate, {experiments:,} experiments each: share that it holds in"
    )
    for plates, per_plate, share in BOUNDED:
        plate = np.repeat(np.arange(plates), per_plate)
        row = []
        for likeness in (0, 0.3, 0.7) if per_plate > 1 else (0,):
            held = [
                upper_bound(events(rng, share, likeness, plate), plate) >= share
                for _ in range(experiments)
            ]
            row.append(f"{np.mean(held):.3f}")
        print(f"{plates:6} plates of {per_plate}, true {share:6.2%}  {' / '.join(row)}", flush=True)
    print("lower bound of the difference of two accuracies")
    for plates, per_plate in ((300, 6), (1800, 1)):
        plate = np.repeat(np.arange(plates), per_plate)
        for losses, gains in LOSSES_AND_GAINS:
            row = []
            for likeness in (0, 0.3, 0.7) if per_plate > 1 else (0,):
                held = []
                for seed in range(experiments):
                    differs = events(rng, losses + gains, likeness, plate)
                    lost = (rng.random(plates) < losses / (losses + gains))[plate]
                    found = least_difference(
                        ~(differs & ~lost), ~(differs & lost), plate, resamples=resamples, seed=seed
                    )
                    held.append(found <= gains - losses + 1e-12)
                row.append(f"{np.mean(held):.3f}")
            print(
                f"{plates:6} plates of {per_plate}, losses {losses:.1%}, gains {gains:.1%}  "
                f"{' / '.join(row)}",
                flush=True,
            )


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


RARE = ((5, 0.9), (10, 0.9), (20, 0.95), (40, 0.98))
MEANS = ("balanced_accuracy", "macro.precision", "macro.f1", "macro.average_precision")


def rare_table(experiments, resamples, common=100, recall=0.9):
    """A common class, and one with few plates, which often has no error at all."""
    rng = np.random.default_rng(3)
    print(f"{common} plates of A, true recall {recall}; {experiments:,} experiments each")
    for rare, of_rare in RARE:
        truth = classification_metrics(
            two_classes(rng, 1000 * common, 1000 * rare, recall, of_rare)
        )
        held = dict.fromkeys(MEANS, 0)
        for seed in range(experiments):
            predictions = two_classes(rng, common, rare, recall, of_rare)
            figures = classification_metrics(predictions)
            found, _ = confidence_intervals(predictions, figures, resamples=resamples, seed=seed)
            for path in MEANS:
                low, high = found[path]
                held[path] += low <= at(truth, path) <= high
        row = "  ".join(f"{path} {held[path] / experiments:.3f}" for path in MEANS)
        print(f"{rare:3} plates of B, true recall {of_rare:.2f}:  {row}", flush=True)


def two_classes(rng, common, rare, recall, recall_of_rare):
    """Predictions of plates of one image, the logits shifted so that the recalls are as given."""
    y = np.repeat([0, 1], [common, rare])
    shift = np.where(y == 0, norm.ppf(recall), norm.ppf(recall_of_rare))
    of_true = expit(rng.normal(size=len(y)) + shift)
    p = np.stack([np.where(y == k, of_true, 1 - of_true) for k in (0, 1)], axis=1)
    table = pd.DataFrame({"path": np.arange(len(y)).astype(str).astype(object)})
    return Predictions(table, ("A", "B"), y, p.argmax(axis=1), p)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--rare", action="store_true")
    parser.add_argument("--bounds", action="store_true")
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    table = bounds_table if options.bounds else accuracy_table
    table = figures_table if options.figures else table
    table = rare_table if options.rare else table
    table(options.experiments, options.resamples)


if __name__ == "__main__":
    main()
