"""Recipe, file and command line: no order matters, and nothing that the user gave is dropped."""

import logging
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alloyk.config import Config, dump_yaml, parse_overrides, resolve_config
from alloyk.config.recipes import ARCHITECTURES
from alloyk.errors import ConfigError
from alloyk.settings.schema import kinds, section_classes
from alloyk.settings.section import types_in

# Valid values of keys whose type alone does not tell them.
SPECIAL = {
    "data.path": st.just("/images"),
    "data.fold": st.sampled_from(["1/2", "3/5"]),
    "data.leave_out": st.just("plate_id=3"),
    "data.simulate.overrides": st.just({"tube.air_mm": 3.0}),
    "data.ratios": st.just([0.5, 0.25, 0.25]),
    "preprocess.mean": st.just([0.5]),
    "preprocess.std": st.just([0.25]),
    "preprocess.image_size": st.sampled_from([[16, 24], [64, 64]]),
    "model.arch": st.sampled_from(ARCHITECTURES),
    "model.tasks": st.just(["alloy", "thickness"]),
    "model.weights": st.just("imagenet"),
    "multitask.weights": st.just({"alloy": 2.0}),
    "train.devices": st.just(["CPU:0"]),
    "train.mixed_precision": st.sampled_from([True, False, "auto"]),
}
# They need or exclude other keys.
EXCLUDED = {
    "augment.mixup",
    "data.dark",
    "data.channels.by",
    "data.channels.column",
    "data.channels.values",
    "data.raw.dtype",
    "data.raw.shape",
    "data.raw.offset",
    "data.raw.byte_order",
    "data.attenuation",
    "data.leave_out",
    "model.freeze_epochs",
    "multitask.weighting",
    "preprocess.full_scale",
    "preprocess.mean",
    "preprocess.std",
    "quantize.run",
}


def value_of(key, model, name):
    """Strategy for valid values of a field, in the form in which the configuration holds them."""
    if key in SPECIAL:
        return SPECIAL[key]
    field = model.model_fields[name]
    types = types_in(field.annotation)
    if bool in types:
        return st.booleans()
    bounds = {
        name: getattr(rule, name)
        for rule in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(rule, name)
    }
    if int in types:
        high = bounds.get("le", 90)
        return st.integers(min(8, high), high)
    if float in types:
        low = bounds.get("ge", bounds.get("gt", 0.0))
        high = bounds.get("le", bounds.get("lt", low + 1.0))
        return st.sampled_from([low + share * (high - low) for share in (0.125, 0.25, 0.5)])
    if str in types:
        return st.sampled_from(["some text", "010", "no", "1e3"])
    return st.sampled_from([one for one in types if one is not type(None)])


@st.composite
def experiments(draw):
    """Dotted key → value: any keys, of any kinds."""
    values = {}

    def take(model, prefix):
        for name, field in model.model_fields.items():
            key = prefix + name
            choice = kinds(field)
            if choice:
                kind = draw(st.sampled_from([None, *choice]))
                if kind:
                    values[f"{key}.name"] = kind
                    take(choice[kind], f"{key}.")
            elif section_classes(field):
                take(section_classes(field)[0], f"{key}.")
            elif name != "name" and key not in EXCLUDED and draw(st.integers(0, 3)) == 0:
                values[key] = draw(value_of(key, model, name))

    take(Config, "")
    if values.get("schedule.name") == "cyclic":  # below every learning rate
        values["schedule.min_learning_rate"] = draw(st.sampled_from([1e-6, 1e-7]))
    return values


def as_text(value):
    return str(value) if isinstance(value, list | dict) else dump_yaml(value).split("\n")[0]


def at(config, key):
    value = config.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


