"""The decisions of Population-Based Training, on problems without a network."""

import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from alloyk.config import resolve_config
from alloyk.config.choices import LossConfig
from alloyk.errors import AlloykError, ConfigError, ModelError
from alloyk.plots.schedules import plot_schedules_of
from alloyk.runs.lineage import CHANGEABLE
from alloyk.runs.search_records import GENERATION, PARENT, UNTIL, Trial, TrialRecords
from alloyk.runs.search_space import parameters_of
from alloyk.tuning.evolution import lineage_of
from alloyk.tuning.loop import Outcome, run_trials
from alloyk.tuning.population import (
    Population,
    drawn_values,
    explored_values,
    refuse_fixed_keys,
    refuse_wrong_members,
)
from alloyk.tuning.space import overrides_of
from alloyk.tuning.task import Members

RATE = "optimizer.learning_rate"
SPACE = parameters_of({RATE: {"min": 1e-3, "max": 1.0, "log": True}})
VARIANCE = 1.0
"""Of the gradient of the noisy quadratic."""
EPOCHS = 40


def after(error: float, rate: float) -> float:
    """Expected squared error of a noisy quadratic after a step of gradient descent."""
    return (1 - rate) ** 2 * error + rate**2 * VARIANCE


def best_schedule() -> tuple[list[float], float]:
    """The best rates from an error of 1, and the error at their end.

    rate = error / (error + variance), which decays: Schaul et al., 2013,
    https://arxiv.org/abs/1206.1106, equation 9, with curvature 1.
    """
    rates, error = [], 1.0
    for _ in range(EPOCHS):
        rates.append(error / (error + VARIANCE))
        error = after(error, rates[-1])
    return rates, error


def train(trial, records, deadline=None):
    """One step per epoch; the error is kept in a file, as a network's weights are."""
    error = 1.0
    if PARENT in trial.values:
        error = json.loads((records.out / f"trial_{trial.values[PARENT]}" / "error").read_text())
    for _ in range(trial.values[UNTIL] - trial.values["tuner/initial_epoch"]):
        error = after(error, trial.values[RATE])
    (records.folder(trial) / "error").write_text(json.dumps(error))
    return Outcome(error, trial.values[UNTIL])


def population(size=20, epochs=20, generation_epochs=1, seed=1, burn_in=0, space=SPACE):
    return Population(space, Members(size, generation_epochs, burn_in), epochs, seed=seed)


def search(out, one, function=train):
    complete = run_trials(out, one, function)
    records = TrialRecords(out)
    return complete, records


def line_of(best, trials):
    """A trial and those that it continues, the first one first."""
    by_name, line = {trial.name: trial for trial in trials}, [best]
    while PARENT in line[0].values:
        line.insert(0, by_name[line[0].values[PARENT]])
    return line


