"""The section `data` of an experiment: images, splits, and how files are read."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from alloyk.errors import DataError
from alloyk.imaging import ChannelChoice, RawLayout
from alloyk.settings.data import RATIOS
from alloyk.settings.section import Positive, Section, described

_Flat = Annotated[
    str | tuple[str, ...], described("must be a flat frame's file, or a list of one for each step")
]
_Page = Annotated[
    Annotated[int, Field(ge=0)] | Literal["mean", "each"],
    described("must be a page number (0 or more), mean or each"),
]


class SimulateConfig(Section):
    """The simulated data set that is used when `data.path` is not given."""

    preset: str = "study"
    images: int = Field(default=12000, ge=1)
    image_size: int = Field(default=64, ge=8)
    seed: int = Field(default=0, ge=0)
    overrides: dict[str, Any] = Field(default_factory=dict)


class RawConfig(Section):
    """How image files without a header (`.raw`) are laid out."""

    dtype: str
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    offset: int = Field(default=0, ge=0)
    byte_order: Literal["little", "big"] = "little"

    @field_validator("dtype")
    @classmethod
    def _check_dtype(cls, value: str) -> str:
        try:
            RawLayout.of({"dtype": value, "shape": [1, 1]})
        except DataError:
            raise ValueError(
                "must be a type of integers or floats without byte order, such as uint16 or "
                "float32; the byte order has its own key, byte_order"
            ) from None
        return value

    def layout(self) -> RawLayout:
        """The layout, in the form that image readers take."""
        return RawLayout(self.dtype, self.shape, self.offset, self.byte_order)


class ChannelsConfig(Section):
    """Which images of a data set are the channels of one sample."""

    column: str = "tube_voltage_kvp"
    values: tuple[str, ...]
    by: str | None = None

    @field_validator("values", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = value.split(",")
        parts = value if isinstance(value, list | tuple) else [value]
        if any(one is None or isinstance(one, bool) for one in parts):
            raise ValueError("must name one or more values of the column, each once")
        return [f"{one:g}" if type(one) is float else str(one).strip() for one in parts]

    @field_validator("values")
    @classmethod
    def _check_values(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or "" in value or len(set(value)) < len(value):
            raise ValueError("must name one or more values of the column, each once")
        return value

    def choice(self) -> ChannelChoice:
        """The choice, in the form that image readers take."""
        return ChannelChoice(self.column, self.values, self.by)


class DataConfig(Section):
    """The images, and how they are split and read."""

    path: Path | None = None
    page: _Page | None = None
    raw: RawConfig | None = None
    hdf5_path: str | None = Field(default=None, min_length=1)
    channels: ChannelsConfig | None = None
    simulate: SimulateConfig = SimulateConfig()
    ratios: tuple[Positive, Positive, Positive] = RATIOS
    group_by: str | None = None
    split_seed: int = Field(default=0, ge=0)
    fold: str | None = None
    leave_out: str | None = None
    on_bad_image: Literal["stop", "skip"] = "stop"
    flat: _Flat | None = None
    dark: str | None = None
    attenuation: bool = False
    cache: Literal["memory", "disk", "none"] = "memory"
    sampling: Literal["natural", "class_aware"] = "natural"

    @property
    def channel_count(self) -> int:
        """Channels of a sample."""
        return len(self.channels.values) if self.channels else 1

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if self.flat is not None and self.channel_count > 1:
            raise ValueError(
                "data.flat corrects images of one channel only; remove it, and correct the images "
                "beforehand"
            )
        return self

    @model_validator(mode="after")
    def _check_flat(self) -> Self:
        if self.flat == ():
            raise ValueError("data.flat must name at least one step, got an empty list")
        if self.flat is None and (self.dark is not None or self.attenuation):
            raise ValueError("data.dark and data.attenuation need data.flat; set data.flat too")
        return self

    @field_validator("path", "hdf5_path", mode="before")
    @classmethod
    def _number_as_name(cls, value: Any) -> Any:
        # A folder or an array may be called 2017.
        return str(value) if type(value) is int else value

    @field_validator("path")
    @classmethod
    def _make_absolute(cls, value: Path | None) -> Path | None:
        # A run must find its images from any working folder.
        return None if value is None else value.absolute()

    @field_validator("fold")
    @classmethod
    def _check_fold(cls, value: str | None) -> str | None:
        if value is not None:
            found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", value)
            if not found or int(found[1]) > int(found[2]) or found[2] == "1":
                raise ValueError("must be a fold out of two or more, such as 2/5")
        return value

    @field_validator("leave_out")
    @classmethod
    def _check_leave_out(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("[^=]+=.+", value):
            raise ValueError("must be COLUMN=VALUE, such as tube_voltage_kvp=45")
        return value

    @model_validator(mode="after")
    def _check_test_images(self) -> Self:
        if self.fold and self.leave_out:
            raise ValueError(
                "data.fold and data.leave_out both choose the test images; set only one of them"
            )
        return self
