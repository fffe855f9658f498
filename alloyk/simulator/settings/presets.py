"""Presets: named settings of the simulator, from easy to hard."""

import difflib
from typing import Any

from alloyk.errors import ConfigError
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters

_STUDY = {
    "plate.thickness_law": "uniform",
    "wedge.shift_sd_mm": 4.0,
    "wedge.rotation_sd_deg": 3.0,
    "plate.edge_sd_mm": 8.0,
    "tube.voltage_range_kvp": (40.0, 50.0),
    "exposure.output_sd": 0.10,
    # 2,000 photons in a pixel of 60/64 mm; 165 in one of 60/224 mm.
    "exposure.photons_per_mm2": 2.3e3,
}
_HARD_PLATES = {
    "plate.composition_law": "limits",
    "scatter.ratio": 0.10,
    "scatter.ratio_sd": 0.02,
}
FIVE_ALLOYS = ("1050", "2017", "5083", "6082", "7075")

PRESETS: dict[str, dict[str, Any]] = {
    "easy": {
        "plate.thickness_law": "relative",
        "plate.composition_law": "nominal",
        "exposure.photons_per_mm2": 2.3e4,
    },
    "study": _STUDY,
    "study-noisy": _STUDY | {"exposure.photons_per_mm2": 340.0},
    "hard2": _STUDY | _HARD_PLATES | {"plate.thickness_range_mm": (0.8, 6.0)},
    "hard5": _STUDY | _HARD_PLATES | {"alloys": FIVE_ALLOYS, "exposure.photons_per_mm2": 2.3e4},
    "alloys5": {"alloys": FIVE_ALLOYS},
}
"""Preset → the settings that differ from the defaults of `Parameters`."""


def preset_parameters(name: str) -> Parameters:
    """Parameters of a preset.

    Example:
        >>> preset_parameters("study").tube.voltage_range_kvp
        (40.0, 50.0)

    Raises:
        ConfigError: The preset is unknown; names the nearest known one.
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}{hint}")
    return with_overrides(Parameters(), PRESETS[name])