def without_files(one):
    """All trials of a search on the noisy quadratic."""
    size, trials, errors = one.members.size, [], {}
    for number in range(size * one.generations):
        start = (number // size - 1) * size
        values = one.values(number, trials[start : start + size] if number >= size else [])
        error = after(errors.get(values.get(PARENT), 1.0), values[RATE])
        trials.append(Trial(f"{number:04d}", values, "finished", error))
        errors[trials[-1].name] = error
    return trials


@pytest.mark.parametrize("seed", range(1, 6))
def test_it_finds_the_best_schedule_of_a_noisy_quadratic(seed):
    rates, error = best_schedule()
    assert error == pytest.approx(1 / (1 + EPOCHS / VARIANCE))  # 1 / e grows by 1 / variance
    trials = without_files(population(size=20, epochs=EPOCHS, seed=seed))
    best = min(trials, key=lambda trial: trial.result)
    assert best.result <= 1.1 * error
    found = [trial.values[RATE] for trial in line_of(best, trials)]
    deviation = np.exp(np.abs(np.log(np.divide(found, rates))).mean())
    assert deviation <= 1.2  # the rates differ by 20 % in the geometric mean


def test_no_constant_rate_comes_near_the_best_schedule():
    constant = []
    for rate in np.geomspace(1e-3, 1, 200):
        error = 1.0
        for _ in range(EPOCHS):
            error = after(error, rate)
        constant.append(error)
    assert min(constant) > 1.5 * best_schedule()[1]


def finished(results, number=0):
    """An ended generation."""
    return [
        Trial(f"{number + i:04d}", {RATE: 0.01 * (i + 1)},
              "failed" if result is None else "finished", result)
        for i, result in enumerate(results)
    ]  # fmt: skip


def parents(one, before, generation=1):
    size = one.members.size
    return [one.values(generation * size + i, before).get(PARENT) for i in range(size)]


def test_the_bottom_quarter_copies_the_top_quarter():
    results = [0.5, 0.9, 0.1, 0.4, 0.8, 0.2, 0.3, 0.6]
    seen = Counter()
    for seed in range(40):
        found = parents(population(8, seed=seed), finished(results))
        kept = [name for i, name in enumerate(found) if i not in (1, 4)]
        assert kept == ["0000", "0002", "0003", "0005", "0006", "0007"]
        seen.update([found[1], found[4]])
    assert set(seen) == {"0002", "0005"}
    assert min(seen.values()) > 20  # each half of 80, by a random choice


def test_accuracies_are_ranked_the_other_way():
    one = Population(SPACE, Members(4, 1), 5, falling=False, seed=1)
    assert parents(one, finished([0.5, 0.9, 0.1, 0.4])) == ["0000", "0001", "0001", "0003"]


def test_nobody_copies_before_the_burn_in_is_over_except_who_has_no_weights():
    results = [0.5, None, 0.1, 0.4]
    one = population(4, burn_in=3)
    assert parents(one, finished(results)) == ["0000", "0002", "0002", "0003"]
    assert parents(one, finished([0.5, 0.9, 0.1, 0.4])) == ["0000", "0001", "0002", "0003"]
    late = finished([0.5, 0.9, 0.1, 0.4], 8)
    assert parents(one, late, generation=3) == ["0008", "0010", "0010", "0011"]


@pytest.mark.parametrize("result", [None, math.nan, math.inf])
def test_who_failed_is_never_copied(result):
    for seed in range(20):
        found = parents(population(4, seed=seed), finished([result, result, result, 0.4]))
        assert found == ["0003"] * 4


def test_a_generation_without_a_result_ends_the_search(tmp_path):
    def failing(trial, records, deadline):
        raise AlloykError("the loss became nan")

    with pytest.raises(AlloykError, match=r"must have a member that ended .* none of 4 at epoch 1"):
        search(tmp_path, population(4), failing)


def test_weights_and_values_come_from_the_same_member():
    """Ray's #28196: weights of A with the settings of B."""
    before, changed = finished([0.1, 0.9, 0.5, 0.6]), 0
    for seed in range(50):
        one = population(4, seed=seed)
        values = one.values(5, before)
        assert values[PARENT] == "0000"
        changed += any(math.isclose(values[RATE], f * 0.01) for f in (0.8, 1.2))
        kept = one.values(4, before)
        assert (kept[PARENT], kept[RATE]) == ("0000", 0.01)
    assert 25 < changed < 50  # of 0.01, the rate of 0000; the rest is drawn anew


SEVERAL = parameters_of(
    {
        RATE: {"min": 1e-3, "max": 1e-2, "log": True},
        "model.dropout": {"min": 0.1, "max": 0.5, "step": 0.1},
        "augment.rotation_deg": {"min": 0, "max": 20},
        "augment.mixup": [0.0, 0.1, 0.2, 0.4],
    }
)


def test_values_never_leave_their_range():
    rng = np.random.default_rng(0)
    values = drawn_values(SEVERAL, rng)
    for _ in range(2000):
        values = explored_values(SEVERAL, values, rng)
        assert 1e-3 <= values[RATE] <= 1e-2
        assert round(values["model.dropout"], 9) in (0.1, 0.2, 0.3, 0.4, 0.5)
        assert values["augment.rotation_deg"] in range(21)
        assert isinstance(values["augment.rotation_deg"], int)
        assert values["augment.mixup"] in ("0.0", "0.1", "0.2", "0.4")


CONDITIONAL = {
    "augment.horizontal_flip": [True, False],
    "augment.rotation_deg": {
        "min": 1, "max": 20, "when": {"augment.horizontal_flip": [True]},
    },
}  # fmt: skip


def test_a_conditional_key_comes_and_goes_with_its_condition():
    space, rng = parameters_of(CONDITIONAL), np.random.default_rng(0)
    values, seen = drawn_values(space, rng), Counter()
    for _ in range(200):
        before, values = values, explored_values(space, values, rng)
        flips = values["augment.horizontal_flip"] == "true"
        assert ("augment.rotation_deg" in values) is flips
        assert not flips or 1 <= values["augment.rotation_deg"] <= 20
        seen["augment.rotation_deg" in before, flips] += 1
    assert min(seen[kind] for kind in [(True, False), (False, True), (True, True)]) > 10


def test_a_schedule_with_a_conditional_key_can_be_drawn_and_repeated(tmp_path):
    space = parameters_of({RATE: {"min": 1e-3, "max": 1.0, "log": True}, **CONDITIONAL})
    _, records = search(tmp_path, population(4, epochs=12, space=space))

    def rotations(trial):
        return [one.values.get("augment.rotation_deg") for one in records.line(trial)]

    def loses_it(trial):
        return any(one and other is None for one, other in pairwise(rotations(trial)))

    best = next(one for one in records if loses_it(one))
    ax = plot_schedules_of(best, records, space)
    panel = ax.get_figure().axes[1]
    assert panel.get_title("left") == "augment.rotation_deg"
    having = [one for one in records if "augment.rotation_deg" in one.values]
    assert len(panel.collections[0].get_segments()) == len(having)
    nan = [math.nan if one is None else one for one in rotations(best)]
    np.testing.assert_array_equal(panel.patches[0].get_data().values, nan)
    experiment = SimpleNamespace(
        configuration=lambda values: resolve_config(None, overrides_of(values)),
        fingerprint=lambda: "", monitor="val_loss",
    )  # fmt: skip
    lineage = lineage_of(replace(best, weights=""), records, experiment)
    configured = resolve_config(None, {}).augment.rotation_deg
    assert [part.values["augment.rotation_deg"] for part in lineage.parts] == [
        one or configured for one in rotations(best)
    ]


def test_values_are_changed_as_by_ray_tune():
    """A value is drawn again, × 1.2 or × 0.8 as often as Ray's own function does it."""
    pbt = pytest.importorskip("ray.tune.schedulers.pbt")
    from ray import tune

    def shares(values):
        up = np.isclose(values, 0.0006)
        down = np.isclose(values, 0.0004)
        return np.array([up.mean(), down.mean(), 1 - up.mean() - down.mean()])

    space = parameters_of({RATE: {"min": 1e-9, "max": 1.0, "log": True}})
    rng = np.random.default_rng(0)
    ours = [explored_values(space, {RATE: 0.0005}, rng)[RATE] for _ in range(4000)]
    domain = {RATE: tune.loguniform(1e-9, 1.0)}
    theirs = [
        pbt._explore({RATE: 0.0005}, domain, 0.25, (1.2, 0.8), None)[0][RATE] for _ in range(4000)
    ]
    assert shares(ours) == pytest.approx([0.375, 0.375, 0.25], abs=0.03)
    assert shares(ours) == pytest.approx(shares(theirs), abs=0.04)


@pytest.mark.parametrize(
    "range_",
    [
        {"min": 0.05, "max": 0.6, "step": 0.05},
        {"min": 1, "max": 4},
        {"min": 0, "max": 8, "step": 2},
    ],
)
def test_a_change_moves_by_a_step_at_least(range_):
    space = parameters_of({"a": range_})
    rng = np.random.default_rng(0)
    step = range_.get("step", 1)
    low, high = range_["min"], range_["max"]
    moved = [explored_values(space, {"a": low + step}, rng)["a"] for _ in range(400)]
    assert np.mean(np.isclose(moved, low + step)) < 0.25  # only where it was drawn again
    assert min(moved) == low
    assert max(moved) <= high


@pytest.mark.parametrize("generation_epochs", [1, 3])
def test_a_search_cut_off_anywhere_makes_the_same_trials(tmp_path, generation_epochs):
    """Ray's #9036: a search that cannot be restored."""
    one = population(4, epochs=7, generation_epochs=generation_epochs)
    _, undisturbed = search(tmp_path / "undisturbed", one)
    calls, trained = 0, []

    def interrupted(trial, records, deadline):
        nonlocal calls
        calls += 1
        if calls % 3 == 2:
            raise KeyboardInterrupt
        trained.append(trial.name)
        return train(trial, records)

    for _ in range(len(list(undisturbed))):
        try:
            _, records = search(tmp_path / "s", one, interrupted)
            break
        except KeyboardInterrupt:
            pass
    assert [(t.values, t.result) for t in records] == [(t.values, t.result) for t in undisturbed]
    assert trained == [trial.name for trial in undisturbed]  # none twice


def test_records_of_another_version_are_refused(tmp_path):
    one = population(4, epochs=3)
    search(tmp_path, one)
    file = tmp_path / "trial_0005" / "trial.json"
    record = json.loads(file.read_text())
    record["values"][RATE] = 0.5
    file.write_text(json.dumps(record))
    longer = population(4, epochs=4)
    with pytest.raises(ModelError, match=r"^trial 0005 must have the values that this version"):
        longer.next(TrialRecords(tmp_path))


def test_a_deleted_member_is_named(tmp_path):
    one = population(4, epochs=3)
    search(tmp_path, one)
    shutil.rmtree(tmp_path / "trial_0002")
    with pytest.raises(ModelError, match=r"trial_0002/trial\.json is missing; restore its folder"):
        population(4, epochs=3).next(TrialRecords(tmp_path))


def test_the_last_generation_may_be_shorter(tmp_path):
    _, records = search(tmp_path, population(2, epochs=5, generation_epochs=2))
    assert [trial.values[UNTIL] for trial in records] == [2, 2, 4, 4, 5, 5]
    assert [trial.values[GENERATION] for trial in records] == [0, 0, 1, 1, 2, 2]
    assert {trial.values["seed"] for trial in records} == {0, 1}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.arch": ["cnn", "fnn"]}, r"model\.arch: must be a key that can change between "
         r"epochs, which are optimizer\.learning_rate, .* augment\.\*; give it one value"),
        ({"train.batch_size": {"min": 8, "max": 64}}, r"train\.batch_size: must be a key that can"),
        ({"model.dropout": {"min": 0, "max": 0.5}}, r"model\.dropout: must be > 0 .* got 0"),
        ({"model.dropout": [0.0, 0.5]}, r"model\.dropout: must be > 0 .* got 0"),
        ({"model.arch": ["cnn"]}, "must have a key with a range or several choices, got none"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_change_is_refused(space, message):
    with pytest.raises(ConfigError, match=message):
        refuse_fixed_keys(parameters_of(space))


def test_every_parameter_of_a_loss_may_change():
    kinds = get_args(get_args(LossConfig)[0])
    parameters = {name for kind in kinds for name in kind.model_fields} - {"name"}
    assert parameters == {key.removeprefix("loss.") for key in CHANGEABLE if "loss." in key}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (Members(1, 1), "population must be >= 2, got 1"),
        (Members(4, 6), r"generation_epochs must be >= 1 and <= train.epochs \(5\), got 6"),
        (Members(4, 0), r"generation_epochs must be >= 1 .* got 0"),
        (Members(4, 1, -1), "burn_in must be >= 0 epochs, got -1"),
    ],
)
def test_a_wrong_population_is_refused(members, message):
    with pytest.raises(ConfigError, match=message):
        refuse_wrong_members(members, 5)
