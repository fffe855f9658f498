"""The sections of an experiment. Each default of an experiment is here and nowhere else."""

import difflib
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from alloyk.config.choices import (
    AdamConfig,
    ConstantConfig,
    CrossEntropyConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from alloyk.config.data_section import DataConfig
from alloyk.config.recipes import ARCHITECTURES
from alloyk.settings.data import DataSettings
from alloyk.settings.section import Fraction, Positive, Section, described
from alloyk.targets import ALLOY


def _known_architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        remark = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"must be one of {', '.join(ARCHITECTURES)}{remark}")
    return name


Architecture = Annotated[str, AfterValidator(_known_architecture)]
Weight = Annotated[float, Field(gt=0, strict=True)]


class PreprocessConfig(Section):
    """From the raw image to the standardised gray image that the network takes."""

    image_size: tuple[int, int] = (96, 96)
    repair: bool = True
    normalize: Literal["robust", "min_max", "log", "full_scale", "none"] = "robust"
    equalize: bool = False
    levels: int = Field(default=4096, ge=2)
    order: Literal["equalize_first", "resize_first"] = "equalize_first"
    full_scale: Positive | None = None
    upright: bool = False
    standardize: Literal["dataset", "imagenet", "none"] = "dataset"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @field_validator("image_size", mode="before")
    @classmethod
    def _one_or_two_sides(cls, value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch(r"\d+(x\d+)?", value):
            first, *second = value.split("x")
            return (int(first), int(*second or [first]))
        return (value, value) if isinstance(value, int) else value

    @field_validator("image_size")
    @classmethod
    def _check_size(cls, value: tuple[int, int]) -> tuple[int, int]:
        if min(value) < 8:
            raise ValueError("must be at least 8 pixels on each side")
        return value

    @model_validator(mode="after")
    def _check_mean_and_std(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("preprocess.mean and preprocess.std must be set together")
        if self.std is not None and (
            len(self.std) != len(self.mean or ()) or min(self.std, default=0) <= 0
        ):
            raise ValueError(
                "preprocess.mean and preprocess.std must have the same length, and std must be "
                f"above 0, got {list(self.mean or ())} and {list(self.std)}"
            )
        return self


class AugmentConfig(Section):
    """Random changes of training images, which are in [0, 1]. Each is off by default.

    There is no saturation or hue: they have no effect on gray images.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation_deg: float = Field(default=0.0, ge=0, le=180)
    scale: float = Field(default=0.0, ge=0, lt=1)
    shift: Fraction = 0.0
    crop: float = Field(default=0.0, ge=0, lt=1)
    elastic: float = Field(default=0.0, ge=0, le=0.5)
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    cutout: float = Field(default=0.0, ge=0, lt=1)
    grid_mask: float = Field(default=0.0, ge=0, lt=1)
    erasing: Fraction = 0.0
    noise: float = Field(default=0.0, ge=0)
    orientation: bool = False
    blur: float = Field(default=0.0, ge=0, le=1)
    response: float = Field(default=0.0, ge=0, le=0.5)
    defects: float = Field(default=0.0, ge=0, le=0.1)
    border: float = Field(default=0.0, ge=0, le=0.25)
    mixup: float = Field(default=0.0, ge=0, le=1)
    fill: Literal["reflect", "nearest", "constant"] = "reflect"


class ModelConfig(Section):
    """The network: backbone and heads."""

    arch: Architecture = "efficientnetb0"
    tasks: tuple[str, ...] = (ALLOY,)
    weights: str | None = None
    freeze_epochs: int = Field(default=0, ge=0)
    activation: Literal["relu", "leaky_relu", "gelu", "swish"] | None = None
    hidden_units: int = Field(default=512, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    batch_norm_momentum: float | None = Field(default=None, gt=0, lt=1)
    stochastic_depth: float | None = Field(default=None, ge=0, lt=1)
    stem_stride: Literal[1, 2] | None = None
    zero_init_residual: bool | None = None
    depth: int | None = Field(default=None, ge=1, le=8)
    width: int | None = Field(default=None, ge=1)
    kernel_size: Literal[1, 3, 5, 7] | None = None

    @field_validator("weights")
    @classmethod
    def _make_absolute(cls, value: str | None) -> str | None:
        if value in (None, "none", ""):
            return None
        # A run must find a file from any working folder; `imagenet` is not a file.
        return str(Path(value).absolute()) if Path(value).suffix else value

    @field_validator("tasks", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("tasks")
    @classmethod
    def _check_tasks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if ALLOY not in value:
            raise ValueError(f"must contain {ALLOY}, such as [{ALLOY}, thickness]")
        if len(set(value)) < len(value) or "" in value:
            raise ValueError("must name each task once")
        return value


class MultitaskConfig(Section):
    """How the losses of several tasks are weighted: by fixed numbers, or learned."""

    weighting: Literal["fixed", "learned"] = "fixed"
    weights: dict[str, Weight] = Field(default_factory=dict)


class TrainConfig(Section):
    """Length, batches, early stopping and hardware of a training run."""

    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=32, ge=1)
    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    patience: int | None = Field(default=None, ge=1)
    start_from_epoch: int = Field(default=0, ge=0)
    time_budget_minutes: Positive | None = None
    average_weights: float | None = Field(default=None, gt=0, lt=1)
    deterministic: bool = False
    mixed_precision: Annotated[bool | Literal["auto"], described("must be true, false or auto")] = (
        "auto"
    )
    strategy: Literal["auto", "single", "mirrored", "multi-worker"] = "auto"
    devices: tuple[str, ...] | None = None
    peer_timeout_seconds: Positive = 50.0
    checkpoint_steps: int | None = Field(default=5000, ge=1)
    tensorboard: bool = False


class QuantizeConfig(Section):
    """Quantisation-aware training: fine-tune a finished run with fake quantisation."""

    run: Path | None = None
    range_momentum: float = Field(default=0.99, gt=0, lt=1)

    @field_validator("run", mode="before")
    @classmethod
    def _number_as_name(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value

    @field_validator("run")
    @classmethod
    def _make_absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.absolute()


class Config(Section):
    """A whole experiment."""

    seed: int = Field(default=0, ge=0, lt=2**31)
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
    quantize: QuantizeConfig = QuantizeConfig()

    def preprocessing_settings(self) -> dict[str, Any]:
        """The arguments of `alloyk.preprocessing.for_dataset.preprocessing_for`."""
        network_side = {"standardize", "mean", "std"}
        settings = self.preprocess.model_dump(exclude=network_side)
        data = self.data
        return {**settings, "flat": data.flat, "dark": data.dark, "attenuation": data.attenuation}

    def data_settings(self) -> DataSettings:
        """The settings for `alloyk.data.source.open_dataset`."""
        data = self.data
        otherwise_named: dict[str, Any] = {
            "simulate": data.simulate.model_dump(),
            "skip_unreadable": data.on_bad_image == "skip",
            "raw": data.raw.layout() if data.raw else None,
            "channels": data.channels.choice() if data.channels else None,
        }
        names = {field.name for field in fields(DataSettings)} - otherwise_named.keys()
        return DataSettings(**{name: getattr(data, name) for name in names}, **otherwise_named)

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        count, mean = self.data.channel_count, self.preprocess.mean
        if count == 1:
            if mean is not None and len(mean) not in (1, 3):
                raise ValueError(
                    "preprocess.mean must have 1 number for gray, or 3 for the colours that a "
                    f"network expects, got {len(mean)}"
                )
            return self
        if mean is not None and len(mean) not in (1, count):
            raise ValueError(
                f"preprocess.mean must have 1 number or {count}, one for each of data.channels, "
                f"got {len(mean)}"
            )
        if self.preprocess.standardize == "imagenet" and mean is None:
            raise ValueError(
                "preprocess.standardize=imagenet is for colours and must not be combined with "
                "data.channels; set preprocess.standardize=dataset"
            )
        own = (self.model.weights or "").endswith((".keras", ".weights.h5"))
        if self.model.weights is not None and count != 3 and not own:
            raise ValueError(
                f"published weights are for one or three channels, got {count} in data.channels; "
                "remove model.weights, or name three values"
            )
        return self

    @model_validator(mode="after")
    def _refuse_unused(self) -> Self:
        """Refuse a setting that would have no effect beside the others."""
        preprocess, model = self.preprocess, self.model
        if preprocess.full_scale is not None and preprocess.normalize != "full_scale":
            raise ValueError(
                "preprocess.full_scale needs preprocess.normalize=full_scale, got "
                f"{preprocess.normalize}; set that, or remove preprocess.full_scale"
            )
        if preprocess.mean is not None and preprocess.standardize != "dataset":
            raise ValueError(
                "preprocess.mean takes the place of preprocess.standardize, got "
                f"{preprocess.standardize}; remove the one or the other"
            )
        if model.freeze_epochs and model.weights is None:
            raise ValueError(
                f"model.freeze_epochs needs model.weights, got {model.freeze_epochs} without them; "
                "a network with initial weights trains all layers from the start"
            )
        return self

    @model_validator(mode="after")
    def _check_logarithm(self) -> Self:
        if self.data.attenuation and self.preprocess.normalize == "log":
            raise ValueError(
                "data.attenuation and preprocess.normalize=log both take the logarithm; set only "
                "one of them"
            )
        return self

    @model_validator(mode="after")
    def _check_cycle(self) -> Self:
        schedule, peak = self.schedule, self.optimizer.learning_rate
        if schedule.name == "cyclic" and schedule.min_learning_rate >= peak:
            raise ValueError(
                f"schedule.min_learning_rate must be < optimizer.learning_rate ({peak:g}), got "
                f"{schedule.min_learning_rate:g}; set a smaller one"
            )
        return self

    @model_validator(mode="after")
    def _check_quantize(self) -> Self:
        train = self.train
        if self.quantize.run is None:
            return self
        if train.strategy != "single" or train.mixed_precision is not False:
            raise ValueError(
                "quantize.run must be trained on one device in float32; set train.strategy=single "
                "and train.mixed_precision=false"
            )
        return self

    @model_validator(mode="after")
    def _check_mixup(self) -> Self:
        if self.augment.mixup and len(self.model.tasks) > 1:
            raise ValueError(
                "augment.mixup mixes classes only and needs model.tasks=[alloy]; set "
                "augment.mixup=0, or remove the other tasks"
            )
        return self

    @model_validator(mode="after")
    def _check_task_weights(self) -> Self:
        tasks, multitask = self.model.tasks, self.multitask
        unknown = [name for name in multitask.weights if name not in tasks]
        if unknown:
            raise ValueError(
                f"multitask.weights must name tasks of model.tasks ({', '.join(tasks)}), "
                f"got {unknown[0]!r}"
            )
        learned = multitask.weighting == "learned"
        if learned and multitask.weights:
            raise ValueError(
                "multitask.weights must be empty with multitask.weighting=learned; remove them, "
                "or set multitask.weighting=fixed"
            )
        if learned and len(tasks) < 2:
            raise ValueError(
                f"multitask.weighting=learned needs a task besides {ALLOY}; for example "
                f"model.tasks=[{ALLOY}, thickness]"
            )
        return self
