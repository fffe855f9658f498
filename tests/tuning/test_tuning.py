"""A search tries the given space, resumes after an interruption, and ends in a YAML that trains."""

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from alloyk.cli import main
from alloyk.config import parse_overrides, resolve_config
from alloyk.config.recipes import ARCHITECTURES
from alloyk.errors import AlloykError, ConfigError
from alloyk.models.classifier import ARCHITECTURES as MODELS
from alloyk.runs.search_records import (
    SEARCH_FILE,
    TRIAL_FILE,
    TrialRecords,
    refuse_another_search,
    write_description,
)  # fmt: skip
from alloyk.runs.search_space import parameters_of
from alloyk.settings.data import DataSettings
from alloyk.training.checkpoint import Checkpoint
from alloyk.training.run import run_training
from alloyk.tuning.experiment import Experiment
from alloyk.tuning.keras_space import hyperparameters_of
from alloyk.tuning.search import NoResultError, _default_folder, run_search
from alloyk.tuning.space import (
    complete,
    extremes,
    overrides_of,
    read_space,
    space_from,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("uncollected", "unrendered")

TINY = [
    "data.simulate.preset=easy", "data.simulate.images=60", "data.simulate.image_size=16",
    "preprocess.image_size=16", "model.arch=fnn", "model.depth=1", "train.epochs=2",
    "schedule.warmup_epochs=0", "train.batch_size=16", "preprocess.repair=false",
]  # fmt: skip
# Without moments and clipping, whose graphs take longest to trace.
FAST = [*TINY, "optimizer.name=sgd", "optimizer.clip_norm=null"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def trials_of(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_grid_over_two_keys_ends_in_a_yaml_that_trains(tmp_path):
    out = tmp_path / "search"
    options = [option for setting in FAST for option in ("--set", setting)]
    over = ["--over", "optimizer.learning_rate=1e-4,1e-2", "--over", "model.hidden_units=8,16"]
    result = CliRunner().invoke(main, ["tune", "--out", str(out), *over, *options])
    assert result.exit_code == 0, result.output
    assert f"report: {out / 'report.html'}\n" in result.stdout
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"alloyk train {out / 'best.yaml'}" in page
    trials = trials_of(out)
    for trial in trials:
        own = resolve_config(out / f"trial_{trial['trial']}" / "settings.yaml")
        assert str(own.model.hidden_units) == trial["model.hidden_units"]
    tried = {(t["optimizer.learning_rate"], t["model.hidden_units"]) for t in trials}
    assert tried == {("0.0001", "8"), ("0.0001", "16"), ("0.01", "8"), ("0.01", "16")}
    losses = [float(trial["val_loss"]) for trial in trials]
    assert losses == sorted(losses)

    best = resolve_config(out / "best.yaml")
    assert str(best.optimizer.learning_rate) == trials[0]["optimizer.learning_rate"]
    assert str(best.model.hidden_units) == trials[0]["model.hidden_units"]
    run = run_training(best, tmp_path / "run")
    with (run / "history.csv").open() as file:
        again = min(float(row["val_loss"]) for row in csv.DictReader(file))
    assert again == pytest.approx(losses[0], rel=1e-4)


def test_a_trial_that_diverges_is_named_and_the_search_goes_on(tmp_path, caplog):
    overrides = parse_overrides([*TINY, "optimizer.name=sgd", "optimizer.weight_decay=0"])
    space = {"optimizer.learning_rate": [1e30, 0.01]}
    run_search("grid", space, tmp_path / "s", overrides=overrides)
    assert "trial 0000 failed: the loss became" in caplog.text
    assert "Traceback" not in caplog.text
    good, bad = trials_of(tmp_path / "s")
    assert (good["optimizer.learning_rate"], bad["optimizer.learning_rate"]) == ("0.01", "1e+30")
    assert float(good["val_loss"]) > 0
    assert bad["val_loss"] == ""


def test_a_search_of_failed_trials_lists_their_errors(tmp_path):
    overrides = parse_overrides([*TINY, "optimizer.name=sgd", "optimizer.weight_decay=0"])
    with pytest.raises(NoResultError, match=r"every trial .* failed; \S+trials\.csv has their err"):
        run_search("grid", {"optimizer.learning_rate": [1e30]}, tmp_path / "s", overrides=overrides)
    (bad,) = trials_of(tmp_path / "s")
    assert "the loss became" in bad["error"]
    assert bad["val_loss"] == ""


def test_wrong_data_fails_before_the_first_trial(tmp_path):
    overrides = parse_overrides([*TINY, f"data.path={tmp_path / 'nowhere'}"])
    with pytest.raises(AlloykError, match=r"/nowhere does not exist"):
        run_search("grid", {"model.dropout": [0.1]}, tmp_path / "s", overrides=overrides)


def test_random_search_stays_in_its_ranges_and_goes_on(tmp_path, capsys):
    space = {
        "optimizer.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
        "train.batch_size": {"min": 8, "max": 24, "step": 8},
    }
    overrides = parse_overrides(FAST)
    run_search("random", space, tmp_path / "s", overrides=overrides, max_trials=2)
    first = trials_of(tmp_path / "s")
    run_search("random", space, tmp_path / "s", overrides=overrides, max_trials=3)
    second = trials_of(tmp_path / "s")
    assert capsys.readouterr().out == ""
    assert len(first) == 2
    assert len(second) == 3
    assert all(trial in second for trial in first)
    for trial in second:
        assert 1e-4 <= float(trial["optimizer.learning_rate"]) <= 1e-2
        assert trial["train.batch_size"] in ("8", "16", "24")


def test_another_search_does_not_mix_with_the_trials_in_its_folder(tmp_path):
    overrides, space = parse_overrides(TINY), {"model.dropout": [0.1]}
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "search.json").write_text("{}")
    with pytest.raises(AlloykError, match="holds another search"):
        run_search("grid", space, tmp_path / "s", overrides=overrides)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine.txt").write_text("")
    with pytest.raises(AlloykError, match="must be a new or empty folder"):
        run_search("grid", space, tmp_path / "t", overrides=overrides)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.dropout": []}, "model.dropout: must be a list"),
        ({"model.dropout": 0.1}, "model.dropout: must be a list"),
        ({"model.dropout": {"min": 0.5, "max": 0.1}}, "A < B"),
        ({"model.dropout": {"min": 0, "max": 1, "log": True}}, "log"),
        ({"model.dropout": {"min": 0, "max": 1, "steps": 3}}, "steps"),
        ({"model.dropout": {"min": 0, "max": 1, "step": 0}}, r"with step, or .*'step': 0"),
        ({"model.dropout": {"min": "low", "max": 1}}, "A < B"),
        ({"model.dropout": {"min": float("nan"), "max": 1}}, "A < B"),
        ({"model.dropout": {"min": 0.1, "max": float("inf")}}, "A < B"),
        (
            {"loss.gamma": {"min": 0, "max": 5, "when": {"loss.name": "focal"}}},
            r"loss\.gamma: when must name keys of the space, got loss\.name; add it",
        ),
        (
            {
                "loss.gamma": {"min": 0, "max": 5, "when": {"loss.name": "ldam"}},
                "loss.name": ["focal"],
            },
            r'when must name choices of loss\.name, got "ldam"; loss\.name has "focal"',
        ),
        (
            {
                "loss.gamma": {"choices": [1], "when": {"loss.beta": 1}},
                "loss.beta": {"choices": [1], "when": {"loss.name": "focal"}},
            },
            r"loss\.beta: when must name keys of the space, got loss\.name; add it",
        ),
        (
            {
                "loss.gamma": {"choices": [1], "when": {"loss.beta": 1}},
                "loss.beta": {"choices": [1], "when": {"loss.gamma": 1}},
            },
            r"when must not go in a circle, got loss\.gamma and loss\.beta",
        ),
        ({"loss.gamma": {"choices": [1], "when": 3}}, "when must map a key to its values, got 3"),
        ({"loss.gamma": {"choices": [], "when": {"a": 1}}}, "must be a list of choices"),
        ({"loss.gamma": [1, 2, 1]}, r"must name each choice once, got 1 twice"),
        ({"loss.gamma": {"min": 1, "max": 9, "log": "no"}}, "with log: true and A > 0; got"),
        ({"loss.gamma": {"min": True, "max": 9}}, "must be {min: A, max: B} with A < B"),
        ({"loss.gamma": {"min": 0, "max": 9, "step": 1e-9}}, "into at most 10,000 steps"),
    ],
)
def test_a_wrong_space_is_named(space, message):
    with pytest.raises(AlloykError, match=message):
        hyperparameters_of(space)


