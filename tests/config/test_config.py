"""The configuration: what a user may write, which source wins, and the error texts."""

import re
from itertools import permutations
from pathlib import Path

import pytest
import yaml

from alloyk.config import Config, parse_overrides, read_yaml, resolve_config, write_config
from alloyk.config.recipes import ARCHITECTURES
from alloyk.errors import ConfigError


def resolve(*settings, path=None):
    return resolve_config(path, parse_overrides(settings))


# Table 1 of the study, typed from the paper's table a second time.
TABLE_1 = {
    "fnn": ("sgd", 0.01, 0.001),
    "cnn": ("adam", 0.001, 0.0001),
    "resnet18": ("adam", 0.001, 0.0001),
    "resnet34": ("sgd", 0.01, 0.0001),
    "resnet50": ("rmsprop", 0.0005, 0.0005),
    "vgg16": ("momentum", 0.01, 0.0001),
    "vgg19": ("momentum", 0.01, 0.0001),
    "efficientnetb0": ("rmsprop", 0.002, 0.0001),
}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_study_recipe_is_table_1_to_the_letter(arch):
    config = resolve(f"model.arch={arch}", "recipe=study")
    found = config.optimizer
    assert (found.name, found.learning_rate, found.weight_decay) == TABLE_1[arch]
    assert found.clip_norm is None
    assert 50 <= config.train.epochs <= 200
    assert 16 <= config.train.batch_size <= 64
    assert (config.train.patience, config.train.start_from_epoch) == (10, 30)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("recipe", ["alloyk", "study"])
def test_resolved_configuration_repeats_itself(arch, recipe, tmp_path):
    config = resolve(f"model.arch={arch}", f"recipe={recipe}", "data.path=/some/images")
    write_config(config, tmp_path / "config.yaml")
    assert resolve_config(tmp_path / "config.yaml") == config


