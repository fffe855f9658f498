"""Numbers, texts and units of header values, as the text of a setting."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

# Symbols of units are case-sensitive (Ms is not ms); names of units are not. → kV, mA, s.
KILOVOLTS = {
    "kV": 1.0, "kv": 1.0, "KV": 1.0, "V": 1e-3, "v": 1e-3, "MV": 1e3,
    "kilovolt": 1.0, "kilovolts": 1.0, "volt": 1e-3, "volts": 1e-3,
}  # fmt: skip
MILLIAMPERES = {
    "mA": 1.0, "ma": 1.0, "A": 1e3, "a": 1e3, "uA": 1e-3, "ua": 1e-3, "μA": 1e-3, "μa": 1e-3,
    "milliampere": 1.0, "milliamperes": 1.0, "ampere": 1e3, "amperes": 1e3,
    "microampere": 1e-3, "microamperes": 1e-3,
}  # fmt: skip
SECONDS = {
    "s": 1.0, "ms": 1e-3, "us": 1e-6, "μs": 1e-6, "ns": 1e-9,
    "sec": 1.0, "second": 1.0, "seconds": 1.0, "msec": 1e-3, "usec": 1e-6,
    "millisecond": 1e-3, "milliseconds": 1e-3, "microsecond": 1e-6, "microseconds": 1e-6,
}  # fmt: skip


def factor(unit: str, units: Mapping[str, float]) -> float | None:
    """Return what one `unit` is in the unit of a setting; None if it is not known.

    >>> factor("MS", SECONDS), factor("Seconds", SECONDS), factor("µA", MILLIAMPERES)
    (None, 1.0, 0.001)
    """
    unit = unicodedata.normalize("NFKC", unit.strip())  # the micro sign becomes a Greek mu
    if unit in units:
        return units[unit]
    return units.get(unit.lower()) if len(unit) > 2 else None


def number(value: Any, scale: float = 1) -> str:
    """Return a number times `scale` as text; empty if it is not a finite number."""
    try:
        found = float(value) * scale
    except (TypeError, ValueError):
        return ""
    return f"{found:.10g}" if math.isfinite(found) else ""


def text(value: Any) -> str:
    """Return a value as one line of text; empty for None."""
    found = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return " ".join(found.replace("\0", " ").split())
