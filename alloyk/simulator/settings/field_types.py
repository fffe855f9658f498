"""The types of the simulator's parameters: their limits, and how they may be written."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from alloyk.settings.section import refuse_bool


@dataclass(frozen=True)
class Limits:
    """The range in which a parameter makes physical sense, and why.

    Attributes:
        low: Smallest number allowed.
        high: Greatest number allowed.
        reason: Text in parentheses in the error.
    """

    low: float
    high: float
    reason: str

    def __call__(self, value: float) -> float:
        """The value itself.

        Raises:
            ValueError: It is outside the limits.
        """
        if not self.low <= value <= self.high:
            raise ValueError(f"must be {self.low:g} to {self.high:g} ({self.reason})")
        return value


def limited(low: float, high: float, reason: str) -> AfterValidator:
    """The limits of a field, in the form that pydantic takes."""
    return AfterValidator(Limits(low, high, reason))


def listed(value: Any) -> Any:
    """A list of numbers, from a list, a single number or text such as `1,2,5`."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, int | float):
        return (value,)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a number or a list of numbers such as 1,2,5")
    return value


def pair(value: Any) -> Any:
    """Two numbers, written as for `listed`."""
    value = listed(value)
    if len(value) != 2:
        raise ValueError("must be two numbers, LOW,HIGH")
    return value


def mapping(value: Any) -> Any:
    """A mapping whose keys are text: YAML reads a label such as 1050 as a number."""
    if not isinstance(value, dict):
        raise ValueError("must be a mapping such as {Al: 0.5, Cu: 0.1}")
    return {str(key): inner for key, inner in value.items()}


def strings(value: Any) -> tuple[str, ...]:
    """Labels as text, from a list or text such as `1050,2017`; YAML reads 1050 as a number."""
    parts = value if isinstance(value, list | tuple) else str(value or "").split(",")
    return tuple(str(part).strip() for part in parts)


def check_order(name: str, limits: tuple[float, float] | None) -> None:
    """Refuse a range whose first number is greater than its second.

    Raises:
        ValueError: The order is wrong.
    """
    if limits is not None and limits[0] > limits[1]:
        raise ValueError(f"{name} must be LOW,HIGH, got {limits[0]:g},{limits[1]:g}")


PHOTONS_PER_MM2 = Limits(1e-2, 1e12, "from a few photons per image to weeks of exposure")

Voltage = Annotated[float, limited(10, 500, "kV of an X-ray tube")]
Voltages = Annotated[tuple[Voltage, ...], BeforeValidator(listed)]
VoltageRange = Annotated[tuple[Voltage, Voltage], BeforeValidator(pair)]
Thickness = Annotated[float, limited(0.01, 50, "mm, from a foil to at most 50 mm, as EN 485-4")]
Thicknesses = Annotated[tuple[Thickness, ...], BeforeValidator(listed)]
ThicknessRange = Annotated[tuple[Thickness, Thickness], BeforeValidator(pair)]
FilterThickness = Annotated[float, BeforeValidator(refuse_bool), limited(0, 1000, "mm of a filter")]
MassFraction = Annotated[float, BeforeValidator(refuse_bool)]
Millimetres = Annotated[float, limited(0, 1000, "mm, as for the field")]
Relative = Annotated[float, limited(0, 0.2, "a relative standard deviation of at most 20 %")]