# Fields of `DataSettings` whose key has another name.
RENAMED = {"skip_unreadable": "on_bad_image"}


@pytest.mark.parametrize(
    "key",
    ["data.simulate.seed", "data.channels.values",
     *(f"data.{RENAMED.get(one.name, one.name)}" for one in fields(DataSettings))],
)  # fmt: skip
def test_no_key_that_changes_the_images_can_be_searched(tmp_path, key):
    message = rf"{re.escape(key)}: trials must be compared on the same images; set it with --set"
    with pytest.raises(ConfigError, match=message):
        run_search("grid", {key: ["a", "b"]}, tmp_path / "s")
    assert not (tmp_path / "s").exists()


CONDITIONAL = {
    "loss.gamma": {"min": 0.5, "max": 4.0, "when": {"loss.name": ["focal"]}},
    "loss.name": ["cross_entropy", "focal"],
    "loss.label_smoothing": {"choices": [0, 0.1], "when": {"loss.name": "cross_entropy"}},
}


def test_a_parameter_exists_only_under_its_condition():
    parameters = parameters_of(CONDITIONAL)
    assert complete(parameters, {}) == {
        "loss.name": '"cross_entropy"', "loss.label_smoothing": "0",
    }  # fmt: skip
    assert complete(parameters, {"loss.name": '"focal"'}) == {
        "loss.name": '"focal"', "loss.gamma": 0.5,
    }  # fmt: skip
    experiment = Experiment(None, parse_overrides(TINY))
    losses = [experiment.configuration(values).loss for values in extremes(parameters)]
    assert {loss.gamma for loss in losses if loss.name == "focal"} == {0.5, 4.0}
    assert {loss.label_smoothing for loss in losses if loss.name != "focal"} == {0, 0.1}
    values = hyperparameters_of(CONDITIONAL).values
    assert values == complete(parameters, {})


