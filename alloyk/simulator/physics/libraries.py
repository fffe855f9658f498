"""Attenuation and tube spectra from xraydb and SpekPy, both in the extra `alloyk[xray]`.

The default beam was tabulated with these functions (`scripts/make_xray_tables.py`) and needs
neither library at run time. They are called for anodes, filters, elements and voltages outside
the tables.
"""

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from alloyk.alloys import ELEMENTS
from alloyk.errors import ConfigError
from alloyk.simulator.physics.tables import BIN_KEV, SUBBINS, AttenuationTable, TubeTable

FINE_STEP_KEV = 0.1
"""Bin width of the SpekPy calls. SpekPy's bins end at the tube voltage, so with voltages in steps
of 0.1 kV they share one grid and sum exactly into the bins of `tables`."""

COMPOUNDS = {"CsI": {"Cs": 0.511549, "I": 0.488451}}
"""Mass fractions of compounds, from the atomic weights 132.905 and 126.904 (IUPAC)."""


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"this beam needs {name}, which is not installed; run `pip install 'alloyk[xray]'`, or "
            "use a beam of alloyk's tables (W anode at 12°, 0.2 mm Be, 600 mm air, 30 to 60 kV, "
            f"filters of {', '.join(ELEMENTS)})"
        ) from None


def mass_attenuation(material: str, energy_kev: np.ndarray) -> np.ndarray:
    """Total mass attenuation coefficient, coherent scattering included, in cm²/g.

    Args:
        material: Element symbol, or a key of `COMPOUNDS`.
        energy_kev: Photon energies in keV, any shape.

    Raises:
        ConfigError: xraydb is missing or does not know the element.

    Source: W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63 (2002) 121, as
    distributed by xraydb; within 0.05 % of NIST for Al and Cu at 20 to 50 keV.
    """
    xraydb = _library("xraydb")
    energy_ev = np.asarray(energy_kev, float) * 1e3
    total = np.zeros_like(energy_ev)
    for element, fraction in COMPOUNDS.get(material, {material: 1.0}).items():
        try:
            total += fraction * xraydb.mu_elam(element, energy_ev, kind="total")
        except ValueError:
            raise ConfigError(
                f"a filter must be a chemical element, got {element!r}; use its symbol, for "
                "example Al"
            ) from None
    return total


def element_density_g_cm3(element: str) -> float:
    """Density of the pure element in g/cm³ as listed by xraydb.

    Raises:
        ConfigError: xraydb is missing or does not know the element.
    """
    try:
        return float(_library("xraydb").atomic_density(element))
    except (ValueError, KeyError):
        raise ConfigError(
            f"a filter must be a chemical element, got {element!r}; use its symbol, for example Al"
        ) from None


def tube_fluence(
    tube_voltage_kvp: float,
    bin_edges_kev: np.ndarray,
    *,
    anode: str = "W",
    anode_angle_deg: float = 12.0,
    beryllium_mm: float = 0.2,
    air_mm: float = 600.0,
) -> np.ndarray:
    """Photons per cm² and mA·s in each energy bin, 1 m from the focal spot.

    Computed in bins of 0.1 keV and summed. The voltage is rounded to 0.1 kV, which keeps the
    end-point of the spectrum on a bin edge.

    Args:
        tube_voltage_kvp: Peak voltage in kV.
        bin_edges_kev: Ascending edges, multiples of 0.1 keV, shape `(bins + 1,)`.
        anode: W, Mo, Rh, Cr, Cu, Ag or Au.
        anode_angle_deg: Angle between the anode's face and the central ray.
        beryllium_mm: Thickness of the tube's window.
        air_mm: Path in air.

    Returns:
        Array of shape `(bins,)`.

    Raises:
        ConfigError: SpekPy is missing or cannot compute this tube.

    Source: G. Poludniowski et al., Med. Phys. 48 (2021) 3630 (SpekPy 2, physics "casim").
    """
    spekpy = _library("spekpy")
    voltage = round(float(tube_voltage_kvp), 1)
    try:
        spectrum = spekpy.Spek(
            kvp=voltage, th=anode_angle_deg, dk=FINE_STEP_KEV, targ=anode, z=100.0, mas=1.0
        )
        spectrum.filter("Be", beryllium_mm).filter("Air", air_mm)
        energy_kev, fluence = spectrum.get_spectrum(flu=True, diff=False)
    except Exception as error:  # SpekPy raises bare Exceptions with several lines of help
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"SpekPy cannot compute a {anode} tube at {voltage} kV and {anode_angle_deg}°: {reason}"
        ) from None
    index = np.searchsorted(bin_edges_kev, energy_kev) - 1
    inside = (index >= 0) & (index < len(bin_edges_kev) - 1)
    return np.bincount(index[inside], fluence[inside], minlength=len(bin_edges_kev) - 1)


def compute_tube_table(low_kvp: float, high_kvp: float, **tube: Any) -> TubeTable:
    """Spectra of any tube for all voltages between two limits, in steps of the bin width.

    Args:
        low_kvp: Lowest voltage.
        high_kvp: Highest voltage.
        **tube: Other arguments of `tube_fluence`.

    Raises:
        ConfigError: SpekPy is missing or cannot compute this tube.
    """
    first = np.floor(low_kvp / BIN_KEV) * BIN_KEV
    last = max(np.ceil(high_kvp / BIN_KEV) * BIN_KEV, first + BIN_KEV)
    voltages = np.arange(first, last + BIN_KEV / 2, BIN_KEV)
    edges = np.arange(5.0, last + BIN_KEV / 2, BIN_KEV)
    fluence = np.stack([tube_fluence(voltage, edges, **tube) for voltage in voltages])
    return TubeTable(voltages, fluence, edges)


def compute_attenuation_table(bin_edges_kev: np.ndarray) -> AttenuationTable:
    """Attenuation of the alloying elements and CsI on a grid of energies.

    Raises:
        ConfigError: xraydb is missing.
    """
    centres = (bin_edges_kev[1:] + bin_edges_kev[:-1]) / 2
    offsets = (np.arange(SUBBINS) + 0.5) / SUBBINS - 0.5
    fine = centres[:, None] + offsets * np.diff(bin_edges_kev)[:, None]
    return AttenuationTable(
        bin_edges_kev,
        {element: mass_attenuation(element, centres) for element in ELEMENTS},
        mass_attenuation("CsI", fine.ravel()).reshape(fine.shape),
    )
