#!/usr/bin/env python
"""How long metrics, intervals and figures take, from the predictions file to the last picture.

python scripts/bench_evaluation.py                        # 50,000 predictions of five classes
python scripts/bench_evaluation.py --images 10000 --per-plate 1
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from alloyk.evaluation import evaluate_run
from alloyk.runs.predictions import write_predictions

CLASSES = ("1050", "2017", "5083", "6082", "7075")


def write_run(run, images, per_plate):
    rng = np.random.default_rng(0)
    for name, n in (("predictions.csv", images), ("predictions_val.csv", images // 5)):
        plate = np.arange(n) // per_plate
        y = rng.integers(0, 5, plate.max() + 1)[plate]
        logits = 2 * rng.normal(size=(n, 5))
        logits[np.arange(n), y] += 3
        table = {
            "path": [f"{i:06}.png" for i in range(n)],
            "label": [CLASSES[k] for k in y],
            "thickness_mm": rng.choice([1.0, 2.0, 5.0], plate.max() + 1)[plate],
            "tube_voltage_kvp": rng.normal(50, 0.1, n).round(6),
            "wedge_rotation_deg": rng.normal(0, 0.5, n).round(6),
        }
        if per_plate > 1:
            table["plate_id"] = [f"P{p:05}" for p in plate]
        write_predictions(run / name, pd.DataFrame(table), np.exp(logits), CLASSES)
    (run / "facts.json").write_text(json.dumps({"simulated": True, "grouped_by": "plate_id"}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--per-plate", type=int, nargs="+", default=[10, 1])
    options = parser.parse_args()
    print(f"{options.images:,} predictions, {len(CLASSES)} classes, {os.cpu_count()} cores")
    for per_plate in options.per_plate:
        with tempfile.TemporaryDirectory() as folder:
            write_run(Path(folder), options.images, per_plate)
            started, cpu = time.perf_counter(), time.process_time()
            evaluate_run(Path(folder))
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        over = f"plates of {per_plate}" if per_plate > 1 else "images (no plates)"
        print(f"  resampling {over:20} {wall:6.1f} s, {cpu:6.1f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
