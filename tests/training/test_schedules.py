import json
import math
from itertools import pairwise

import keras
import numpy as np
import pytest
from pydantic import TypeAdapter

from alloyk.config.choices import ScheduleConfig
from alloyk.training.plateau import ReduceOnPlateau, ScaledSchedule
from alloyk.training.schedules import SCHEDULES, TriangularCycle, WarmUp, build_schedule

RATE, PER_EPOCH, EPOCHS = 0.4, 7, 12
TOTAL = PER_EPOCH * EPOCHS


def values(schedule, steps=TOTAL):
    return np.array([float(schedule(step)) for step in range(steps)])


def built(name, *, epochs=EPOCHS, rate=RATE, per_epoch=PER_EPOCH, **options):
    """A schedule with the configuration's defaults for what is not given."""
    settings = TypeAdapter(ScheduleConfig).validate_python({"name": name, **options}).model_dump()
    if name == "plateau":  # options of the callback
        settings = {key: settings[key] for key in ("name", "warmup_epochs")}
    return build_schedule(learning_rate=rate, steps_per_epoch=per_epoch, epochs=epochs, **settings)


def restarts(t, first, growth, peak_decay, floor):
    """Loshchilov and Hutter (2017), cycle by cycle."""
    start, length, peak = 0, first, 1.0
    while t >= start + length:
        start, length, peak = start + length, length * growth, peak * peak_decay
    cosine = 0.5 * peak * (1 + math.cos(math.pi * (t - start) / length))
    return RATE * ((1 - floor) * cosine + floor)


def triangle(t, low, half):
    """PyTorch's formula of CyclicLR, mode triangular."""
    cycle = math.floor(1 + t / (2 * half))
    x = abs(t / half - 2 * cycle + 1)
    return low + (RATE - low) * max(0, 1 - x)


FORMULAS = {
    "constant": ({}, lambda t: RATE),
    "step": (
        {"epochs_per_step": 3, "decay": 0.2},
        lambda t: RATE * 0.2 ** (t // (3 * PER_EPOCH)),
    ),
    "exponential": ({"decay": 0.7}, lambda t: RATE * 0.7 ** (t / PER_EPOCH)),
    "cosine": (
        {"hold_fraction": 0.0, "final_fraction": 0.1},
        lambda t: RATE * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t / (TOTAL - 1)))),
    ),
    "cosine_restarts": (
        {
            "first_cycle_epochs": 2,
            "cycle_growth": 2.0,
            "peak_decay": 0.5,
            "final_fraction": 0.01,
        },
        lambda t: restarts(t, 2 * PER_EPOCH, 2, 0.5, 0.01),
    ),
    "cyclic": (
        {"min_learning_rate": 0.1, "half_cycle_epochs": 1.0},
        lambda t: triangle(t, 0.1, PER_EPOCH),
    ),
    "plateau": ({}, lambda t: RATE),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_equals_its_formula(name):
    options, formula = FORMULAS[name]
    expected = [formula(t) for t in range(TOTAL)]
    np.testing.assert_allclose(values(built(name, **options)), expected, rtol=1e-5, atol=1e-7)


def test_restarts_of_equal_length_equal_their_formula():
    schedule = built("cosine_restarts", first_cycle_epochs=3, cycle_growth=1.0)
    expected = [restarts(t, 3 * PER_EPOCH, 1, 1.0, 0.0) for t in range(TOTAL)]
    np.testing.assert_allclose(values(schedule), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_in_equal_steps_to_where_the_schedule_begins(name):
    options, _ = FORMULAS[name]
    if name == "cosine":  # Shortened by the warm-up: two epochs less.
        after = built(name, epochs=EPOCHS - 2, **options)
    else:
        after = built(name, **options)
    warm = values(built(name, warmup_epochs=2, **options))
    start = float(after(0))
    np.testing.assert_allclose(warm[:14], start * np.arange(1, 15) / 14, rtol=1e-6)
    np.testing.assert_allclose(warm[14:], values(after, TOTAL - 14), rtol=1e-6, atol=1e-8)


def test_warm_up_may_end_within_an_epoch():
    rates = values(built("constant", warmup_epochs=0.5), 6)
    np.testing.assert_allclose(rates, RATE * np.array([1, 2, 3, 4, 4, 4]) / 4, rtol=1e-6)


def test_cosine_ends_with_the_run():
    for hold in (0.0, 0.5, 1 / 3):
        schedule = built("cosine", warmup_epochs=1, hold_fraction=hold)
        assert values(schedule)[-1] == pytest.approx(0, abs=1e-8)


def test_cosine_begins_to_fall_after_a_share_of_the_steps_at_the_full_rate():
    rates = values(built("cosine", hold_fraction=0.25, final_fraction=0.1))
    held = TOTAL // 4
    falling = [
        RATE * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t / (TOTAL - held - 1))))
        for t in range(TOTAL - held)
    ]
    np.testing.assert_allclose(rates, [RATE] * held + falling, rtol=1e-5, atol=1e-7)


def test_a_rate_that_never_falls_is_held_to_the_end():
    np.testing.assert_allclose(values(built("cosine", hold_fraction=1.0)), RATE, rtol=1e-6)


