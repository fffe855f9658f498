"""The rules: what they choose, that they are monotone, and that the user's settings stay."""

import itertools
import math
from dataclasses import replace

import pytest

from alloyk.auditing.shortcuts import EqualizationEffect
from alloyk.autoconfig import Fingerprint, rules
from alloyk.config import resolve_config

FOUND = Fingerprint(
    source="plates",
    images={"train": 2550, "val": 450, "test": 500},
    classes={"1050": 1275, "2017": 1275},
    grouped_by="plate_id",
    split_given=False,
    plates=3500,
    height=64,
    width=64,
    sizes=1,
    depth="uint16",
    snr=40.0,
    sharpness=0.1,
    equalizing=None,
    scene=1.0,
    turned=0.0,
    defective=0.1,
    framed=0.0,
)
DATA = {"data": {"path": "plates"}}


def chosen(rule, found=FOUND, **given):
    """Key → value that a rule chooses."""
    config = resolve_config(None, {**DATA, **given})
    return {key: value for key, value, _ in rule(found, config)}


def with_train(count, classes=2):
    return replace(
        FOUND,
        images={**FOUND.images, "train": count},
        classes={str(i): count // classes for i in range(classes)},
    )


@pytest.mark.parametrize("short", [8, 28, 32, 63, 64, 65, 95, 96, 100, 224, 500, 4096])
@pytest.mark.parametrize("sharpness", [0.0, 0.01, 0.1, 0.5, 1.5])
def test_images_are_never_enlarged_and_small_ones_not_reduced(short, sharpness):
    side, _ = rules.side_for(short, sharpness)
    assert side <= short
    assert side == short if short <= 96 else side >= 96


def test_a_large_sharp_image_keeps_more_pixels_than_a_large_smooth_one():
    sides = [rules.side_for(4096, sharpness)[0] for sharpness in (0.001, 0.02, 0.03, 0.5)]
    assert sides == sorted(sides)
    assert (sides[0], sides[-1]) == (96, 256)
    assert "crop the images" in rules.side_for(4096, 0.5)[1]


def test_the_size_keeps_the_shape_of_the_images():
    found = replace(FOUND, height=64, width=128)
    assert chosen(rules.image_size, found)["preprocess.image_size"] == [64, 128]


@pytest.mark.parametrize("size", [(30, 22), (22, 30), (11, 240), (19, 53), (96, 97), (23, 26)])
def test_small_images_keep_their_size_to_the_pixel(size):
    found = replace(FOUND, height=size[0], width=size[1], sharpness=0.5)
    size_of = chosen(rules.image_size, found, model={"arch": "cnn"})
    height, width = size_of["preprocess.image_size"]
    assert min(height, width) == min(size)
    longest = max(size)
    expected = longest if longest <= rules.SMALL_SIDE else longest - longest % rules.SIDE_STEP
    assert max(height, width) == expected


@pytest.mark.parametrize(
    ("size", "steps", "found"),
    [
        ([64, 64], 1011, None),
        ([64, 64], 1009, [32, 32]),  # of 2,020
        ([64, 128], 100, [32, 64]),
        ([48, 48], 0, [32, 32]),
        ([112, 112], 0, [56, 56]),
        ([224, 256], 0, [112, 128]),
        ([32, 32], 0, None),
        ([28, 28], 0, None),
    ],
)
def test_images_are_halved_where_time_allows_less_than_half_of_the_steps(size, steps, found):
    config = resolve_config(None, {**DATA, "preprocess": {"image_size": size}})
    settings = {key: value for key, value, _ in rules.halved_for_time(FOUND, config, steps)}
    assert settings.get("preprocess.image_size") == found
    assert ("train.batch_size" in settings) == (found is not None)


@pytest.mark.parametrize(
    ("images", "before", "after"),
    [(300, 12, None), (640, 32, None), (700, 32, None), (720, 32, 36), (2550, 32, 64),
     (10**6, 32, 64), (2550, 16, None), (2550, 64, None)],
)  # fmt: skip
def test_halved_images_come_in_larger_batches_of_a_twentieth(images, before, after):
    given = {**DATA, "preprocess": {"image_size": [64, 64]}, "train": {"batch_size": before}}
    settings = rules.halved_for_time(with_train(images), resolve_config(None, given), 0)
    batches = [value for key, value, _ in settings if key == "train.batch_size"]
    assert batches == ([after] if after else [])


def test_images_for_weights_of_a_larger_size_are_not_halved():
    given = {**DATA, "preprocess": {"image_size": [64, 64]}}
    config = resolve_config(None, {**given, "model": {"arch": "resnet50", "weights": "imagenet"}})
    assert not [*rules.halved_for_time(FOUND, config, 0)]


def test_networks_of_keras_applications_get_the_smallest_size_they_take():
    found = replace(FOUND, height=28, width=28)
    for arch, side in (("efficientnetb0", 32), ("resnet18", 28)):
        size = chosen(rules.image_size, found, model={"arch": arch})["preprocess.image_size"]
        assert size == [side, side]


@pytest.mark.parametrize("images", [1, 20, 79, 80, 300, 640, 5000, 10**6])
def test_a_batch_is_at_most_a_twentieth_of_the_images_or_the_smallest(images):
    batch = rules.batch_for(images)
    assert 4 <= batch <= 32
    assert batch <= images / 20 or batch == 4


def test_more_images_never_mean_fewer_steps_nor_stronger_augmentation():
    counts = [2**k for k in range(2, 24)]
    for few, more in itertools.pairwise(counts):
        assert rules.steps_for(few) <= rules.steps_for(more)
        assert rules.batch_for(few) <= rules.batch_for(more)
        assert rules.strength_for(few) >= rules.strength_for(more)


@pytest.mark.parametrize("images", [100, 300, 2550, 8400, 100_000])
def test_epochs_give_the_steps_within_one_epoch(images):
    batch = rules.batch_for(images)
    train = {"batch_size": batch}
    epochs = chosen(rules.length, with_train(images), train=train)["train.epochs"]
    per_epoch = math.ceil(images / batch)
    assert 0 <= epochs * per_epoch - rules.steps_for(images) < per_epoch


@pytest.mark.parametrize("arch", ["cnn", "fnn"])
def test_more_images_mean_fewer_steps_by_the_rounding_of_an_epoch_at_most(arch):
    before = 0
    for images in range(20, 2000):
        batch = rules.batch_for(images)
        given = {"train": {"batch_size": batch}, "model": {"arch": arch}}
        per_epoch = math.ceil(images / batch)
        steps = chosen(rules.length, with_train(images), **given)["train.epochs"] * per_epoch
        assert steps >= before - per_epoch
        before = max(before, steps - per_epoch)


def test_the_dense_network_gets_six_times_the_steps():
    found = with_train(8400)
    usual = chosen(rules.length, found, model={"arch": "cnn"})["train.epochs"]
    (_, epochs, reason), *_ = rules.length(
        found, resolve_config(None, {**DATA, "model": {"arch": "fnn"}})
    )
    per_epoch = math.ceil(8400 / 32)
    assert usual * per_epoch - rules.steps_for(8400) < per_epoch
    assert 0 <= epochs * per_epoch - 6 * rules.steps_for(8400) < per_epoch
    assert "6 times as many with fnn" in reason


def test_a_time_budget_leaves_epochs_and_patience_to_the_clock():
    train = {"time_budget_minutes": 5}
    assert chosen(rules.length, train=train) == {}
    kept = {"schedule.warmup_epochs", "schedule.hold_fraction"}
    assert set(chosen(rules.schedule, train=train)) == kept


def test_the_rate_is_held_by_the_schedule_that_can_hold_it():
    assert chosen(rules.schedule)["schedule.hold_fraction"] == 0.6
    constant = {"schedule": {"name": "constant"}}
    assert "schedule.hold_fraction" not in chosen(rules.schedule, **constant)


def test_a_training_run_is_not_stopped_before_the_rate_falls():
    held = {"schedule": {"name": "cosine", "warmup_epochs": 3, "hold_fraction": 0.6}}
    found = chosen(rules.stopping, train={"epochs": 33}, **held)
    assert found == {"train.patience": 9, "train.start_from_epoch": 21}
    constant = {"schedule": {"name": "constant"}}
    assert chosen(rules.stopping, train={"epochs": 33}, **constant)["train.start_from_epoch"] == 16
    assert chosen(rules.stopping, train={"time_budget_minutes": 5}) == {}


def test_drift_of_the_detector_is_augmented_however_many_images_there_are():
    responses = {chosen(rules.augmentation, with_train(n))["augment.response"] for n in (20, 10**5)}
    assert responses == {0.05}


def test_the_rate_falls_with_the_batch_by_the_law_of_the_optimizer():
    half = {"train": {"batch_size": 8}}
    resnet18 = chosen(rules.learning_rate, model={"arch": "resnet18"}, **half)
    assert resnet18["optimizer.learning_rate"] == pytest.approx(0.001 / 2, rel=1e-2)
    resnet34 = chosen(rules.learning_rate, model={"arch": "resnet34"}, **half)
    assert resnet34["optimizer.learning_rate"] == pytest.approx(0.01 / 4, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "reason"), [("adam", "the recipe's for fnn"), ("adamw", "the default of adamw")]
)
def test_the_rate_of_another_optimizer_is_not_called_the_recipes(name, reason):
    given = {"model": {"arch": "fnn"}, "optimizer": {"name": name}}
    config = resolve_config(None, {**DATA, **given})
    assert [why for _, _, why in rules.learning_rate(FOUND, config)] == [reason]


