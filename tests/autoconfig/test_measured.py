"""The batch is halved until a measured step fits into memory; a short time budget is refused."""

import json
import re
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest

from alloyk.autoconfig import Choice, plan_training, step
from alloyk.autoconfig.measured import in_time_budget, with_measured_cost
from alloyk.autoconfig.plan import replanned
from alloyk.autoconfig.step import OUT_OF_MEMORY, StepNeed, measured_step
from alloyk.config import Config, resolve_config
from alloyk.errors import ConfigError


def plates(folder, size):
    """80 images of two classes, `(width, height)` pixels."""
    from PIL import Image

    for label, level in (("1050", 200), ("2017", 90)):
        (folder / label).mkdir()
        for number in range(40):
            Image.new("L", size, level + number % 7).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return plates(tmp_path_factory.mktemp("plates"), (32, 32))


@pytest.fixture(autouse=True)
def a_gigabyte_per_image(monkeypatch):
    """Instead of a real step, which tests/training and tests/api run."""

    def need(config, class_counts):
        return StepNeed(0.25, config.train.batch_size * 10**9, 1.0)

    monkeypatch.setattr("alloyk.autoconfig.measured.measured_step", need)


def measured(data, memory, **train):
    given = {"data": {"path": str(data)}, "train": train, "model": {"arch": "resnet34"}}
    plan = plan_training(given)
    if "batch_size" not in train:
        plan = replanned(plan, given, Choice("train.batch_size", 32, "a test"))
    return with_measured_cost(plan, given, started=time.monotonic() - 10, memory_bytes=memory)


def test_the_batch_is_halved_until_a_step_fits_and_the_rules_follow(data):
    plan = measured(data, 21e9)
    assert plan.config.train.batch_size == 16
    reason = next(one.reason for one in plan.choices if one.key == "train.batch_size")
    assert reason == "a step took 32.0 GB of 21.0 GB with 32 images"
    assert plan.config.optimizer.learning_rate == pytest.approx(0.005)  # of 0.01 for 32
    assert plan.config.train.epochs == 300  # 1,500 steps would be 375 epochs of 4
    assert plan.cost[0] == "one step of 16 images: 0.250 s, at most 16.0 GB of memory"
    assert plan.cost[1].startswith("training takes about 5 min")


def test_a_batch_that_the_user_has_set_is_refused_instead(data):
    with pytest.raises(ConfigError, match=r"got 16\.0 GB of 10\.0 GB .* smaller train\.batch_size"):
        measured(data, 10e9, batch_size=16)
    with pytest.raises(ConfigError, match=r"got 4\.0 GB of 4\.0 GB .*preprocess\.image_size"):
        measured(data, 4e9)


def test_a_peak_that_never_falls_ends_at_the_smallest_batch(data, monkeypatch):
    batches = []

    def need(config, class_counts):
        batches.append(config.train.batch_size)
        return StepNeed(0.25, 9e9, 1.0)

    monkeypatch.setattr("alloyk.autoconfig.measured.measured_step", need)
    with pytest.raises(ConfigError, match=r"got 9\.0 GB of 8\.0 GB with 4 images; set a sm"):
        measured(data, 8e9)
    assert batches == [32, 16, 8, 4]


def test_a_process_that_runs_out_of_memory_halves_the_batch_as_well(data, monkeypatch):
    def need(config, class_counts):
        return OUT_OF_MEMORY if config.train.batch_size > 8 else StepNeed(0.25, 6e9, 1.0)

    monkeypatch.setattr("alloyk.autoconfig.measured.measured_step", need)
    plan = measured(data, 8e9)
    assert plan.config.train.batch_size == 8
    reason = next(one.reason for one in plan.choices if one.key == "train.batch_size")
    assert reason == "a step took more than there is with 16 images"


def tiny(**settings):
    model = {"preprocess": {"image_size": [16, 16]}, "model": {"arch": "fnn"}}
    return resolve_config(None, {"data": {"path": "x"}, **model, **settings})


def test_the_peak_of_this_process_does_not_count():
    held = np.ones(15 * 10**7)  # 1.2 GB; TensorFlow and a tiny network take less than 1
    need = measured_step(tiny(), [20, 20])
    assert 1e8 < need.peak_bytes < held.nbytes
    assert 0 < need.seconds < need.took


def test_a_step_that_cannot_run_is_an_error(monkeypatch):
    """The work of the process is done here: it would import TensorFlow for this alone."""

    def run(command, input, **options):
        given = json.loads(input)
        found = step._measure(Config.model_validate(given["config"]), given["classes"])
        return subprocess.CompletedProcess(command, 0, json.dumps(found), "")

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(ConfigError, match=r"^train\.devices must name devices .* got GPU:7"):
        measured_step(tiny(train={"devices": ["GPU:7"]}), [20, 20])

    def broken(config, class_counts):
        raise ValueError("no such shape\n  * argument")

    monkeypatch.setattr("alloyk.training.step_cost.measure_configuration", broken)
    with pytest.raises(ConfigError, match="training step: ValueError: no such shape"):
        measured_step(tiny(), [20, 20])


