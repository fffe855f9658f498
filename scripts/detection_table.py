#!/usr/bin/env python
"""The table of detectable plates in docs/ceiling.md, about a minute on one core.

    python scripts/detection_table.py

For each preset: the share of plates of an alloy or a thickness that training lacks which the best
possible detector reports at a false-alarm rate of 1 %.
"""

from alloyk.alloys import ALLOYS
from alloyk.simulator.ceiling.detection import best_detection
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.presets import preset_parameters

THICKNESSES_MM = (0.5, 3, 10)
SIZE = 64


def cell(known, **settings):
    foreign = with_overrides(known, {k.replace("__", "."): v for k, v in settings.items()})
    found = best_detection(known, foreign, SIZE)
    return f"{100 * found.share:.1f} ± {100 * found.error:.1f}"


def main():
    print("| preset | plates that training lacks | detectable, % |\n|---|---|---|")
    for preset in ("study", "hard2", "alloys5", "hard5"):
        known = preset_parameters(preset)
        for label in sorted(ALLOYS):
            if label not in known.alloys:
                print(f"| {preset} | Al {label} | {cell(known, alloys=[label])} |", flush=True)
        if known.plate.thickness_range_mm:
            continue
        for mm in THICKNESSES_MM:
            for label in known.alloys:
                found = cell(known, alloys=[label], plate__thicknesses_mm=[mm])
                print(f"| {preset} | Al {label}, {mm:g} mm | {found} |", flush=True)


if __name__ == "__main__":
    main()
