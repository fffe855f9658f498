"""What docs/five_alloys.md needs of finished runs on `hard5`: predictions, and ceilings.

    python scripts/gap_runs.py OUT [--voting efficientnetb0] [--plates 600] [--views 8]

OUT is the folder of `scripts/export_table.py`, with its data set and a run of each architecture.
Copies the test predictions of each run to docs/results/gap_hard5/; simulates other plates of the
same preset, several images of each, in OUT/views, and has the run `--voting` classify them; and
computes the reference ceiling at the exposure of one and of several images. A few minutes.
`scripts/gap_tables.py` makes the tables.
"""

import argparse
import json
from pathlib import Path

from experiments import ROOT, simulated
from gap_tables import CEILINGS, NETWORKS, RESULTS, VIEWS
from result_pages import keep_predictions

EXPOSURE = "exposure.photons_per_mm2"
VIEWS_SEED = 11


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--voting", default="efficientnetb0")
    parser.add_argument("--plates", type=int, default=600)
    parser.add_argument("--views", type=int, default=8, help="a power of two")
    parser.add_argument("--results", type=Path, default=ROOT / RESULTS)
    options = parser.parse_args()
    model = options.out / options.voting / "model.keras"
    if not model.is_file():
        parser.error(f"OUT must be a folder of scripts/export_table.py, got one without {model}")
    if options.views < 1 or options.views.bit_count() != 1:
        parser.error(f"--views must be a power of two, got {options.views}")
    return options


def main() -> None:
    import alloyk

    options = parse_arguments()
    (options.results / NETWORKS).mkdir(parents=True, exist_ok=True)
    for predictions in sorted(options.out.glob("*/predictions.csv")):
        run = alloyk.RunFolder(predictions.parent)
        facts = json.loads(run.facts_file.read_text(encoding="utf-8"))
        name = run.path.name + ("-jax" if "jax" in facts["packages"] else "")
        keep_predictions(predictions, options.results / NETWORKS / f"{name}.csv", ["path", "label"])
    views = simulated(
        options.out / "views", preset="hard5", images=options.plates * options.views,
        image_size=64, images_per_plate=options.views, seed=VIEWS_SEED,
    )  # fmt: skip
    evaluated = options.out / "views-evaluated"
    alloyk.evaluate(options.out / options.voting, data=views, split="all", out=evaluated)
    (predictions,) = evaluated.glob("predictions*.csv")
    keep_predictions(predictions, options.results / VIEWS, ["plate_id", "label"])
    ceilings = {}
    count = 1
    while count <= options.views:
        ceilings[count] = ceiling(count)
        count *= 2
    text = json.dumps({"voting": options.voting, "ceilings": ceilings}, indent=1)
    (options.results / CEILINGS).write_text(text + "\n", encoding="utf-8")


def ceiling(exposures: int) -> list[float]:
    """The reference ceiling and its Monte Carlo error at that many times the preset's exposure."""
    import alloyk
    from alloyk.simulator.settings.presets import preset_parameters

    photons = exposures * preset_parameters("hard5").exposure.photons_per_mm2
    found = alloyk.ceiling(preset="hard5", image_size=64, set={EXPOSURE: photons})
    return [found.accuracy, found.error]


if __name__ == "__main__":
    main()