def test_a_step_of_several_channels_is_measured():
    from alloyk.training.step_cost import measure_configuration

    channels = {"column": "voltage", "values": ["40", "50"]}
    config = tiny(data={"path": "plates", "channels": channels})
    assert measure_configuration(config, [20, 20]).seconds > 0


def test_a_time_budget_too_short_is_refused_and_another_is_stated(data):
    with pytest.raises(ConfigError, match=r"time_budget_minutes must be at least 0\.\d here"):
        measured(data, 1e12, time_budget_minutes=0.2)
    plan = measured(data, 1e12, time_budget_minutes=5)
    assert plan.cost[1] == "training takes 5 min 0 s, as set"


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    return plates(tmp_path_factory.mktemp("larger"), (80, 64))


def a_step_by_area(config, class_counts):
    """A step of 64×80 pixels takes a second."""
    height, width = config.preprocess.image_size
    return StepNeed(height * width / (64 * 80), config.train.batch_size * 10**9, 1.0)


@pytest.mark.parametrize(("minutes", "size"), [(5, [32, 40]), (60, [64, 80])])
def test_a_time_budget_for_few_steps_halves_the_images(larger, monkeypatch, minutes, size):
    monkeypatch.setattr("alloyk.autoconfig.measured.measured_step", a_step_by_area)
    plan = measured(larger, 1e12, time_budget_minutes=minutes)
    assert plan.config.preprocess.image_size == tuple(size)
    reason = next(one.reason for one in plan.choices if one.key == "preprocess.image_size")
    if minutes == 5:
        assert re.fullmatch(r"at 64×80 the time budget allows 2\d\d of 1,500 steps", reason)
        assert plan.cost[0].startswith("one step of 4 images: 0.250 s")


def test_the_halved_batch_stays_halved_with_halved_images(larger, monkeypatch):
    monkeypatch.setattr("alloyk.autoconfig.measured.measured_step", a_step_by_area)
    given = {"data": {"path": str(larger)}, "train": {"time_budget_minutes": 5}}
    plan = plan_training({**given, "model": {"arch": "resnet34"}})
    plan = replanned(plan, given, Choice("train.batch_size", 8, "a test"))
    plan = with_measured_cost(plan, given, started=time.monotonic(), memory_bytes=6e9)
    assert plan.config.preprocess.image_size == (32, 40)
    assert plan.config.train.batch_size == 4


@pytest.mark.parametrize(
    ("minutes", "settings", "size"),
    [
        (5, {}, (32, 40)),
        (60, {}, (64, 80)),
        (None, {}, (64, 80)),
        (5, {"preprocess": {"image_size": 48}}, (48, 48)),
    ],
)
def test_training_halves_as_configuring_does(larger, monkeypatch, minutes, settings, size):
    measured_sizes = []

    def estimate(config, num_classes):
        measured_sizes.append(config.preprocess.image_size)
        return a_step_by_area(config, [40] * num_classes).seconds

    monkeypatch.setattr("alloyk.autoconfig.measured.estimate_step", estimate)
    given = {"data": {"path": str(larger)}, "train": {"time_budget_minutes": minutes}, **settings}
    plan = plan_training(given)
    found = in_time_budget(plan, given, started=time.monotonic() - 10)
    assert found.config.preprocess.image_size == size
    assert (found is plan) == (size != (32, 40))
    # Nothing is measured where nothing could change.
    assert measured_sizes == ([(64, 80)] if minutes and not settings else [])


@pytest.mark.parametrize(
    ("train", "batch", "rate"), [({}, 64, 0.00141), ({"batch_size": 16}, 16, 0.000707)]
)
def test_halved_images_of_many_come_in_larger_batches_unless_set(
    larger, monkeypatch, train, batch, rate
):
    monkeypatch.setattr(
        "alloyk.autoconfig.measured.estimate_step", lambda config, _: a_step_by_area(config, [])[0]
    )
    train = {"time_budget_minutes": 5, **train}
    given = {"data": {"path": str(larger)}, "train": train}
    plan = plan_training(given)
    many = replace(plan.fingerprint, images={"train": 2550, "val": 450, "test": 1500})
    plan = replanned(replace(plan, fingerprint=many), given)
    found = in_time_budget(plan, given, started=time.monotonic()).config
    assert found.preprocess.image_size == (32, 40)
    assert (found.train.batch_size, found.optimizer.learning_rate) == (batch, rate)
