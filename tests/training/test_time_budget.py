"""The learning rate follows the clock, and training ends with it."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from alloyk.config import resolve_config
from alloyk.errors import ConfigError
from alloyk.training.averaging import AveragedWeights
from alloyk.training.build import build_network, compile_network, paced_schedule_of
from alloyk.training.optimizers import without_loss_scaling
from alloyk.training.schedules import PacedSchedule, build_schedule
from alloyk.training.step_cost import estimate_step, measure_configuration, measure_step
from alloyk.training.time_budget import (
    TimeBudget,
    Workload,
    require_one_epoch,
)

COSINE = {
    "steps_per_epoch": 10, "epochs": 10, "warmup_epochs": 1,
    "hold_fraction": 0.0, "final_fraction": 0.0,
}  # fmt: skip
WORK = Workload(train=320, val=64, test=64, batch_size=32)


def cosine():
    return build_schedule("cosine", learning_rate=1.0, **COSINE)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_a_paced_schedule_is_the_other_one_at_its_share(share):
    paced = PacedSchedule(cosine(), 100, share)
    assert float(paced(12345)) == pytest.approx(float(cosine()(99 * share)), abs=1e-6)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(paced))
    assert float(again(0)) == pytest.approx(float(paced(0)), abs=1e-7)


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("alloyk.training.time_budget.time", clock)
    return clock


class Stoppable:
    stop_training = False


def run_epochs(budget, clock, step_seconds, validation_seconds, most=10_000):
    """Drive a callback as `fit` does; returns the batches of each epoch."""
    budget.set_model(Stoppable())
    budget.on_train_begin()
    batches = []
    while not budget.model.stop_training and len(batches) < most:
        budget.on_epoch_begin(len(batches))
        done = 0
        while done < WORK.steps and not budget.model.stop_training:
            budget.on_train_batch_begin(done)
            clock.now += step_seconds
            budget.on_train_batch_end(done)
            done += 1
        budget.on_test_begin()
        clock.now += validation_seconds
        budget.on_test_end()
        budget.on_epoch_end(len(batches))
        batches.append(done)
    return batches


@pytest.mark.parametrize("step_seconds", [0.05, 0.4, 1.7])
def test_training_and_what_follows_end_with_the_time_and_the_schedule(clock, step_seconds):
    schedule = PacedSchedule(cosine(), 100)
    budget = TimeBudget(120, schedule, WORK, started=clock.now - 9, start_seconds=8.0)
    run_epochs(budget, clock, step_seconds, validation_seconds=0.7 * step_seconds)
    tail = WORK.tail_seconds(1.05 * step_seconds, 8.0)
    assert budget.spent + tail == pytest.approx(120, abs=2.5 * step_seconds + 1)
    assert schedule.share > 0.9
    assert float(schedule(0)) < 0.03


def test_time_to_measure_large_raw_images_is_kept_back(clock):
    work = replace(WORK, measuring_seconds=40.0)
    budget = TimeBudget(120, PacedSchedule(cosine(), 100), work, started=clock.now)
    run_epochs(budget, clock, 0.4, validation_seconds=0.3)
    assert budget.spent + 40 + WORK.tail_seconds(0.42, 8.0) == pytest.approx(120, abs=2)


def test_a_slower_machine_later_on_is_followed(clock):
    schedule = PacedSchedule(cosine(), 100)
    budget = TimeBudget(200, schedule, WORK, started=clock.now)
    run_epochs(budget, clock, 0.1, 0.1, most=5)
    budget.model.stop_training = False
    run_epochs(budget, clock, 1.0, 1.0)
    assert budget.spent < 200
    assert schedule.share > 0.95


def test_tracing_in_the_first_validation_does_not_count_as_its_duration(clock):
    budget = TimeBudget(300, PacedSchedule(cosine(), 100), WORK, started=clock.now)
    budget.take_step_seconds(0.3)
    before = budget.reserve
    run_epochs(budget, clock, 0.3, 20.0, most=1)
    assert budget.reserve == pytest.approx(before, rel=0.1)
    run_epochs(budget, clock, 0.3, 20.0, most=1)
    assert budget.reserve > 20


def test_a_resumed_run_counts_only_the_time_it_ran(clock):
    first = TimeBudget(120, PacedSchedule(cosine(), 100), WORK, started=clock.now)
    run_epochs(first, clock, 0.1, 0.1, most=3)
    state = first.get_state()
    clock.now += 5000
    second = TimeBudget(120, PacedSchedule(cosine(), 100), WORK, started=clock.now)
    second.set_state(state)
    assert second.spent == pytest.approx(first.spent - 5000)
    run_epochs(second, clock, 0.1, 0.1)
    assert 100 < second.spent < 120


def test_a_resumed_run_need_not_have_time_for_a_whole_epoch(clock):
    budget = TimeBudget(120, PacedSchedule(cosine(), 100), WORK, started=clock.now)
    with pytest.raises(ConfigError, match="must be at least"):
        budget.take_step_seconds(20.0)
    budget.set_state({"spent": 100.0, "first": 9.0, "validation": 0.1})
    budget.take_step_seconds(20.0)


def test_the_optimizer_of_mixed_precision_is_paced_too():
    config = resolve_config(
        None,
        {
            "data": {"path": "plates"}, "model": {"arch": "fnn"},
            "preprocess": {"image_size": [8, 8]}, "train": {"time_budget_minutes": 5},
        },
    )  # fmt: skip
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = build_network(config, [], 2)
        compile_network(config, network, np.array([0, 1]), 2, steps=10)
    finally:
        keras.config.set_dtype_policy("float32")
    assert without_loss_scaling(network.optimizer) is not network.optimizer
    assert paced_schedule_of(network).share == 0


def test_a_budget_too_short_for_one_epoch_names_the_smallest(clock):
    with pytest.raises(ConfigError, match=r"must be at least 0\.\d+ here.*got 0\.1;") as error:
        require_one_epoch(6, WORK, 5.0, 0.5, 8.0)
    least = float(str(error.value).rpartition(" ")[2])
    require_one_epoch(60 * least, WORK, 5.0, 0.5, 8.0)


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(2),
        ]
    )
    optimizer = keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    return model


def batches(steps):
    import tensorflow as tf

    images = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    pair = tf.data.Dataset.from_tensor_slices((images, np.array([0, 1, 0, 1], np.int32)))
    return pair.batch(4).repeat(steps)


def test_a_step_is_measured_at_the_size_of_the_network_where_batches_have_an_unknown_one(network):
    import tensorflow as tf

    spec = (tf.TensorSpec((None, None, None, 1)), tf.TensorSpec((None,), tf.int32))
    assert measure_step(network, spec, 3).seconds > 0  # a dense layer refuses another size


def test_measuring_a_step_changes_nothing_and_traces_the_graph_of_fit(network):
    before = [variable.numpy() for variable in (*network.variables, *network.optimizer.variables)]
    cost = measure_step(network, batches(1).element_spec, 4)
    after = [variable.numpy() for variable in (*network.variables, *network.optimizer.variables)]
    assert all(map(np.array_equal, before, after))
    assert cost.seconds > 0
    assert cost.peak_bytes > 10**7
    function = network.train_function
    network.fit(batches(2), verbose=0)
    assert network.train_function is function


def test_the_estimate_of_a_step_is_of_the_order_of_a_measured_one():
    config = resolve_config(
        None,
        {"data": {"path": "x"}, "preprocess": {"image_size": 32}, "model": {"arch": "cnn"}},
    )
    estimate, measured = estimate_step(config, 2), measure_configuration(config, [40, 40]).seconds
    assert measured / 8 < estimate < measured * 8


def test_averaged_weights_are_validated_and_training_continues_with_its_own(network):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.layers[1].kernel.numpy())

    averaged = AveragedWeights()
    plain, other = Look(), Look()
    network.fit(
        batches(5), validation_data=batches(1), verbose=0,
        callbacks=[averaged, plain, averaged.restored, other],
    )  # fmt: skip
    average, trained = seen
    assert np.abs(average - trained).max() > 1e-3