def test_command_line_wins_over_file_wins_over_recipe(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("model: {arch: resnet18}\noptimizer: {learning_rate: 0.5}\n")
    assert resolve(path=path).optimizer.learning_rate == 0.5
    assert resolve(path=path).optimizer.name == "adam"
    assert resolve("optimizer.learning_rate=0.25", path=path).optimizer.learning_rate == 0.25


def test_another_optimizer_does_not_inherit_the_recipes_settings():
    config = resolve("model.arch=vgg16", "optimizer.name=adam")
    assert config.optimizer.name == "adam"
    assert not hasattr(config.optimizer, "momentum")


def test_yaml_1_1_traps_are_avoided(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("optimizer: {name: adam, learning_rate: 1e-3}\n")  # PyYAML: a string
    assert resolve(path=path).optimizer.learning_rate == 0.001
    path.write_text("seed: 010\ntrain: {epochs: 0}\n")  # PyYAML: 8
    assert resolve("train.epochs=012", path=path).seed == 10
    assert resolve("train.epochs=012", path=path).train.epochs == 12
    with pytest.raises(
        ConfigError, match=r"^seed must be a whole number, got '1:30'$"
    ):  # PyYAML: 90
        resolve("seed=1:30")


def test_an_error_about_a_number_as_a_key_names_the_file(tmp_path):
    path = tmp_path / "experiment.yaml"
    for text in ("train: {3: 4}\n", "2017: 3\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: "):
            resolve(path=path)
    with pytest.raises(ConfigError, match=r"^seed must be a whole number of fewer digits, got"):
        resolve("seed=1e30")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epoch=3", "unknown key train.epoch; did you mean train.epochs?"),
        ("epochs=3", "unknown key epochs; did you mean train.epochs?"),
        (
            "bla.x=3",
            "unknown key bla; the top level has the keys seed, recipe, data, preprocess, augment, "
            "model, loss, multitask, optimizer, schedule, train, quantize",
        ),
        (
            "model.arch=resnet19",
            "model.arch must be one of fnn, cnn, resnet18, resnet34, resnet50, vgg16, vgg19, "
            "efficientnetb0, got 'resnet19'; did you mean resnet18?",
        ),
        (
            "optimizer.name=foo",
            "optimizer.name must be one of adam, adamw, sgd, momentum, rmsprop, got 'foo'",
        ),
        ("optimizer.momentum=high", "optimizer.momentum must be a number, got 'high'"),
        (
            "optimizer.beta_1=0.5",
            "unknown key optimizer.beta_1: optimizer.name=rmsprop has the keys name, "
            "learning_rate, weight_decay, clip_norm, rho, momentum, epsilon; beta_1 is a key of "
            "adam, adamw",
        ),
        ("train.epochs=0", "train.epochs must be >= 1, got 0"),
        ("train.epochs=no", "train.epochs must be a whole number, got 'no'"),
        ("train.epochs=true", "train.epochs must be a number, got true"),
        ("train.mixed_precision=7", "train.mixed_precision must be true, false or auto, got 7"),
        ("data.ratios=[1,2]", "data.ratios must have at least 3 values, got 2"),
        ("data.ratios=[1,2,3,4]", "data.ratios must have at most 3 values, got 4"),
        ("data.ratios=[.nan,0.5,0.5]", "data.ratios.0 must be a finite number, got nan"),
        (
            "optimizer.learning_rate=inf",
            "optimizer.learning_rate must be a finite number, got 'inf'",
        ),
        ("augment.noise=.inf", "augment.noise must be a finite number, got inf"),
        ("data.fold=0/3", "data.fold must be a fold out of two or more, such as 2/5, got '0/3'"),
        ("data.fold=3", "data.fold must be text, got 3; put it in quotes"),
        ("data.fold=4/3", "data.fold must be a fold out of two or more, such as 2/5, got '4/3'"),
        (
            "data.leave_out=plate_id",
            "data.leave_out must be COLUMN=VALUE, such as tube_voltage_kvp=45, got 'plate_id'",
        ),
        (
            "preprocess.image_size=4",
            "preprocess.image_size must be at least 8 pixels on each side, got 4",
        ),
        ("preprocess.mean=[0.5]", "preprocess.mean and preprocess.std must be set together"),
        (
            "preprocess={mean: [0.5], std: [0.2, 0.3]}",
            "preprocess.mean and preprocess.std must have the same length, and std must be "
            "above 0, got [0.5] and [0.2, 0.3]",
        ),
        (
            "preprocess={mean: [0.5], std: [0]}",
            "preprocess.mean and preprocess.std must have the same length, and std must be "
            "above 0, got [0.5] and [0.0]",
        ),
        (
            "preprocess={mean: [0.5, 0.4], std: [0.2, 0.3]}",
            "preprocess.mean must have 1 number for gray, or 3 for the colours that a network "
            "expects, got 2",
        ),
        ("model=3", "model must have keys, such as model.arch, got 3"),
        ("loss=focal", "loss must have keys, such as loss.name, got 'focal'"),
        (
            "loss.gamma=1",
            "unknown key loss.gamma: loss.name=cross_entropy has the keys name, label_smoothing; "
            "gamma is a key of focal, class_balanced_focal",
        ),
        (
            "model.tasks=[thickness]",
            "model.tasks must contain alloy, such as [alloy, thickness], got ['thickness']",
        ),
        (
            "multitask.weights={2017: 1}",
            "the names in multitask.weights must be text, got 2017; put it in quotes",
        ),
        (
            "model.tasks=[alloy,alloy]",
            "model.tasks must name each task once, got ['alloy', 'alloy']",
        ),
        ("model.tasks=3", "model.tasks must be a list such as [A, B], got 3"),
        ("multitask.weights.alloy=0", "multitask.weights.alloy must be > 0, got 0"),
        (
            "multitask.weights.alloy=.inf",
            "multitask.weights.alloy must be a finite number, got inf",
        ),
        ("multitask.weights.alloy=true", "multitask.weights.alloy must be a number, got true"),
        (
            "multitask.weights.kvp=2",
            "multitask.weights must name tasks of model.tasks (alloy), got 'kvp'",
        ),
        (
            "multitask.weighting=learned",
            "multitask.weighting=learned needs a task besides alloy; for example "
            "model.tasks=[alloy, thickness]",
        ),
    ],
)
def test_error_names_key_requirement_and_value(setting, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve(setting)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.epochs"], "^--set must be KEY=VALUE, got 'train.epochs'; for example"),
        (["=3"], "^--set must be KEY=VALUE, got '=3'; for example"),
        (["train..epochs=3"], "^--set must be KEY=VALUE, got 'train..epochs=3'; for example"),
        (["train.epochs=[1"], r"^--set train\.epochs must be a YAML value, got '\[1'; put text"),
        (["seed=1", "seed=2"], "^seed must be given once, got 1 and 2$"),
        (["loss={name: focal}", "loss.name=x"], "^loss.name must be given once, got 'focal' and"),
        (["loss=3", "loss.name=x"], "^loss must be given once, got 3 and {'name': 'x'}$"),
    ],
)
def test_invalid_override_is_named(overrides, message):
    for order in permutations(overrides):
        with pytest.raises(ConfigError, match=message if order == tuple(overrides) else "must be"):
            parse_overrides(order)


