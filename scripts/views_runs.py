"""Have a run on `hard5` classify several images of each plate, for docs/five_alloys.md.

    python scripts/views_runs.py RUN [--plates 600] [--views 8] [--results docs/results/views_hard5]

RUN is a run of the plan `hard5` of `scripts/run_experiments.py`, in its `--work`. Simulates other
plates of the preset, several images of each in other poses, beside RUN; keeps what RUN predicts for
them; and computes the reference ceiling at the exposure of one and of several images. Takes a few
minutes. `scripts/views_tables.py` makes the table.
"""

import argparse
import json
from pathlib import Path

from experiments import ROOT, simulated
from result_pages import keep_predictions
from views_tables import CEILINGS, PREDICTIONS, RESULTS

EXPOSURE = "exposure.photons_per_mm2"
VIEWS_SEED = 11


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=Path)
    parser.add_argument("--plates", type=int, default=600)
    parser.add_argument("--views", type=int, default=8, help="a power of two")
    parser.add_argument("--results", type=Path, default=ROOT / RESULTS)
    options = parser.parse_args()
    if not (options.run / "model.keras").is_file():
        parser.error(f"RUN must be a finished run, got {options.run}, which has no model.keras")
    if options.views < 1 or options.views.bit_count() != 1:
        parser.error(f"--views must be a power of two, got {options.views}")
    return options


def main() -> None:
    import alloyk

    options = parse_arguments()
    run = alloyk.RunFolder(options.run)
    views = simulated(
        options.run.parent / "views", preset="hard5", images=options.plates * options.views,
        image_size=64, images_per_plate=options.views, seed=VIEWS_SEED,
    )  # fmt: skip
    evaluated = options.run / "views"
    alloyk.evaluate(run.path, data=views, split="all", out=evaluated)
    (predictions,) = evaluated.glob("predictions*.csv")
    options.results.mkdir(parents=True, exist_ok=True)
    keep_predictions(predictions, options.results / PREDICTIONS, ["plate_id", "label"])
    counts = [2**power for power in range(options.views.bit_length())]
    described = {
        "arch": run.settings.arch,
        "seed": run.settings.seed,
        "ceilings": {count: ceiling(count) for count in counts},
    }
    text = json.dumps(described, indent=1) + "\n"
    (options.results / CEILINGS).write_text(text, encoding="utf-8")


def ceiling(exposures: int) -> list[float]:
    """The reference ceiling and its Monte Carlo error at that many times the preset's exposure."""
    import alloyk
    from alloyk.simulator.settings.presets import preset_parameters

    photons = exposures * preset_parameters("hard5").exposure.photons_per_mm2
    found = alloyk.ceiling(preset="hard5", image_size=64, set={EXPOSURE: photons})
    return [found.accuracy, found.error]


if __name__ == "__main__":
    main()
