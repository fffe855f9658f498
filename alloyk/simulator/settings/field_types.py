"""The kinds of parameter that the simulator has: their limits, and how they may be written."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


@dataclass(frozen=True)
class Limits:
    """Refuses a number outside low to high, with the reason: beyond them the model means nothing.

    Attributes:
        low: Least number allowed.
        high: Greatest number allowed.
        reason: Ends the message, in brackets.
    """

    low: float
    high: float
    reason: str

    def __call__(self, value: float) -> float:
        """The value itself.

        Raises:
            ValueError: It is outside.
        """
        if not self.low <= value <= self.high:
            raise ValueError(f"wanted {self.low:g} to {self.high:g} ({self.reason})")
        return value


def limited(low: float, high: float, reason: str) -> AfterValidator:
    """A field's limits, as pydantic takes them."""
    return AfterValidator(Limits(low, high, reason))


def listed(value: Any) -> Any:
    """A list: ``--set plate.thicknesses_mm=1,2,5`` is one string, a single 2 is a number."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, int | float):
        return (value,)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("wanted a number or a list of numbers such as 1,2,5")
    return value


def pair(value: Any) -> Any:
    """Two numbers, written as `listed` takes them."""
    value = listed(value)
    if len(value) != 2:
        raise ValueError("wanted two numbers, LOW,HIGH")
    return value


def mapping(value: Any) -> Any:
    """Labels as strings: YAML reads a label such as 1050 as a number."""
    if not isinstance(value, dict):
        raise ValueError("wanted a mapping such as {Al: 0.5, Cu: 0.1}")
    return {str(key): inner for key, inner in value.items()}


PHOTONS_PER_MM2 = Limits(1e-2, 1e12, "from a few photons in a whole image to weeks at any tube")

Voltage = Annotated[float, limited(10, 500, "kV of an X-ray tube")]
Voltages = Annotated[tuple[Voltage, ...], BeforeValidator(listed)]
VoltageRange = Annotated[tuple[Voltage, Voltage], BeforeValidator(pair)]
Thickness = Annotated[float, limited(0.01, 50, "mm, from a foil to at most 50 mm, as EN 485-4")]
Thicknesses = Annotated[tuple[Thickness, ...], BeforeValidator(listed)]
ThicknessRange = Annotated[tuple[Thickness, Thickness], BeforeValidator(pair)]
FilterThickness = Annotated[float, limited(0, 1000, "mm of a filter")]
Millimetres = Annotated[float, limited(0, 1000, "mm, as for the field")]
Relative = Annotated[float, limited(0, 0.2, "a relative spread; 0.2 is one of 20 %")]


def strings(value: Any) -> Any:
    """``--set alloys=1050,2017``; YAML reads a label such as 1050 as a number."""
    parts = value if isinstance(value, list | tuple) else str(value or "").split(",")
    return tuple(str(part).strip() for part in parts)


def check_order(name: str, limits: tuple[float, float] | None) -> None:
    """Refuse a range whose first number is above its second."""
    if limits is not None and limits[0] > limits[1]:
        raise ValueError(f"{name} must be LOW,HIGH, found {limits[0]:g},{limits[1]:g}")
