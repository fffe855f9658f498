"""What a user may write, what wins over what, and what the errors say."""

from pathlib import Path

import pytest
import yaml

from alloyk.config import Config, parse_overrides, read_yaml, resolve_config, write_config
from alloyk.config.recipes import ARCHITECTURES
from alloyk.errors import AlloykError


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


def test_another_optimizer_does_not_inherit_the_settings_of_the_recipes():
    config = resolve("model.arch=vgg16", "optimizer.name=adam")
    assert config.optimizer.name == "adam"
    assert not hasattr(config.optimizer, "momentum")


def test_yaml_1_1_traps_are_mended(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("optimizer: {name: adam, learning_rate: 1e-3}\n")  # PyYAML: a string
    assert resolve(path=path).optimizer.learning_rate == 0.001
    path.write_text("seed: 010\ntrain: {epochs: 0}\n")  # PyYAML: 8
    assert resolve("train.epochs=012", path=path).seed == 10
    assert resolve("train.epochs=012", path=path).train.epochs == 12
    with pytest.raises(AlloykError, match=r"seed: .*integer.*found '1:30'"):  # PyYAML: 90
        resolve("seed=1:30")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epoch=3", "unknown key train.epoch: did you mean epochs"),
        ("bla.x=3", "unknown key bla: choose from seed, recipe, data"),
        ("model.arch=resnet19", "model.arch.*'resnet18'.*found 'resnet19'"),
        ("optimizer.name=foo", r"optimizer\.name: wanted 'adam', .*, found 'foo'$"),
        ("optimizer.momentum=high", "optimizer.rmsprop.momentum.*found 'high'"),
        ("train.epochs=0", "train.epochs.*greater than or equal to 1.*found 0"),
        ("train.epochs=no", "epochs wants a number, found false"),
        ("data.ratios=[1,2]", "data.ratios"),
        ("data.ratios=[.nan,0.5,0.5]", r"data\.ratios\.0: wanted a finite number, found nan"),
        ("optimizer.learning_rate=inf", r"learning_rate: wanted a finite number, found 'inf'"),
        ("augment.noise=.inf", r"augment\.noise: wanted a finite number, found inf"),
        ("data.fold=0/3", r"data\.fold: wanted a fold out of two or more.*2/5, found .0/3"),
        ("data.fold=3", r"data\.fold: .*string, found 3"),
        ("data.fold=4/3", r"data\.fold: wanted a fold"),
        ("data.leave_out=plate_id", r"data\.leave_out: wanted COLUMN=VALUE.*found 'plate_id'"),
        ("preprocess.image_size=4", "at least 8 pixels"),
        ("preprocess.mean=[0.5]", "mean and std go together"),
        ("model=3", "model"),
        ("loss.gamma=-1", "loss"),
        ("model.tasks=[thickness]", r"model\.tasks: alloy must be one of the tasks"),
        ("model.tasks=[alloy,alloy]", r"model\.tasks: each task is named once"),
        ("model.tasks=3", r"model\.tasks: wanted a list.*\[alloy, thickness\], found 3"),
        ("multitask.weights.alloy=0", r"weights\.alloy: wanted greater than 0, found 0"),
        ("multitask.weights.alloy=.inf", r"weights\.alloy: wanted a finite number"),
        ("multitask.weights.alloy=true", r"weights\.alloy: wanted a valid number, found True"),
        ("multitask.weights.kvp=2", r"^multitask\.weights: 'kvp' is no task; model\.tasks has al"),
        ("multitask.weighting=learned", "^multitask.weighting=learned wants a task beside alloy"),
    ],
)
def test_a_wrong_setting_is_named(setting, message):
    with pytest.raises(AlloykError, match=message):
        resolve(setting)


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train.epochs=[1"])
def test_a_wrong_override_is_named(override):
    with pytest.raises(AlloykError, match="--set"):
        parse_overrides([override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML at line"),
        ("- 1\n- 2", "found list"),
        ("just words", "found str"),
        ("train: {epochs: 1}\nseed: 1\ntrain: {batch_size: 8}", "at line 3, train is given twice"),
        ("train: {epochs: 1, epochs: 2}", "at line 1, epochs is given twice"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(AlloykError, match=f"broken.yaml.*{message}"):
        resolve(path=path)


def test_a_data_folder_may_be_called_by_a_number():
    assert resolve("data.path=2017").data.path == Path("2017").absolute()


def test_an_image_size_may_be_a_number_a_list_or_written_with_an_x():
    sizes = [resolve(f"preprocess.image_size={text}") for text in ("32", "[32, 48]", "32x48")]
    assert [config.preprocess.image_size for config in sizes] == [(32, 32), (32, 48), (32, 48)]


def test_a_configuration_means_the_same_files_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = resolve("data.path=plates", "model.weights=runs/model.keras")
    assert config.data.path == tmp_path / "plates"
    assert config.model.weights == str(tmp_path / "runs" / "model.keras")
    assert resolve("model.weights=imagenet").model.weights == "imagenet"
    assert resolve("model.weights=none").model.weights is None


def test_learned_weights_are_not_given(tmp_path):
    with pytest.raises(AlloykError, match=r"multitask\.weights are for weighting=fixed"):
        resolve(
            "model.tasks=alloy,thickness", "multitask.weighting=learned",
            "multitask.weights.thickness=2",
        )  # fmt: skip


def test_an_empty_file_means_the_defaults(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n")
    assert read_yaml(path) == {}
    assert resolve(path=path).model.arch == Config().model.arch


ROOT = Path(__file__).parents[2]
CONFIGS = [*sorted((ROOT / "configs").glob("*.yaml")), ROOT / "alloyk" / "config" / "default.yaml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_file_in_configs_is_valid_and_says_how_to_run_it(path):
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