SPACES = sorted((Path(__file__).parents[2] / "configs").glob("tune_*.yaml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_space_in_configs_is_valid_and_names_its_command(path):
    text = path.read_text()
    assert f"--space configs/{path.name}" in text.split("\n\n")[0]
    parameters = parameters_of(read_space(path))
    experiment = Experiment(None, {})
    for values in extremes(parameters):
        config = experiment.configuration(values)
        chosen = {name: getattr(config.model, name) for name in ("depth", "width", "kernel_size")}
        given = {name for name, value in chosen.items() if value is not None}
        assert given <= MODELS[config.model.arch].options


def test_there_is_a_space_for_each_architecture():
    assert {f"tune_{arch}" for arch in ARCHITECTURES} < {path.stem for path in SPACES}


def test_a_wrong_key_fails_before_the_first_trial(tmp_path):
    with pytest.raises(AlloykError, match=r"unknown key model\.droput"):
        run_search("grid", {"model.droput": [0.1]}, tmp_path / "s", overrides=parse_overrides(TINY))


@pytest.mark.parametrize(
    ("search", "space", "message"),
    [
        ("grid", {"model.dropout": [0.1, 5]}, r"^model\.dropout must be < 1, got 5$"),
        (
            "random",
            {"model.dropout": {"min": 0.5, "max": 2.0}},
            r"^model\.dropout must be < 1, got 2",
        ),
        ("grid", {"model.dropout": {"min": 0.1, "max": 0.5}}, "a grid needs a list of values"),
    ],
)
def test_a_wrong_value_fails_before_the_first_trial(tmp_path, search, space, message):
    with pytest.raises(AlloykError, match=message):
        run_search(search, space, tmp_path / "s", overrides=parse_overrides(TINY))
    assert not list((tmp_path / "s").glob("trial_*"))


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("loss.name", ["cross_entropy", "focal"]),
        ("loss.label_smoothing", [0, 0.1]),
        ("model.tasks", [["alloy"]]),
    ],
)
def test_trials_of_different_losses_are_not_compared_by_loss(key, choices):
    space = {key: choices}
    message = (
        rf"^search space, {key}: train\.monitor must be val_accuracy, because values of different "
        r"losses cannot be compared, got val_loss; add --set train\.monitor=val_accuracy$"
    )
    with pytest.raises(ConfigError, match=message):
        Experiment(None, parse_overrides(TINY)).check(parameters_of(space))
    by_accuracy = [*TINY, "train.monitor=val_accuracy"]
    Experiment(None, parse_overrides(by_accuracy)).check(parameters_of(space))


