"""Loss, optimizer and schedule: sections with one model per kind, chosen by `name`."""

from typing import Annotated, Literal

from pydantic import Field

from alloyk.settings.section import Fraction, Positive, Section


class CrossEntropyConfig(Section):
    """Cross-entropy."""

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class FocalConfig(Section):
    """Focal loss (Lin 2017)."""

    name: Literal["focal"]
    gamma: float = Field(default=2.0, ge=0)


class ClassBalancedConfig(Section):
    """Cross-entropy weighted by the effective number of samples (Cui 2019)."""

    name: Literal["class_balanced"]
    beta: float = Field(default=0.9999, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class ClassBalancedFocalConfig(Section):
    """Focal loss weighted by the effective number of samples (Cui 2019)."""

    name: Literal["class_balanced_focal"]
    beta: float = Field(default=0.9999, ge=0, lt=1)
    gamma: float = Field(default=2.0, ge=0)


class BalancedSoftmaxConfig(Section):
    """Balanced softmax (Ren 2020), adjusted by tau (Menon 2021)."""

    name: Literal["balanced_softmax"]
    tau: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


LossConfig = Annotated[
    CrossEntropyConfig
    | FocalConfig
    | ClassBalancedConfig
    | ClassBalancedFocalConfig
    | BalancedSoftmaxConfig,
    Field(discriminator="name"),
]


class OptimizerSection(Section):
    """Settings of every optimizer. Weight decay is decoupled from the gradient."""

    learning_rate: Positive = 0.001
    weight_decay: float = Field(default=0.0001, ge=0)
    clip_norm: Positive | None = None


class AdamConfig(OptimizerSection):
    """Adam or AdamW. In Keras they differ in their default weight decay only."""

    name: Literal["adam", "adamw"] = "adam"
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: Positive = 1e-7


class SGDConfig(OptimizerSection):
    """SGD without momentum."""

    name: Literal["sgd"]


class MomentumConfig(OptimizerSection):
    """SGD with momentum."""

    name: Literal["momentum"]
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False


class RMSpropConfig(OptimizerSection):
    """RMSprop."""

    name: Literal["rmsprop"]
    rho: float = Field(default=0.9, ge=0, lt=1)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    epsilon: Positive = 1e-7


OptimizerConfig = Annotated[
    AdamConfig | SGDConfig | MomentumConfig | RMSpropConfig, Field(discriminator="name")
]


class ScheduleSection(Section):
    """Settings of every schedule: a linear warm-up over at most half of the epochs."""

    warmup_epochs: float = Field(default=0.0, ge=0)


class ConstantConfig(ScheduleSection):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"


class StepConfig(ScheduleSection):
    """Multiply by `decay` every `epochs_per_step`."""

    name: Literal["step"]
    epochs_per_step: Positive = 30
    decay: Fraction = 0.1


class ExponentialConfig(ScheduleSection):
    """Multiply by `decay` per epoch, smoothly."""

    name: Literal["exponential"]
    decay: Fraction = 0.95


class CosineConfig(ScheduleSection):
    """The full learning rate over `hold_fraction` of the steps, then a cosine to `final_fraction`.

    The steps of warm-up are not counted.
    """

    name: Literal["cosine"]
    hold_fraction: Fraction = 0.0
    final_fraction: Fraction = 0.0


class CosineRestartsConfig(ScheduleSection):
    """Cosine with warm restarts (Loshchilov 2017)."""

    name: Literal["cosine_restarts"]
    first_cycle_epochs: Positive = 10
    cycle_growth: float = Field(default=2.0, ge=1)
    peak_decay: Fraction = 1.0
    final_fraction: Fraction = 0.0


class CyclicConfig(ScheduleSection):
    """Triangular cycle between `min_learning_rate` and the learning rate (Smith 2017)."""

    name: Literal["cyclic"]
    min_learning_rate: Positive = 1e-4
    half_cycle_epochs: Positive = 4


class PlateauConfig(ScheduleSection):
    """Multiply by `factor` when the validation loss has not fallen for `patience` epochs."""

    name: Literal["plateau"]
    factor: float = Field(default=0.1, gt=0, lt=1)
    patience: int = Field(default=10, ge=1)
    min_delta: float = Field(default=1e-4, ge=0)


ScheduleConfig = Annotated[
    ConstantConfig
    | StepConfig
    | ExponentialConfig
    | CosineConfig
    | CosineRestartsConfig
    | CyclicConfig
    | PlateauConfig,
    Field(discriminator="name"),
]