def nested(values):
    tree = {}
    for key, value in values.items():
        *sections, leaf = key.split(".")
        here = tree
        for section in sections:
            here = here.setdefault(section, {})
        here[leaf] = value
    return tree


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=experiments(), data=st.data())
def test_settings_in_any_order_and_from_any_source_all_stand(values, data, tmp_path):
    order = data.draw(st.permutations(list(values)))
    in_file = {key: values[key] for key in order if data.draw(st.booleans())}
    on_line = [f"{key}={as_text(values[key])}" for key in order if key not in in_file]
    file = tmp_path / "experiment.yaml"
    file.write_text(dump_yaml(nested(in_file)))
    found = resolve_config(file, parse_overrides(on_line))
    for key, value in values.items():
        assert at(found, key) == value, key
    assert resolve_config(file, parse_overrides(on_line[::-1])) == found
    everything = [f"{key}={as_text(value)}" for key, value in values.items()]
    file.write_text("")
    assert resolve_config(file, parse_overrides(everything)) == found


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["optimizer.learning_rate=0.5", "optimizer.name=sgd"], "optimizer.learning_rate", 0.5),
        (["loss.gamma=1.5", "loss.name=focal"], "loss.gamma", 1.5),
        (["schedule.patience=3", "schedule.name=plateau"], "schedule.patience", 3),
        (["loss.label_smoothing=0.1"], "loss.label_smoothing", 0.1),
        (["schedule.warmup_epochs=1"], "schedule.warmup_epochs", 1),
        (["optimizer={name: sgd}", "optimizer.learning_rate=0.5"], "optimizer.learning_rate", 0.5),
    ],
)
def test_a_key_stands_before_and_after_the_name_of_its_section(overrides, key, value):
    for order in permutations(overrides):
        assert at(resolve_config(None, parse_overrides(order)), key) == value


def test_a_files_rate_stands_under_an_optimizer_of_the_command_line(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text("optimizer: {learning_rate: 0.02}\n")
    found = resolve_config(file, parse_overrides(["optimizer.name=sgd"])).optimizer
    assert (found.name, found.learning_rate) == ("sgd", 0.02)
    # The recipe's clip_norm belongs to its own optimizer, RMSprop.
    assert found.clip_norm is None


def test_a_files_key_that_another_kind_lacks_is_an_error_that_names_both(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text("optimizer: {name: momentum, momentum: 0.9}\n")
    with pytest.raises(ConfigError) as caught:
        resolve_config(file, parse_overrides(["optimizer.name=adam"]))
    assert str(caught.value) == (
        f"{file}: unknown key optimizer.momentum: optimizer.name=adam has the keys name, "
        "learning_rate, weight_decay, clip_norm, beta_1, beta_2, epsilon; momentum is a key of "
        "momentum, rmsprop; the command line chose optimizer.name=adam: remove "
        "optimizer.momentum from the file"
    )


def test_the_file_is_named_only_for_values_that_stand_in_it(tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text("train: {epochs: 0}\n")
    with pytest.raises(ConfigError, match=rf"^{file}: train\.epochs must be >= 1, got 0$"):
        resolve_config(file)
    with pytest.raises(ConfigError, match=r"^train\.epochs must be >= 1, got -1$"):
        resolve_config(file, parse_overrides(["train.epochs=-1"]))


def test_a_recipe_of_the_command_line_leaves_the_files_settings_and_says_so(tmp_path, caplog):
    file = tmp_path / "experiment.yaml"
    file.write_text("optimizer: {learning_rate: 0.02}\n")
    with caplog.at_level(logging.WARNING):
        found = resolve_config(file, parse_overrides(["recipe=study"]))
    assert (found.optimizer.learning_rate, found.train.epochs) == (0.02, 100)
    assert caplog.messages == [
        f"recipe=study does not replace the settings of {file}: optimizer.learning_rate"
    ]


def test_a_network_keeps_its_length_relative_to_others_in_recipe_and_default():
    for chosen in ([], ["data.path=plates"], ["recipe=alloyk"]):
        usual = resolve_config(None, parse_overrides([*chosen, "model.arch=cnn"])).train.epochs
        dense = resolve_config(None, parse_overrides([*chosen, "model.arch=fnn"])).train.epochs
        assert dense == 6 * usual
    kept = resolve_config(None, parse_overrides(["model.arch=fnn", "train.epochs=5"]))
    assert kept.train.epochs == 5
    study = resolve_config(None, parse_overrides(["model.arch=fnn", "recipe=study"]))
    assert study.train.epochs == 100


def test_a_recipe_of_the_command_line_replaces_the_embedded_default():
    assert resolve_config().train.epochs == 5
    assert resolve_config(None, parse_overrides(["recipe=study"])).train.epochs == 100