def test_a_search_does_not_fine_tune():
    settings = [
        "quantize.run=runs/plain", "train.strategy=single", "train.mixed_precision=false",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"^quantize\.run must be unset in a search"):
        Experiment(None, parse_overrides([*TINY, *settings])).check(
            parameters_of({"model.dropout": [0.1]})
        )


def test_space_file_may_be_nested_or_dotted(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "model: {dropout: [0.1, 0.3]}\noptimizer.learning_rate: {min: 1e-4, max: 1e-2, log: true}\n"
    )
    assert read_space(path) == {
        "model.dropout": [0.1, 0.3],
        "optimizer.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
    }
    path.write_text("# nothing\n")
    with pytest.raises(AlloykError, match="must name a key to search over"):
        read_space(path)


ORDERS = [
    ["optimizer.learning_rate=0.5,0.05", "optimizer.name=sgd,adam"],
    ["optimizer.name=sgd,adam", "optimizer.learning_rate=0.5,0.05"],
    ["schedule.patience=2,3", "schedule.name=plateau"],
    ["loss.gamma=1,2", "loss.name=focal"],
]


@pytest.mark.parametrize("sweeps", ORDERS, ids=" ".join)
def test_a_trial_uses_every_value_of_its_space_in_any_order(sweeps):
    """A name chosen by the search replaces nothing that the search chose."""
    overrides = [setting for setting in TINY if not setting.startswith("schedule.")]
    experiment = Experiment(None, parse_overrides(overrides))
    space = space_from(sweeps)
    for values in itertools.product(*space.values()):
        chosen = dict(zip(space, values, strict=True))
        config = experiment.configuration(
            {key: json.dumps(value) for key, value in chosen.items()}
        ).model_dump()
        found = {key: config[key.split(".")[0]][key.split(".")[1]] for key in chosen}
        assert found == chosen


def test_the_rates_listed_are_the_rates_used(tmp_path):
    settings = [one for one in TINY if not one.startswith(("schedule.", "train.epochs"))]
    overrides = parse_overrides([*settings, "schedule.name=constant", "train.epochs=1"])
    space = {"optimizer.learning_rate": [0.25, 0.0625], "optimizer.name": ["sgd"]}
    run_search("grid", space, tmp_path / "s", overrides=overrides)
    listed = {
        trial["trial"]: trial["optimizer.learning_rate"] for trial in trials_of(tmp_path / "s")
    }
    used = {}
    for number in listed:
        with (tmp_path / "s" / f"trial_{number}" / "history.csv").open() as file:
            used[number] = [row["learning_rate"] for row in csv.DictReader(file)]
    assert {number: [float(rate)] for number, rate in listed.items()} == {
        number: [pytest.approx(float(rate)) for rate in rates] for number, rates in used.items()
    }
    assert set(listed.values()) == {"0.25", "0.0625"}


def test_sigterm_ends_a_search_like_a_shell_does(tmp_path, monkeypatch):
    """tests/tuning/test_kills.py sends it at random moments."""
    on_epoch_end = Checkpoint.on_epoch_end

    def ended(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Checkpoint, "on_epoch_end", ended)
    options = [option for setting in FAST for option in ("--set", setting)]
    over = ["--over", "model.hidden_units=8,16"]
    result = CliRunner().invoke(main, ["tune", "--out", str(tmp_path / "s"), *over, *options])
    assert result.exit_code == 143, result.output
    assert result.stderr.splitlines()[-1] == "Terminated!"
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "s" / ".lock").exists()
    trial = tmp_path / "s" / "trial_0000"
    assert len((trial / "history.csv").read_text().splitlines()) == 2
    assert json.loads((trial / "trial.json").read_text())["state"] == "running"


@pytest.mark.parametrize("sweep", ["model.dropout", "=1,2", "model.dropout=", "a=[1"])
def test_a_wrong_sweep_is_named(sweep):
    with pytest.raises(AlloykError, match="--over must be KEY=A,B"):
        space_from([sweep])


def test_a_key_swept_twice_is_refused():
    with pytest.raises(ConfigError, match=r"^k must be given once, got \[1\] and \[2\]$"):
        space_from(["k=1", "k=2"])
    assert space_from(["k=1", "k=1"]) == {"k": [1]}


def test_any_value_travels_through_keras_tuner():
    space = {"preprocess.image_size": [[32, 48]], "model.activation": [None], "seed": [3]}
    values = hyperparameters_of(space).values
    assert overrides_of(values) == {
        "preprocess": {"image_size": [32, 48]}, "model": {"activation": None}, "seed": 3,
    }  # fmt: skip


