#!/usr/bin/env python
"""Make xray_tables.npz of alloyk/simulator/physics/data from xraydb and SpekPy.

Needs the extra `alloyk[xray]`. Run it after a change of the grids in
alloyk/simulator/physics/tables.py; it takes about half a minute.
"""

import argparse
from pathlib import Path

import numpy as np

from alloyk.alloys import ELEMENTS
from alloyk.simulator.physics import tables
from alloyk.simulator.physics.libraries import compute_attenuation_table, compute_tube_table

TARGET = Path(tables.__file__).parent / "data" / "xray_tables.npz"


def make_tables() -> dict[str, np.ndarray]:
    tube = compute_tube_table(tables.VOLTAGES_KVP[0], tables.VOLTAGES_KVP[-1])
    attenuation = compute_attenuation_table(tables.BIN_EDGES_KEV)
    arrays = {
        "mu_over_rho": np.stack([attenuation.mu_over_rho[element] for element in ELEMENTS]),
        "csi_fine": attenuation.csi_fine,
        "fluence_per_mas": tube.fluence_per_mas,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=TARGET)
    output = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output, **make_tables())
    print(f"{output}: {output.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
