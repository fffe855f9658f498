"""Loss, optimizer and schedule: sections of which one kind is chosen by its ``name``."""

from typing import Annotated, Literal

from pydantic import Field

from alloyk.config.base import Fraction, Positive, Section


class CrossEntropyConfig(Section):
    """Cross-entropy."""

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class FocalConfig(Section):
    """Focal loss (Lin 2017)."""

    name: Literal["focal"]
    gamma: float = Field(2.0, ge=0)


class ClassBalancedConfig(Section):
    """Cross-entropy weighted by the effective number of samples (Cui 2019)."""

    name: Literal["class_balanced"]
    beta: float = Field(0.9999, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class ClassBalancedFocalConfig(Section):
    """Focal loss weighted by the effective number of samples (Cui 2019)."""

    name: Literal["class_balanced_focal"]
    beta: float = Field(0.9999, ge=0, lt=1)
    gamma: float = Field(2.0, ge=0)


class BalancedSoftmaxConfig(Section):
    """Balanced softmax (Ren 2020)."""

    name: Literal["balanced_softmax"]
    label_smoothing: float = Field(0.0, ge=0, lt=1)


LossConfig = Annotated[
    CrossEntropyConfig
    | FocalConfig
    | ClassBalancedConfig
    | ClassBalancedFocalConfig
    | BalancedSoftmaxConfig,
    Field(discriminator="name"),
]


class OptimizerSection(Section):
    """What every optimizer has. Weight decay is decoupled from the gradient."""

    learning_rate: Positive = 0.001
    weight_decay: float = Field(0.0001, ge=0)
    clip_norm: Positive | None = None


class AdamConfig(OptimizerSection):
    """Adam, or AdamW: in Keras both decay decoupled, and differ in their default decay only."""

    name: Literal["adam", "adamw"] = "adam"
    beta_1: float = Field(0.9, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)
    epsilon: Positive = 1e-7


class SGDConfig(OptimizerSection):
    """SGD, plain."""

    name: Literal["sgd"]


class MomentumConfig(OptimizerSection):
    """SGD with momentum."""

    name: Literal["momentum"]
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False


class RMSpropConfig(OptimizerSection):
    """RMSprop."""

    name: Literal["rmsprop"]
    rho: float = Field(0.9, ge=0, lt=1)
    momentum: float = Field(0.0, ge=0, lt=1)
    epsilon: Positive = 1e-7


OptimizerConfig = Annotated[
    AdamConfig | SGDConfig | MomentumConfig | RMSpropConfig, Field(discriminator="name")
]


class ScheduleSection(Section):
    """What every schedule has: a linear warm-up, over half of the epochs at most."""

    warmup_epochs: float = Field(0.0, ge=0)


class ConstantConfig(ScheduleSection):
    """The same learning rate throughout."""

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
    """Half a cosine down to `final_fraction` of the learning rate."""

    name: Literal["cosine"]
    final_fraction: Fraction = 0.0


class CosineRestartsConfig(ScheduleSection):
    """Cosine with warm restarts (Loshchilov 2017)."""

    name: Literal["cosine_restarts"]
    first_cycle_epochs: Positive = 10
    cycle_growth: float = Field(2.0, ge=1)
    peak_decay: Fraction = 1.0
    final_fraction: Fraction = 0.0


class CyclicConfig(ScheduleSection):
    """Triangle between `min_learning_rate` and the learning rate, per batch (Smith 2017)."""

    name: Literal["cyclic"]
    min_learning_rate: Positive = 1e-4
    half_cycle_epochs: Positive = 4


class PlateauConfig(ScheduleSection):
    """Multiply by `factor` when the validation loss has not fallen for `patience` epochs."""

    name: Literal["plateau"]
    factor: float = Field(0.1, gt=0, lt=1)
    patience: int = Field(10, ge=1)
    min_delta: float = Field(1e-4, ge=0)


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