def test_an_interrupted_search_is_resumed_within_its_trial(tmp_path, monkeypatch, caplog):
    """Ctrl-C after the first epoch of the second trial; results equal an undisturbed search."""
    caplog.set_level("INFO", logger="alloyk")
    overrides, space = parse_overrides(FAST), {"model.hidden_units": [8, 16]}
    run_search("grid", space, tmp_path / "undisturbed", overrides=overrides)

    epochs = []
    on_epoch_end = Checkpoint.on_epoch_end

    def interrupted(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        epochs.append(epoch)
        if len(epochs) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "on_epoch_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_search("grid", space, tmp_path / "s", overrides=overrides)
    (tmp_path / "s" / "trial_0000" / "history.csv").unlink()  # finished: not looked at again
    caplog.clear()
    run_search("grid", space, tmp_path / "s", overrides=overrides)
    assert epochs == [0, 1, 0, 1]
    told = [r.message.split(":")[0] for r in caplog.records if "trial" in r.message]
    assert told == ["trial 0001 (resumed)"]
    for trial, undisturbed in zip(
        trials_of(tmp_path / "s"), trials_of(tmp_path / "undisturbed"), strict=True
    ):
        assert trial | {"seconds": ""} == undisturbed | {"seconds": ""}


def test_hyperband_continues_its_trials_and_repeats_no_epoch(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="alloyk")
    epochs = []
    on_epoch_end = Checkpoint.on_epoch_end

    def counted(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        epochs.append(epoch)
        if len(epochs) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "on_epoch_end", counted)
    overrides = parse_overrides(one.replace("epochs=2", "epochs=3") for one in FAST)
    space = {"optimizer.learning_rate": {"min": 1e-4, "max": 1e-1, "log": True}}
    run_search("hyperband", space, tmp_path / "s", overrides=overrides, max_trials=3)
    assert epochs == [0, 0, 0]
    told = [r.message.split("  ")[0] for r in caplog.records if r.message.startswith("epoch ")]
    assert told == ["epoch 1/1"] * 3
    assert sum(r.message.startswith("1 epochs of ") for r in caplog.records) == 3
    with pytest.raises(KeyboardInterrupt):
        run_search("hyperband", space, tmp_path / "s", overrides=overrides)
    run_search("hyperband", space, tmp_path / "s", overrides=overrides)
    records = list(TrialRecords(tmp_path / "s"))
    own = [t.values["tuner/epochs"] - t.values["tuner/initial_epoch"] for t in records]
    assert len(epochs) == sum(own)
    assert len(trials_of(tmp_path / "s")) == len(own)
    assert any("tuner/trial_id" in trial.values for trial in records)
    for trial in records:
        name = trial.values.get("tuner/trial_id", trial.name)
        ours, before = (
            (tmp_path / "s" / f"trial_{one}" / "history.csv").read_text().splitlines()
            for one in (trial.name, name)
        )
        assert len(ours) == 1 + trial.values["tuner/epochs"]
        assert ours[: len(before)] == before
    assert not list((tmp_path / "s").glob("trial_*/checkpoint"))


def test_a_second_worker_takes_trials(tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level("INFO", logger="alloyk")
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # of the user; the worker does not use it
    train, joined = Experiment.train, []

    def waiting(self, *arguments):
        """The first worker keeps its trial until the second one has taken another."""
        outcome = train(self, *arguments)
        limit = time.time() + 120
        while len(list(tmp_path.glob("s/trial_*/history.csv"))) < 2 and time.time() < limit:
            time.sleep(0.1)
        joined.append(time.time() < limit)
        return outcome

    monkeypatch.setattr(Experiment, "train", waiting)
    overrides, space = parse_overrides(FAST), {"model.hidden_units": [8, 16, 24]}
    run_search("grid", space, tmp_path / "s", overrides=overrides, workers=2)
    assert joined
    assert all(joined)
    trials = trials_of(tmp_path / "s")
    assert {trial["model.hidden_units"] for trial in trials} == {"8", "16", "24"}
    assert [trial["error"] for trial in trials] == ["", "", ""]
    assert "worker 2: trial 000" in capfd.readouterr().err


def test_the_time_budget_leaves_a_trial_that_is_resumed(tmp_path):
    overrides, space = parse_overrides(FAST), {"model.hidden_units": [8]}
    with pytest.raises(AlloykError, match=r"a trial of .* must end within the time budget"):
        run_search("grid", space, tmp_path / "s", overrides=overrides, time_budget_min=1e-4)
    run_search("grid", space, tmp_path / "s", overrides=overrides)
    assert len(trials_of(tmp_path / "s")) == 1


def described(**changes):
    config = {"model": {"arch": "cnn", "dropout": 0.3}, "data": {"path": "/a"}}
    return {
        "search": "grid", "space": {"seed": [0, 1]}, "config": config, "data": "d",
        "versions": {"keras": "3"}, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": "random"}, "--search was grid, got random"),
        ({"space": {"seed": [0]}}, r"the search space of seed was \[0, 1\], got \[0\]"),
        ({"space": {"seed": [0, 1], "k": [1]}}, r"the search space of k was null, got \[1\]"),
        ({"data": "e"}, "the data set has changed since"),
        ({"versions": {"keras": "4"}}, 'the version of keras was "3", got "4"'),
        (
            {"config": {"model": {"arch": "fnn", "dropout": 0.3}, "data": {"path": "/a"}}},
            'model.arch was "cnn", got "fnn"',
        ),
        (  # the others follow from it
            {"config": {"augment": {"shift": 0}, "model": {"arch": "fnn"}, "data": {"path": "/a"}}},
            'model.arch was "cnn", got "fnn"',
        ),
        (
            {"config": {"model": {"arch": "cnn", "dropout": 0.3}, "data": {"path": "/b"}}},
            'data.path was "/a", got "/b"',
        ),
    ],
)
def test_another_search_is_refused_by_what_differs(tmp_path, change, message):
    write_description(tmp_path, described())
    refuse_another_search(tmp_path, described())
    refuse_another_search(tmp_path, described(space={"seed": [0, 1, 2]}))  # a grid may grow
    with pytest.raises(AlloykError, match=rf"holds another search: {message}; choose another"):
        refuse_another_search(tmp_path, described(**change))


def test_a_search_of_an_earlier_version_is_resumed(tmp_path):
    before = described()
    del before["versions"]  # the first searches, grid and random, did not record them
    write_description(tmp_path, before)
    folder = tmp_path / "trial_0000"
    folder.mkdir()
    (folder / TRIAL_FILE).write_text('{"values": {"seed": 0}, "state": "finished", "result": 0.5}')
    refuse_another_search(tmp_path, described())
    (trial,) = TrialRecords(tmp_path)
    assert (trial.values, trial.result) == ({"seed": 0}, 0.5)


def test_the_default_folder_is_numbered_where_it_holds_another_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = described(), described(data="e")
    assert _default_folder("cnn", one) == Path("saved_models/tune-cnn")
    write_description(Path("saved_models/tune-cnn"), one)
    assert _default_folder("cnn", one) == Path("saved_models/tune-cnn")
    assert _default_folder("cnn", other) == Path("saved_models/tune-cnn-2")


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / SEARCH_FILE).write_text("{")
    with pytest.raises(
        AlloykError,
        match=r"^.*search\.json is not valid JSON: .*; restore it, or choose another --out$",
    ):
        refuse_another_search(tmp_path, described())


MEMORY = """
import sys
from alloyk.config import parse_overrides
from alloyk.tuning import experiment, search

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

train, after = experiment.Experiment.train, []
def measured(self, *arguments):
    result = train(self, *arguments)
    after.append(resident())
    return result

experiment.Experiment.train = measured
space = {"seed": list(range(12))}
search.run_search("grid", space, sys.argv[1], overrides=parse_overrides(sys.argv[2:]))
print(after[1], after[11])
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 12 training runs
def test_memory_after_twelve_trials_is_that_after_two(tmp_path):
    # 35 MB of weights, of which a trial that is not forgotten would leave at least one copy.
    settings = [
        "data.simulate.preset=easy", "data.simulate.images=24", "data.simulate.image_size=16",
        "preprocess.image_size=128", "model.arch=fnn", "model.hidden_units=8", "train.epochs=1",
        "schedule.warmup_epochs=0", "train.batch_size=16", "optimizer.name=sgd",
    ]  # fmt: skip
    command = [sys.executable, "-c", MEMORY, tmp_path / "s", *settings]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after_two, after_twelve = map(int, done.stdout.split())
    assert after_twelve < 1.1 * after_two
