#!/usr/bin/env python
"""The tables of reference ceilings in docs/ceiling.md, about two minutes on one core.

python scripts/ceiling_tables.py [layouts] [presets] [sweeps] [priors] [channels]
"""

import argparse
import math
from functools import partial
from unittest import mock

import numpy as np

from alloyk.simulator.ceiling import fisher
from alloyk.simulator.ceiling.design import percentage
from alloyk.simulator.ceiling.reference import reference_ceiling
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.presets import PRESETS, preset_parameters

SEVEN_CM = {"wedge.length_mm": 70, "layout.field_mm": 84}


def ceiling(preset, size, drawn=False, **changes):
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    parameters = with_overrides(preset_parameters(preset), overrides)
    return reference_ceiling(parameters, size, drawn_circumstances=drawn)


def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def presets():
    row("preset", "64², 5 cm", "64², 7 cm", "224², 5 cm", "224², 7 cm", "thickness at 224², mm")
    row(*["---"] * 6)
    for name in PRESETS:
        found = [
            reference_ceiling(with_overrides(preset_parameters(name), wedge), size)
            for size in (64, 224)
            for wedge in ({}, SEVEN_CM)
        ]
        thickness = f"{found[2].thickness_rmse_mm:.3f} of {found[2].thickness_spread_mm:.3f}"
        row(name, *map(percentage, found), thickness)


def layouts():
    row("default set, 224²", "step", "full")
    row(*["---"] * 3)
    for label, alloys in (("2 alloys", "1050,2017"), ("5 alloys", None)):
        more = {"alloys": alloys} if alloys else {}
        row(label, *(percentage(ceiling("alloys5", 224, layout__name=name, **more))
                     for name in ("step", "full")))  # fmt: skip
    row("5 alloys, --drawn", *(percentage(ceiling("alloys5", 224, drawn=True, layout__name=name))
                               for name in ("step", "full")))  # fmt: skip


def sweeps():
    one = partial(ceiling, "alloys5", 224)
    for title, key, values in (
        ("photons per mm²", "exposure__photons_per_mm2", (140, 1.4e3, 1.4e4, 1.4e5, 1.4e6)),
        ("wedge height, mm", "wedge__height_mm", (2, 5, 10, 15, 20)),
        ("tube voltage, kV", "tube__voltage_kvp", (35, 40, 45, 50, 55)),
    ):
        row(title, *(f"{value:g}" for value in values))
        row(*["---"] * (len(values) + 1))
        row("ceiling", *(percentage(one(**{key: value})) for value in values))
        print()
    spreads = (0.0025, 0.005, 0.01, 0.02, 0.05)
    row("thickness spread", *(f"{100 * sd:g} %" for sd in spreads))
    row(*["---"] * (len(spreads) + 1))
    law = {"plate__thickness_law": "relative"}
    row("ceiling", *(percentage(one(plate__thickness_relative_sd=sd, **law)) for sd in spreads))
    print()
    sizes = (64, 224, 448)
    row("image size", *(f"{size}²" for size in sizes))
    row(*["---"] * (len(sizes) + 1))
    row("ceiling", *(percentage(ceiling("alloys5", size)) for size in sizes))


def priors():
    """What the Gaussian stands for: the voltage known nothing of, and known three times better."""
    usual = fisher.prior_standard_deviations
    row("prior of the voltage, 64²", "hard2", "hard5")
    row(*["---"] * 3)
    for title, factor in (("as used", 1), ("a third of its width", 1 / 3), ("flat", math.inf)):

        def changed(parameters, factor=factor):
            found = usual(parameters)
            return found | {"tube_voltage_kvp": factor * found["tube_voltage_kvp"]}

        with mock.patch.object(fisher, "prior_standard_deviations", changed):
            row(title, *(percentage(ceiling(name, 64)) for name in ("hard2", "hard5")))


CHANNELS = ([50], [40], [40, 50], [40, 45, 50], [35, 55])


def channels():
    """Voltages of one plate as channels, 64²: each of the full exposure, and of a part of it."""
    names = ("alloys5", "hard5", "hard2")
    row("channels, kV", *(f"{name}, {what}" for name in names for what in ("full", "shared")))
    row(*["---"] * (2 * len(names) + 1))
    base = {name: ceiling(name, 64, tube__channels_kvp=[50]) for name in names}
    for kvp in CHANNELS:
        cells = []
        for name in names:
            whole = preset_parameters(name).exposure.photons_per_mm2
            for photons in (whole, whole / len(kvp)):
                found = ceiling(name, 64, tube__channels_kvp=kvp, exposure__photons_per_mm2=photons)
                gain = np.subtract(found.by_block, base[name].by_block)
                error = gain.std(ddof=1) / math.sqrt(len(gain))
                cells.append(f"{percentage(found)} ({100 * gain.mean():+.1f} ± {100 * error:.1f})")
        row(" + ".join(map(str, kvp)), *cells)
    for name in names:
        photons = 3 * preset_parameters(name).exposure.photons_per_mm2
        found = ceiling(name, 64, tube__channels_kvp=[50], exposure__photons_per_mm2=photons)
        print(f"{name}, 50 kV, three times the exposure: {percentage(found)}")


TABLES = {one.__name__: one for one in (layouts, presets, sweeps, priors, channels)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"by default all: {', '.join(TABLES)}"
    )
    chosen = parser.parse_args().tables
    if unknown := [name for name in chosen if name not in TABLES]:
        parser.error(f"TABLE must be among {', '.join(TABLES)}, got {', '.join(unknown)}")
    for name in chosen or TABLES:
        TABLES[name]()
        print()


if __name__ == "__main__":
    main()
