"""The sections of an experiment, each with its defaults and its checks."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from alloyk.config.base import Fraction, Positive, Section
from alloyk.config.choices import (
    AdamConfig,
    ConstantConfig,
    CrossEntropyConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from alloyk.config.recipes import ARCHITECTURES
from alloyk.targets import ALLOY

Arch = Literal[tuple(ARCHITECTURES)]
Weight = Annotated[float, Field(gt=0, strict=True)]


class SimulateConfig(Section):
    """The embedded default data set, made when `data.path` is not given."""

    preset: str = "study"
    images: int = Field(12000, ge=1)
    image_size: int = Field(64, ge=8)
    seed: int = Field(0, ge=0)
    overrides: dict[str, Any] = Field(default_factory=dict)


class DataConfig(Section):
    """Which images, and how they are split and read."""

    path: Path | None = None
    simulate: SimulateConfig = SimulateConfig()
    ratios: tuple[Positive, Positive, Positive] = (0.70, 0.15, 0.15)
    group_by: str | None = None
    split_seed: int = Field(0, ge=0)
    fold: str | None = None
    leave_out: str | None = None
    on_bad_image: Literal["stop", "skip"] = "stop"
    flat: str | None = None
    dark: str | None = None
    attenuation: bool = False
    cache: Literal["memory", "disk", "none"] = "memory"
    sampling: Literal["natural", "class_aware"] = "natural"

    @model_validator(mode="after")
    def _flat_first(self):
        if self.flat is None and (self.dark is not None or self.attenuation):
            raise ValueError("data.dark and data.attenuation need data.flat: give the flat frames")
        return self

    @field_validator("path", mode="before")
    @classmethod
    def _number_as_name(cls, value):
        # A folder may be called 2017.
        return str(value) if type(value) is int else value

    @field_validator("path")
    @classmethod
    def _wherever_called_from(cls, value):
        # A run must find its images again from another working folder.
        return None if value is None else value.absolute()

    @field_validator("fold")
    @classmethod
    def _one_of_several(cls, value):
        if value is not None:
            found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", value)
            if not found or int(found[1]) > int(found[2]) or found[2] == "1":
                raise ValueError("wanted a fold out of two or more, such as 2/5")
        return value

    @field_validator("leave_out")
    @classmethod
    def _column_and_value(cls, value):
        if value is not None and not re.fullmatch("[^=]+=.+", value):
            raise ValueError("wanted COLUMN=VALUE, such as tube_voltage_kvp=45")
        return value

    @model_validator(mode="after")
    def _one_way_to_hold_out(self):
        if self.fold and self.leave_out:
            raise ValueError("fold and leave_out both say what to test on: give one of them")
        return self


class PreprocessConfig(Section):
    """From the raw image to the gray image in [0, 1] that the network standardises."""

    image_size: tuple[int, int] = (96, 96)
    normalize: Literal["min_max", "log", "full_scale", "none"] = "min_max"
    equalize: bool = False
    levels: int = Field(4096, ge=2)
    order: Literal["equalize_first", "resize_first"] = "equalize_first"
    full_scale: Positive | None = None
    standardize: Literal["dataset", "imagenet", "none"] = "dataset"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @field_validator("image_size", mode="before")
    @classmethod
    def _square(cls, value):
        if isinstance(value, str) and re.fullmatch(r"\d+x\d+", value):
            return [int(side) for side in value.split("x")]
        return (value, value) if isinstance(value, int) else value

    @field_validator("image_size")
    @classmethod
    def _not_tiny(cls, value):
        if min(value) < 8:
            raise ValueError("each side must be at least 8 pixels")
        return value

    @model_validator(mode="after")
    def _mean_with_std(self):
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both or neither")
        return self


class AugmentConfig(Section):
    """Random changes of training images in [0, 1]; each is off at its default.

    Saturation and hue are not here: they do nothing on gray images.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation_deg: float = Field(0.0, ge=0, le=180)
    scale: float = Field(0.0, ge=0, lt=1)
    shift: Fraction = 0.0
    crop: float = Field(0.0, ge=0, lt=1)
    elastic: float = Field(0.0, ge=0, le=0.5)
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    cutout: float = Field(0.0, ge=0, lt=1)
    erasing: Fraction = 0.0
    noise: float = Field(0.0, ge=0)
    fill: Literal["reflect", "nearest", "constant"] = "reflect"


class ModelConfig(Section):
    """The network: backbone and heads."""

    arch: Arch = "efficientnetb0"
    tasks: tuple[str, ...] = (ALLOY,)
    weights: str | None = None
    freeze_epochs: int = Field(0, ge=0)
    activation: Literal["relu", "leaky_relu", "gelu", "swish"] | None = None
    hidden_units: int = Field(512, ge=0)
    dropout: float = Field(0.3, ge=0, lt=1)
    batch_norm_momentum: float | None = Field(None, gt=0, lt=1)
    stochastic_depth: float | None = Field(None, ge=0, lt=1)
    stem_stride: Literal[1, 2] | None = None

    @field_validator("weights")
    @classmethod
    def _none_or_a_whole_path(cls, value):
        if value in (None, "none", ""):
            return None
        # A file is found from another working folder too; `imagenet` is no file.
        return str(Path(value).absolute()) if Path(value).suffix else value

    @field_validator("tasks", mode="before")
    @classmethod
    def _split_at_commas(cls, value):
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("tasks")
    @classmethod
    def _alloy_among_them(cls, value):
        if ALLOY not in value:
            raise ValueError(f"{ALLOY} must be one of the tasks, such as [{ALLOY}, thickness]")
        if len(set(value)) < len(value) or "" in value:
            raise ValueError("each task is named once")
        return value


class MultitaskConfig(Section):
    """How the losses of several tasks are weighed: by numbers given here, or learned."""

    weighting: Literal["fixed", "learned"] = "fixed"
    weights: dict[str, Weight] = Field(default_factory=dict)


class TrainConfig(Section):
    """How long, in which pieces and with which guards."""

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(32, ge=1)
    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    patience: int | None = Field(None, ge=1)
    start_from_epoch: int = Field(0, ge=0)
    deterministic: bool = False
    mixed_precision: bool | Literal["auto"] = "auto"
    devices: tuple[str, ...] | None = None
    tensorboard: bool = False


class Config(Section):
    """A whole experiment."""

    seed: int = Field(0, ge=0, lt=2**31)
    recipe: Literal["alloyk", "study"] = "alloyk"
    data: DataConfig = DataConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = CrossEntropyConfig()
    multitask: MultitaskConfig = MultitaskConfig()
    optimizer: OptimizerConfig = AdamConfig()
    schedule: ScheduleConfig = ConstantConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _one_logarithm(self):
        if self.data.attenuation and self.preprocess.normalize == "log":
            raise ValueError(
                "data.attenuation and preprocess.normalize=log both take the logarithm: "
                "leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _weights_of_tasks(self):
        tasks, multitask = self.model.tasks, self.multitask
        unknown = [name for name in multitask.weights if name not in tasks]
        if unknown:
            raise ValueError(
                f"multitask.weights: {unknown[0]!r} is no task; model.tasks has {', '.join(tasks)}"
            )
        learned = multitask.weighting == "learned"
        if learned and multitask.weights:
            raise ValueError("multitask.weights are for weighting=fixed; learned ones have none")
        if learned and len(tasks) < 2:
            raise ValueError(
                f"multitask.weighting=learned wants a task beside {ALLOY}, such as "
                f"model.tasks=[{ALLOY}, thickness]"
            )
        return self
