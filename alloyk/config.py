"""The description of an experiment: what a YAML file, a recipe and ``--set`` add up to.

Sources in rising order: the defaults written here, the recipe of the architecture
(`alloyk.recipes`), the YAML file, the command line.
"""

import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from alloyk.errors import AlloykError
from alloyk.recipes import ARCHITECTURES, merge, recipe_settings
from alloyk.tasks import ALLOY

Arch = Literal[tuple(ARCHITECTURES)]
NUMBERS = (int, float, int | None, float | None)
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class Section(BaseModel):
    """A part of the configuration; a misspelt key is an error, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _yes_is_no_number(cls, values):
        if isinstance(values, dict):
            for name, value in values.items():
                field = cls.model_fields.get(name)
                if isinstance(value, bool) and field and field.annotation in NUMBERS:
                    raise ValueError(f"{name} wants a number, found {str(value).lower()}")
        return values


class SimulateConfig(Section):
    """The embedded default data set, made when `data.path` is not given."""

    preset: str = "study"
    images: int = Field(12000, ge=1)
    image_size: int = Field(64, ge=8)
    seed: int = Field(0, ge=0)
    overrides: dict[str, Any] = {}


class DataConfig(Section):
    """Which images, and how they are split and read."""

    path: Path | None = None
    simulate: SimulateConfig = SimulateConfig()
    ratios: tuple[Positive, Positive, Positive] = (0.70, 0.15, 0.15)
    group_by: str | None = None
    split_seed: int = Field(0, ge=0)
    fold: str | None = Field(None, pattern=r"^[1-9]\d*/[1-9]\d*$")
    leave_out: str | None = Field(None, pattern="^[^=]+=.+$")
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

    @field_validator("fold")
    @classmethod
    def _one_of_several(cls, value):
        if value is not None:
            number, count = map(int, value.split("/"))
            if number > count or count < 2:
                raise ValueError("wanted a fold out of two or more, such as 2/5")
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
    def _none_is_none(cls, value):
        return None if value in ("none", "") else value

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
    weights: dict[str, Weight] = {}


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


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which reads `1e-3` as a number, as YAML 1.2 does."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_yaml(text: str):
    """The value of a YAML text.

    >>> parse_yaml("[1e-3, true, resnet18]")
    [0.001, True, 'resnet18']
    """
    return yaml.load(text, Loader)  # derived from SafeLoader


def parse_overrides(overrides) -> dict:
    """Nested dictionary from ``section.key=value`` strings, values read as YAML.

    >>> parse_overrides(["train.epochs=3", "augment.horizontal_flip=true"])
    {'train': {'epochs': 3}, 'augment': {'horizontal_flip': True}}
    """
    nested: dict = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise AlloykError(
                f"--set wants KEY=VALUE, found {override!r}: write for example train.epochs=20"
            )
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise AlloykError(f"--set {key}: {text!r} is not a YAML value") from error
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file; an `AlloykError` names the file and the line that is wrong."""
    try:
        content = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise AlloykError(f"cannot read the configuration {path}: {error}") from error
    except yaml.YAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if hasattr(error, "problem_mark") else ""
        raise AlloykError(f"{path} is not valid YAML{where}: mend it there") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise AlloykError(f"{path}: wanted `key: value` lines, found {type(content).__name__}")
    return content


def default_settings() -> dict:
    """What `configs/default.yaml` says: the embedded default experiment."""
    return read_yaml(resources.files("alloyk.configs") / "default.yaml")


def _section(settings: dict, key: str) -> dict:
    section = settings.get(key)
    return section if isinstance(section, dict) else {}


def resolve_config(path: Path | None = None, overrides: dict | None = None) -> Config:
    """The configuration of a YAML file under what the command line says.

    Without a file and without `data.path` it is the embedded default, `configs/default.yaml`. A
    recipe chosen on the command line wins over the file, as any other setting there does.

    Args:
        path: The YAML file.
        overrides: Nested dictionary, as from `parse_overrides`.

    Raises:
        AlloykError: A key is unknown or a value is out of range; the message names it.
    """
    overrides = overrides or {}
    own_data = "path" in _section(overrides, "data")
    file = read_yaml(path) if path else {} if own_data else default_settings()
    merged = merge(file, overrides)
    arch = _section(merged, "model").get("arch", ModelConfig().arch)
    recipe = recipe_settings(arch, merged.get("recipe", "alloyk"))
    settings = merge(recipe, file)
    if "recipe" in overrides:
        settings = merge(settings, recipe)
    try:
        return Config.model_validate(merge(settings, overrides))
    except ValidationError as error:
        source = f"{path}: " if path else ""
        raise AlloykError(source + _first_problem(error)) from error


def _first_problem(error: ValidationError) -> str:
    """One line for the first of pydantic's findings: the key, what it wants, what was found."""
    # A section without a name comes from a recipe that another wrong value has kept away.
    problems = [one for one in error.errors() if one["type"] != "union_tag_not_found"]
    first = (problems or error.errors())[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {where}: {_known_keys(first['loc'])}{more}"
    wanted = first["msg"].removeprefix("Value error, ").replace("Input should be", "wanted")
    if first["type"] == "tuple_type":
        wanted = "wanted a list, such as [96, 96] or [alloy, thickness]"
    elif first["type"] == "union_tag_invalid":
        context = first["ctx"]
        where += ".name"
        return f"{where}: wanted {context['expected_tags']}, found {context['tag']!r}{more}"
    elif first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        wanted = "wanted keys of its own, such as train.epochs=20"
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        place = f"{where}: " if where else ""
        return f"{place}{wanted}{more}"  # about several keys together; the text names them
    found = "null" if first["input"] is None else repr(first["input"])
    return f"{where}: {wanted}, found {found}{more}"


def _known_keys(location) -> str:
    """The keys that stand beside the unknown one, the closest first where one is close."""
    import difflib

    model: Any = Config()
    for part in location[:-1]:
        model = getattr(model, str(part), model)
    names = list(type(model).model_fields)
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"


def write_config(config: Config, path: Path, header: str = "") -> None:
    """Write everything resolved, so that training from the file repeats the run."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    Path(path).write_text(header + text, encoding="utf-8")
