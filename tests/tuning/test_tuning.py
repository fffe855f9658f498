"""A search tries what it was told to, goes on after a break, and ends in a YAML that trains."""

import csv

import pytest
from click.testing import CliRunner

from alloyk.cli import main
from alloyk.config import parse_overrides, resolve_config
from alloyk.errors import AlloykError
from alloyk.training import run_training
from alloyk.tuning.search import (
    hyperparameters_of,
    overrides_of,
    read_space,
    run_search,
    space_from,
)

TINY = [
    "data.simulate.preset=easy", "data.simulate.images=60", "data.simulate.image_size=16",
    "preprocess.image_size=16", "model.arch=fnn", "train.epochs=2", "schedule.warmup_epochs=0",
    "train.batch_size=16",
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def trials_of(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_grid_over_two_keys_ends_in_a_yaml_that_trains(tmp_path):
    out = tmp_path / "search"
    options = [option for setting in TINY for option in ("--set", setting)]
    over = ["--over", "optimizer.learning_rate=1e-4,1e-2", "--over", "model.hidden_units=8,16"]
    result = CliRunner().invoke(main, ["tune", "--out", str(out), *over, *options])
    assert result.exit_code == 0, result.output
    trials = trials_of(out)
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


def test_a_trial_that_diverges_is_named_and_the_search_goes_on(tmp_path, capsys):
    overrides = parse_overrides([*TINY, "optimizer.name=sgd", "optimizer.weight_decay=0"])
    space = {"optimizer.learning_rate": [1e30, 0.01]}
    run_search("grid", space, tmp_path / "s", overrides=overrides)
    told = capsys.readouterr().err
    assert "failed: the loss became" in told
    assert "Traceback" not in told
    good, bad = trials_of(tmp_path / "s")
    assert (good["optimizer.learning_rate"], bad["optimizer.learning_rate"]) == ("0.01", "1e+30")
    assert float(good["val_loss"]) > 0
    assert bad["val_loss"] == ""


def test_wrong_data_fails_before_the_first_trial(tmp_path):
    overrides = parse_overrides([*TINY, f"data.path={tmp_path / 'nowhere'}"])
    with pytest.raises(AlloykError, match="nowhere"):
        run_search("grid", {"model.dropout": [0.1]}, tmp_path / "s", overrides=overrides)


def test_random_search_stays_in_its_ranges_and_goes_on(tmp_path, capsys):
    space = {
        "optimizer.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
        "train.batch_size": {"min": 8, "max": 24, "step": 8},
    }
    overrides = parse_overrides(TINY)
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
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "search.json").write_text("{}")
    with pytest.raises(AlloykError, match="holds another search"):
        run_search("grid", {"model.dropout": [0.1]}, tmp_path / "s")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine.txt").write_text("")
    with pytest.raises(AlloykError, match="not empty and holds no search"):
        run_search("grid", {"model.dropout": [0.1]}, tmp_path / "t")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.dropout": []}, "model.dropout: wanted a list"),
        ({"model.dropout": 0.1}, "model.dropout: wanted a list"),
        ({"model.dropout": {"min": 0.5, "max": 0.1}}, "A < B"),
        ({"model.dropout": {"min": 0, "max": 1, "log": True}}, "log"),
        ({"model.dropout": {"min": 0, "max": 1, "steps": 3}}, "steps"),
        ({"model.dropout": {"min": "low", "max": 1}}, "A < B"),
        ({"data.path": ["a", "b"]}, r"data\.path: trials can be compared on the same images only"),
        ({"data.simulate.seed": [0, 1]}, r"data\.simulate\.seed: trials can be compared"),
    ],
)
def test_a_wrong_space_is_named(space, message):
    with pytest.raises(AlloykError, match=message):
        hyperparameters_of(space)


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
        ("grid", {"model.dropout": {"min": 0.1, "max": 0.5}}, "a grid wants a list of values"),
    ],
)
def test_a_wrong_value_fails_before_the_first_trial(tmp_path, search, space, message):
    with pytest.raises(AlloykError, match=message):
        run_search(search, space, tmp_path / "s", overrides=parse_overrides(TINY))
    assert not list((tmp_path / "s").glob("trial_*"))


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
    with pytest.raises(AlloykError, match="names no key"):
        read_space(path)


@pytest.mark.parametrize("sweep", ["model.dropout", "=1,2", "model.dropout=", "a=[1"])
def test_a_wrong_sweep_is_named(sweep):
    with pytest.raises(AlloykError, match="--over wants KEY=A,B"):
        space_from([sweep])


def test_any_value_travels_through_keras_tuner():
    space = {"preprocess.image_size": [[32, 48]], "model.activation": [None], "seed": [3]}
    values = hyperparameters_of(space).values
    assert overrides_of(values) == {
        "preprocess": {"image_size": [32, 48]}, "model": {"activation": None}, "seed": 3,
    }  # fmt: skip
