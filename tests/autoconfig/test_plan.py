"""Plans of small data sets: the file that `alloyk train` takes, and what the user has set."""

import logging

import numpy as np
import pytest
from PIL import Image

import alloyk
from alloyk.autoconfig import plan_training
from alloyk.config import parse_overrides, parse_yaml, resolve_config
from alloyk.errors import ConfigError, DataError


def write_images(folder, counts, size=(40, 48), name="{number:04}.png"):
    """Class folders of noisy images; a class is as bright as its number."""
    random = np.random.default_rng(0)
    for level, (label, count) in enumerate(counts.items(), 1):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.normal(6000 * level, 500, size).astype(np.uint16)
            Image.fromarray(pixels).save(folder / label / name.format(number=number))
    return folder


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("plates"), {"1050": 60, "2017": 60})


def given(data, *settings):
    return {**parse_overrides(settings), "data": {"path": str(data)}}


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("model.arch=resnet34", "train.time_budget_minutes=5"),
        ("optimizer.name=sgd", "train.batch_size=8", "loss.name=focal", "loss.gamma=1"),
        ("augment.shift=0", "preprocess.image_size=[32, 40]", "train.epochs=3", "seed=4"),
    ],
)
def test_the_file_resolves_to_the_planned_configuration(plates, tmp_path, settings):
    plan = plan_training(given(plates, *settings))
    file = tmp_path / "plan.yaml"
    file.write_text(plan.to_yaml(), encoding="utf-8")
    assert resolve_config(file) == plan.config
    assert resolve_config(None, given(plates, *settings), plan.settings) == plan.config
    for setting in settings:
        key, _, value = setting.partition("=")
        choice = next(choice for choice in plan.choices if choice.key == key)
        assert (choice.value, choice.reason) == (parse_yaml(value), "set by you")


def test_the_rules_hold_for_another_optimizer_and_schedule(plates):
    kinds = ("optimizer.name=sgd", "schedule.name=step")
    plan = plan_training(given(plates, *kinds, "train.batch_size=8"))
    default = resolve_config(None, given(plates, *kinds)).optimizer.learning_rate
    assert plan.config.optimizer.learning_rate == pytest.approx(default * 8 / 32)
    assert plan.config.schedule.warmup_epochs == pytest.approx(plan.config.train.epochs / 10)
    assert {"optimizer.learning_rate", "schedule.warmup_epochs"} <= {c.key for c in plan.choices}


def test_the_study_s_recipe_is_not_planned(plates):
    with pytest.raises(ConfigError, match=r"recipe must be alloyk to make a config.* got study"):
        plan_training(given(plates, "recipe=study"))


def test_every_value_in_the_file_has_a_reason(plates):
    lines = plan_training(given(plates)).to_yaml().splitlines()
    values = [line for line in lines if not line.startswith("#") and not line.endswith(":")]
    assert len(values) > 15
    assert all("  # " in line and not line.endswith("# ") for line in values)
    assert "# 120 images: 84 train, 18 val, 18 test; plates not known" in lines


def test_series_in_file_names_are_not_divided_between_splits(tmp_path):
    counts = {"gun": 40, "blade": 40}
    random = np.random.default_rng(0)
    for label in counts:
        (tmp_path / label).mkdir()
        for number in range(40):
            pixels = random.integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{label}{number // 4}_{number:02}.png")
    plan = plan_training(given(tmp_path))
    assert plan.config.data.group_by == "^(.*)_"
    own = plan_training({"data": {"path": str(tmp_path), "group_by": "none"}})
    assert own.config.data.group_by == "none"


@pytest.mark.parametrize("group_by", [None, "none", "^(.*)_"])
def test_a_split_that_alloyk_has_made_needs_no_ratios_and_no_groups(tmp_path, group_by):
    counts = {"gun": 40, "blade": 40}
    images = write_images(tmp_path / "images", counts)
    for file in sorted(images.glob("*/*.png")):
        file.rename(file.with_name(f"series{int(file.stem) // 4}_{file.name}"))
    alloyk.split(images, tmp_path / "sorted", group_by=group_by)
    plan = plan_training(given(tmp_path / "sorted"))
    assert not {"data.ratios", "data.group_by"} & {choice.key for choice in plan.choices}


def test_small_classes_are_reported(tmp_path, caplog):
    data = write_images(tmp_path, {"1050": 60, "2017": 9})
    with caplog.at_level(logging.WARNING, "alloyk"):
        plan = plan_training(given(data))
    assert "fewer than 10 training images of 2017 (" in caplog.text
    assert plan.config.data.sampling == "class_aware"


def test_no_images_and_one_class_are_refused(tmp_path):
    with pytest.raises(DataError, match="no image in"):
        plan_training(given(tmp_path))
    write_images(tmp_path, {"1050": 5})
    with pytest.raises(DataError, match="must have two or more classes, got '1050' alone"):
        plan_training(given(tmp_path))


def test_three_images_per_class_are_too_few(tmp_path):
    data = write_images(tmp_path, {"1050": 3, "2017": 3})
    with pytest.raises(DataError, match="at least 2 training images, got 1 of '1050'"):
        plan_training(given(data))


def test_an_unreadable_image_is_named(tmp_path):
    data = write_images(tmp_path, {"1050": 20, "2017": 20})
    for number in range(20):
        (data / "1050" / f"{number:04}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1050/0.*set data.on_bad_image=skip to"):
        plan_training(given(data))