def test_study_cycle_reaches_both_ends():
    schedule = built("cyclic", rate=1e-3, per_epoch=20, epochs=10, half_cycle_epochs=2)
    rates = values(schedule, 200)
    assert rates.min() == pytest.approx(1e-4)
    assert rates.max() == pytest.approx(1e-3)
    steps = np.abs(np.diff(rates))  # It moves with every batch, by the same amount.
    np.testing.assert_allclose(steps, 9e-4 / 40, rtol=1e-3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_survives_its_configuration(name):
    schedule = built(name, warmup_epochs=1)
    if name == "plateau":
        schedule.scale = 0.25
    text = json.dumps(keras.optimizers.schedules.serialize(schedule))
    again = keras.optimizers.schedules.deserialize(json.loads(text))
    np.testing.assert_array_equal(values(again, 30), values(schedule, 30))


def test_optimizer_follows_the_schedule_step_by_step():
    schedule = built("cyclic", warmup_epochs=1)
    optimizer = keras.optimizers.SGD(schedule)
    weight = keras.Variable(0.0)
    for step in range(20):
        before = float(weight)
        optimizer.apply([keras.ops.ones(())], [weight])
        assert before - float(weight) == pytest.approx(float(schedule(step)), rel=1e-4)


def run(callback, metrics, name="val_loss", first=0):
    scales = []
    for epoch, value in enumerate(metrics, first):
        callback.on_epoch_end(epoch, {name: value})
        scales.append(callback.schedule.scale)
    return scales


PLATEAU = {"factor": 0.5, "patience": 2, "min_delta": 1e-4}


def plateau(**options):
    return ReduceOnPlateau(built("plateau"), **(PLATEAU | options))


def test_plateau_lowers_the_rate_as_keras_does():
    """Same metrics, same epochs of reduction as keras.callbacks.ReduceLROnPlateau."""
    metrics = np.random.default_rng(0).normal(1, 0.1, 40) * np.linspace(1, 0.8, 40)
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    theirs = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=1e-4)
    theirs.set_model(model)
    theirs.on_train_begin()
    expected = []
    for epoch, value in enumerate(metrics):
        theirs.on_epoch_end(epoch, {"val_loss": value})
        expected.append(float(model.optimizer.learning_rate))
    scales = run(plateau(), metrics)
    assert min(scales) < 0.1
    np.testing.assert_allclose(scales, expected, rtol=1e-6)


def test_plateau_of_an_accuracy_waits_for_it_to_rise():
    metrics = [0.5, 0.6, 0.7, 0.7, 0.7, 0.8]
    scales = run(plateau(monitor="val_accuracy"), metrics, "val_accuracy")
    assert scales == [1, 1, 1, 1, 0.5, 0.5]


def test_plateau_counts_nan_as_no_improvement():
    assert run(plateau(), [math.nan, math.nan, 1.0, math.nan, math.nan]) == [1, 0.5, 0.5, 0.5, 0.25]


def test_plateau_leaves_the_warm_up_alone_and_has_a_floor():
    scales = run(plateau(start_epoch=4, patience=1, min_scale=0.3), [1.0] * 8)
    assert scales == pytest.approx([1, 1, 1, 1, 1, 0.5, 0.3, 0.3])


@pytest.mark.parametrize("killed_after", range(1, 11))
def test_resumed_plateau_goes_on_as_if_nothing_had_happened(killed_after):
    metrics = [5, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2]
    undisturbed = run(plateau(), metrics)
    first = plateau()
    run(first, metrics[:killed_after])
    second = plateau()
    second.set_state(json.loads(json.dumps(first.get_state())))
    second.set_model(keras.Sequential())
    second.on_train_begin()
    scales = run(second, metrics[killed_after:], first=killed_after)
    assert scales == undisturbed[killed_after:]


def test_compiled_training_step_sees_the_lowered_rate():
    schedule = build_schedule(
        "plateau", learning_rate=0.5, steps_per_epoch=1, epochs=6, warmup_epochs=2
    )
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(schedule), lambda y, p: p)  # Gradient 1 at x = 1.
    weights = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()[0].item())
    )
    reduce = ReduceOnPlateau(
        schedule, monitor="loss", min_delta=100, patience=1, factor=0.5, start_epoch=2
    )
    model.fit(np.ones((1, 1)), np.ones((1, 1)), epochs=6, verbose=0, callbacks=[reduce, record])
    steps = [a - b for a, b in pairwise(weights)]
    np.testing.assert_allclose(steps, [0.5, 0.5, 0.5, 0.25, 0.125], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: of_any_name("triangular"),
            "^`name` must be one of constant, .*, got 'triangular'$",
        ),
        (
            lambda: built("cosine", warmup_epochs=12),
            "^`warmup_epochs` must be >= 0 and < 12, got 12",
        ),
        (lambda: plateau(factor=1.0), "^`factor` must be > 0 and < 1, got 1.0$"),
        (lambda: run(plateau(), [1.0], "loss"), "^the logs must have val_loss, got loss$"),
        (lambda: WarmUp(ScaledSchedule(built("step")), 0), "^`warmup_steps` must be >= 1, got 0$"),
        (lambda: TriangularCycle(0.0, 1.0, 0), "^`half_cycle_steps` must be >= 1, got 0$"),
    ],
)
def test_bad_value_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_option_of_another_schedule_is_refused():
    with pytest.raises(TypeError, match="half_cycle_epochs"):
        of_any_name("cosine", hold_fraction=0.0, final_fraction=0.0, half_cycle_epochs=2)


def of_any_name(name, **options):
    return build_schedule(
        name, learning_rate=1.0, steps_per_epoch=1, epochs=2, warmup_epochs=0, **options
    )