def test_a_long_tail_is_sampled_by_class_unless_a_loss_balances_it():
    tail = replace(FOUND, classes={"1050": 900, "2017": 100})
    assert chosen(rules.loss, tail)["data.sampling"] == "class_aware"
    assert chosen(rules.loss)["data.sampling"] == "natural"
    balanced = chosen(rules.loss, tail, loss={"name": "balanced_softmax"})
    assert balanced["data.sampling"] == "natural"


@pytest.mark.parametrize(
    ("scene", "before", "after", "equalize"),
    [
        (0.7, 0.8, 0.95, True), (0.7, 0.9, 0.83, False), (0.7, 0.8, 0.81, False),
        (0.9, 0.8, 0.95, True), (0.9, 0.9, 0.83, True), (0.9, 0.8, 0.64, False),
        (0.9, 0.8, 0.5, False),
    ],
)  # fmt: skip
def test_equalising_is_chosen_where_it_helps_or_a_common_scene_takes_the_range(
    scene, before, after, equalize
):
    effect = EqualizationEffect(before, after, chance=0.5, error=0.02, significant=True)
    found = replace(FOUND, equalizing=effect, scene=scene)
    assert chosen(rules.intensities, found)["preprocess.equalize"] is equalize
    unsure = replace(found, equalizing=replace(effect, significant=False))
    assert chosen(rules.intensities, unsure)["preprocess.equalize"] is False


