#!/usr/bin/env python
"""Make alloyk/xray/data/xray_tables.npz from xraydb and SpekPy (extra `alloyk[xray]`).

Run it after a change of the grids in alloyk/xray/tables.py; it takes about 20 seconds.
"""

import argparse
from pathlib import Path

import numpy as np

from alloyk.alloys import ELEMENTS
from alloyk.xray import tables
from alloyk.xray.libraries import mass_attenuation, tube_fluence

TARGET = Path(tables.__file__).parent / "data" / "xray_tables.npz"


def make_tables(voltages_kvp=tables.VOLTAGES_KVP) -> dict[str, np.ndarray]:
    edges = tables.BIN_EDGES_KEV
    centres = (edges[1:] + edges[:-1]) / 2
    offsets = (np.arange(tables.SUBBINS) + 0.5) / tables.SUBBINS - 0.5
    fine = centres[:, None] + offsets * tables.BIN_KEV
    arrays = {
        "mu_over_rho": np.stack([mass_attenuation(element, centres) for element in ELEMENTS]),
        "csi_fine": mass_attenuation("CsI", fine.ravel()).reshape(fine.shape),
        "fluence_per_mas": np.stack([tube_fluence(kvp, edges) for kvp in voltages_kvp]),
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