def test_same_override_may_be_repeated():
    assert parse_overrides(["seed=1", "seed=1"]) == {"seed": 1}


def test_keys_of_a_mapping_may_contain_dots():
    assert parse_overrides(
        ["multitask.weights.a.b=2", "data.simulate.overrides.tube.air_mm=3"]
    ) == {
        "multitask": {"weights": {"a.b": 2}},
        "data": {"simulate": {"overrides": {"tube.air_mm": 3}}},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "must be valid YAML, line 1: expected"),
        ("- 1\n- 2", "must hold `key: value` lines, got a list$"),
        ("just words", "must hold `key: value` lines, got a str$"),
        (
            "train: {epochs: 1}\nseed: 1\ntrain: {batch_size: 8}",
            "must be valid YAML, line 3: train is given twice$",
        ),
        ("train: {epochs: 1, epochs: 2}", "must be valid YAML, line 1: epochs is given twice$"),
    ],
)
def test_invalid_file_is_named(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))} {message}"):
        resolve(path=path)


def test_a_data_folder_may_be_called_by_a_number():
    assert resolve("data.path=2017").data.path == Path("2017").absolute()


def test_image_size_may_be_a_number_a_list_or_text_with_an_x():
    sizes = [resolve(f"preprocess.image_size={text}") for text in ("32", "[32, 48]", "32x48")]
    assert [config.preprocess.image_size for config in sizes] == [(32, 32), (32, 48), (32, 48)]


def test_paths_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = resolve("data.path=plates", "model.weights=runs/model.keras")
    assert config.data.path == tmp_path / "plates"
    assert config.model.weights == str(tmp_path / "runs" / "model.keras")
    assert resolve("model.weights=imagenet").model.weights == "imagenet"
    assert resolve("model.weights=none").model.weights is None


def test_fixed_weights_are_refused_with_learned_weighting():
    with pytest.raises(ConfigError, match=r"^multitask\.weights must be empty with"):
        resolve(
            "model.tasks=alloy,thickness", "multitask.weighting=learned",
            "multitask.weights.thickness=2",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["preprocess.full_scale=4095"], "full_scale needs preprocess.normalize=full_scale, got"),
        (["preprocess.standardize=imagenet", "preprocess.mean=[0.5]", "preprocess.std=[0.2]"],
         "mean takes the place of preprocess.standardize, got imagenet"),
        (["model.freeze_epochs=3"], "freeze_epochs needs model.weights, got 3 without them"),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve_config(None, parse_overrides(settings))


@pytest.mark.parametrize("value", ["3", "[1, 2]", "{a: 1}"])
def test_a_wrong_flat_frame_is_named_by_its_key(value):
    with pytest.raises(ConfigError, match=r"^data\.flat must be a flat frame's file, or a list of"):
        resolve(f"data.flat={value}")


def test_the_least_rate_of_a_cycle_is_below_its_peak():
    with pytest.raises(ConfigError, match=r"min_learning_rate must be < optimizer\.learning_rate"):
        resolve("model.arch=fnn", "schedule.name=cyclic")  # both are 0.0001
    assert resolve("model.arch=cnn", "schedule.name=cyclic").schedule.min_learning_rate == 1e-4


def test_an_empty_file_means_the_defaults(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n")
    assert read_yaml(path) == {}
    assert resolve(path=path).model.arch == Config().model.arch


ROOT = Path(__file__).parents[2]
CONFIGS = [
    *sorted(set((ROOT / "configs").glob("*.yaml")) - set((ROOT / "configs").glob("tune_*"))),
    ROOT / "alloyk" / "config" / "default.yaml",
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_file_in_configs_is_valid_and_names_its_command(path):
    config = resolve(path=path)
    if path.stem in ARCHITECTURES:
        assert config.model.arch == path.stem
        assert config.recipe == "study"
    header = path.read_text().split("\n\n")[0]
    assert header.startswith("#")
    command = "--arch" if path.stem == "default" else f"configs/{path.name}"
    assert f"alloyk train {command}" in header


def test_there_is_a_file_for_each_row_of_table_1():
    assert set(ARCHITECTURES) <= {path.stem for path in CONFIGS}


def test_the_written_file_is_plain_yaml(tmp_path):
    write_config(resolve(), tmp_path / "config.yaml")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["model"]["arch"]