def test_several_channels_are_not_equalised():
    effect = EqualizationEffect(0.7, 0.95, chance=0.5, error=0.02, significant=True)
    data = {"path": "plates", "channels": {"column": "voltage", "values": ["40", "50"]}}
    found = replace(FOUND, equalizing=effect)
    assert chosen(rules.intensities, found, data=data)["preprocess.equalize"] is False


def test_images_without_a_common_scene_are_turned_in_training():
    assert chosen(rules.augmentation)["augment.orientation"] is False
    for free in (replace(FOUND, scene=0.1), replace(FOUND, turned=0.85)):
        assert chosen(rules.augmentation, free)["augment.orientation"] is True
        assert chosen(rules.intensities, free)["preprocess.upright"] is False


def test_images_that_are_turned_upright_are_not_turned_in_training():
    free, upright = replace(FOUND, turned=0.85), {"upright": True}
    assert chosen(rules.augmentation, free, preprocess=upright)["augment.orientation"] is False


def test_images_that_do_not_fit_into_memory_are_kept_on_disk():
    config = resolve_config(None, DATA)
    needed = 4 * 3500 * 96 * 96

    def where(memory):
        return next(rules.cache(FOUND, config, memory))[1]

    assert (where(4.1 * needed), where(3.9 * needed)) == ("memory", "disk")
    two = {"path": "plates", "channels": {"column": "voltage", "values": ["40", "50"]}}
    config = resolve_config(None, {"data": two})
    assert (where(8.1 * needed), where(7.9 * needed)) == ("memory", "disk")


def test_a_drawn_split_is_part_of_the_plan_and_a_given_one_is_not():
    assert chosen(rules.split) == {"data.ratios": [0.7, 0.15, 0.15]}
    assert chosen(rules.split, replace(FOUND, split_given=True)) == {}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "not split by folders or manifest; drawn by plate_id"),
        ({"fold": "2/5"}, "fold 2/5 is held out for test; the rest is drawn by plate_id"),
        ({"leave_out": "kv=40"}, "kv=40 is held out for test; the rest is drawn by plate_id"),
    ],
)
def test_the_reason_for_the_shares_names_what_is_held_out(settings, reason):
    config = resolve_config(None, {"data": {"path": "plates", **settings}})
    assert [why for _, _, why in rules.split(FOUND, config)] == [reason]
