"""Population-Based Training of a network: on Ray, interrupted, and replayed."""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from click.testing import CliRunner

from alloyk.cli import main
from alloyk.config import parse_overrides
from alloyk.errors import AlloykError, ConfigError, ModelError
from alloyk.runs.folder import RunFolder
from alloyk.runs.lineage import Lineage
from alloyk.runs.search_records import FROM, GENERATION, PARENT, UNTIL, TrialRecords
from alloyk.runs.search_space import parameters_of
from alloyk.runtime import ray_cluster
from alloyk.runtime.kernels import VARIABLE, describe_kernels
from alloyk.training.checkpoint import _load_arrays
from alloyk.training.fit import train_network
from alloyk.tuning import ray_workers
from alloyk.tuning.evolution import evolving, lineage_of, members_of
from alloyk.tuning.experiment import Experiment, _continue, _remove_checkpoints
from alloyk.tuning.loop import run_trials
from alloyk.tuning.search import _finish
from alloyk.tuning.task import Members, Task

pytestmark = pytest.mark.usefixtures("uncollected", "unrendered")

SETTINGS = [
    "data.simulate.preset=easy", "data.simulate.images=60", "data.simulate.image_size=16",
    "preprocess.image_size=16", "model.arch=fnn", "model.depth=1", "model.hidden_units=8",
    "train.epochs=4", "train.batch_size=16", "schedule.name=constant",
    "schedule.warmup_epochs=0", "optimizer.name=adam", "preprocess.repair=false",
]  # fmt: skip
SPACE = {
    "optimizer.learning_rate": {"min": 1e-4, "max": 5e-4, "log": True},
    "optimizer.weight_decay": {"min": 1e-6, "max": 1e-2, "log": True},
    "model.dropout": {"min": 0.05, "max": 0.6},
    "augment.shift": {"min": 0.0, "max": 0.1},
}
MEMBERS = Members(size=2, generation_epochs=2)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def space_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(json.dumps(SPACE))
    return path


def options(space_file, out):
    settings = [option for setting in SETTINGS for option in ("--set", setting)]
    members = ["--population", "2", "--generation-epochs", "2"]
    return ["tune", "--search", "pbt", "--space", str(space_file), "--out", str(out),
            *members, *settings]  # fmt: skip


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory, space_file):
    """A search by the command, its worker a process of Ray."""
    out = tmp_path_factory.mktemp("ray") / "s"
    result = CliRunner().invoke(main, options(space_file, out))
    assert result.exit_code == 0, result.output
    return out, result


def experiment_and_task(out):
    overrides = evolving(parse_overrides(SETTINGS))
    experiment, parameters = Experiment(None, overrides), parameters_of(SPACE)
    task = Task("pbt", parameters, out, None, overrides, None, None, MEMBERS)
    return experiment, task


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The same search here, its checkpoints kept.

    The first trial and those of the second generation are cut off after their first epoch.
    """
    out = tmp_path_factory.mktemp("here") / "s"
    experiment, task = experiment_and_task(out)
    cut_off = set()

    def train(trial, records, deadline):
        parent = trial.values.get(PARENT)
        if parent is not None:  # Ray's #12558: a pruned checkpoint that is still needed
            assert (out / f"trial_{parent}" / "checkpoint" / "state.npz").exists()
        first = trial.name not in cut_off and trial.name in ("0000", "0002", "0003")
        cut_off.add(trial.name)
        return experiment.train(trial, records, 1.0 if first else None)

    times = 0
    while not run_trials(out, experiment.population(task), train):
        times += 1
    assert (times, len(list(TrialRecords(out)))) == (3, 4)
    return out, experiment, task


def copied(trials):
    """The member that has copied another one."""
    trials = list(trials)
    return next(
        trial for trial in trials if PARENT in trial.values
        and trials[int(trial.values[PARENT])].values["seed"] != trial.values["seed"]
    )  # fmt: skip


def rows_of(out):
    with (out / "trials.csv").open() as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def test_the_command_finds_a_schedule_on_ray(on_ray):
    out, result = on_ray
    rows = rows_of(out)
    assert [row["generation"] for row in sorted(rows, key=lambda row: row["trial"])] == list("0011")
    losses = [float(row["val_loss"]) for row in rows]
    assert losses == sorted(losses)
    assert f"train it: alloyk train --replay {out / 'lineage.json'}" in result.stdout
    assert (out / "schedules.png").is_file()
    assert not list(out.glob("trial_*/checkpoint"))
    assert "last values of a schedule" in (out / "best.yaml").read_text().lower()
    assert not [line for line in result.output.splitlines() if "ray" in line.lower().split()]


def test_interrupted_trials_end_with_the_weights_of_undisturbed_ones(on_ray, interrupted):
    """Inside a generation too, in another process, and bit for bit."""
    ours, theirs = TrialRecords(interrupted[0]), TrialRecords(on_ray[0])
    assert [(t.values, t.result, t.weights) for t in ours] == [
        (t.values, t.result, t.weights) for t in theirs
    ]


def test_after_exploit_the_weights_are_the_winners_and_the_settings_the_losers(
    interrupted, tmp_path
):
    """Ray's #28196: weights of A with the settings of B; the optimizer's state counts too."""
    out, experiment, _ = interrupted
    trials = list(TrialRecords(out))
    loser = copied(trials)
    parent = out / f"trial_{loser.values[PARENT]}"
    run = tmp_path / "copy"
    run.mkdir()
    _continue(parent, run, required=True)
    config, done = experiment.configuration(loser.values), loser.values[FROM]
    data = experiment.data(config)
    network = train_network(config, run, data.train, data.val, 2, until=done, changing=True)
    optimizer = network.optimizer
    moments = [np.asarray(variable) for variable in optimizer.variables]
    state = _load_arrays(RunFolder(parent).checkpoint_folder / "state.npz")
    assert [array.tobytes() for array in moments] == [
        array.tobytes() for array in state[-len(moments) :]
    ]
    weights = _load_arrays(next(RunFolder(parent).checkpoint_folder.glob("best-*.npz")))
    assert [w.tobytes() for w in network.get_weights()] == [w.tobytes() for w in weights]
    rate = loser.values["optimizer.learning_rate"]
    assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-6)
    assert optimizer.weight_decay == loser.values["optimizer.weight_decay"]
    assert rate != trials[int(loser.values[PARENT])].values["optimizer.learning_rate"]


def test_a_member_changes_the_settings_of_its_training(interrupted):
    out, _, _ = interrupted
    for trial in TrialRecords(out):
        rates = RunFolder(out / f"trial_{trial.name}").history["learning_rate"]
        own = rates[trial.values[FROM] : trial.values[UNTIL]]
        assert own == pytest.approx([trial.values["optimizer.learning_rate"]] * 2, rel=1e-6)


def test_the_replay_gives_the_same_weights(interrupted, tmp_path):
    """That of a member which has copied another one and then changed its settings."""
    out, experiment, _ = interrupted
    records = TrialRecords(out)
    trial = copied(records)
    lineage = lineage_of(trial, records, experiment)
    before, after = (part.values for part in lineage.parts)
    assert all(before[key] != after[key] for key in (*SPACE, "seed"))
    lineage.write(tmp_path / "lineage.json")
    arguments = ["--replay", str(tmp_path / "lineage.json"), "--run", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["train", *arguments])
    assert result.exit_code == 0, result.output
    assert "the weights are those of the search, bit for bit" in result.stderr
    run, searched = RunFolder(tmp_path / "run"), RunFolder(records.folder(trial)).history
    for column in ("loss", "val_loss", "learning_rate"):
        assert list(run.history[column]) == list(searched[column])
    assert len(run.history["loss"]) == 4
    assert run.history["val_loss"][-1] == trial.result
    assert run.is_finished
    assert Lineage.read(run.lineage_file) == lineage


def test_a_copy_without_a_checkpoint_is_an_error(tmp_path):
    """Ray's #11936: exploit without a checkpoint."""
    (tmp_path / "parent").mkdir()
    with pytest.raises(
        ModelError, match=r"must have its checkpoint, but .*/parent/checkpoint is missing"
    ):
        _continue(tmp_path / "parent", tmp_path / "child", required=True)


def test_only_checkpoints_that_nobody_can_copy_are_removed(tmp_path):
    """Ray's #12558: a pruned checkpoint that is still needed."""
    records = TrialRecords(tmp_path)
    for number in range(8):
        trial = records.begin({GENERATION: number // 2})
        (records.folder(trial) / "checkpoint").mkdir()
    _remove_checkpoints(records, trial)  # as a member of generation 3 does
    left = sorted(folder.parent.name for folder in tmp_path.glob("trial_*/checkpoint"))
    assert left == ["trial_0004", "trial_0005", "trial_0006", "trial_0007"]


def test_another_population_does_not_resume_the_search(on_ray, space_file):
    out, _ = on_ray
    arguments = options(space_file, out)
    arguments[arguments.index("--population") + 1] = "4"
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "population.size was 2, got 4" in result.stderr


def test_a_finished_search_trains_nothing_more(on_ray, space_file, monkeypatch):
    out, _ = on_ray
    before = rows_of(out)
    monkeypatch.setattr("alloyk.tuning.evolution.run_on_ray", lambda *_: pytest.fail("trains"))
    result = CliRunner().invoke(main, options(space_file, out))
    assert result.exit_code == 0, result.output
    assert rows_of(out) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("{}", "got an invalid file: 'version' is missing"),
        ('{"version": 9}', "version 9 is not known"),
    ],
)
def test_a_damaged_lineage_is_named(tmp_path, content, message):
    path = tmp_path / "lineage.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=message):
        Lineage.read(path)


def test_a_lineage_of_keys_that_cannot_change_is_refused(on_ray, tmp_path):
    content = json.loads((on_ray[0] / "lineage.json").read_text())
    content["parts"][0]["values"]["model.arch"] = "cnn"
    (tmp_path / "l.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"model\.arch cannot change between epochs"):
        Lineage.read(tmp_path / "l.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--replay", "l.json", "--arch", "cnn"], "--replay takes --run and --data only"),
        (["train", "--replay", "l.json", "--resume", "--run", "r"],
         "--resume takes --run and nothing else"),
        (["tune", "--over", "model.dropout=.1,.2", "--search", "pbt", "--trials", "3"],
         "--trials must not be given with pbt; give --population"),
        (["tune", "--over", "model.dropout=.1,.2", "--population", "3"],
         "--population is for --search=pbt only, got grid"),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other(on_ray, monkeypatch, arguments, message):
    monkeypatch.chdir(on_ray[0])
    (on_ray[0] / "l.json").write_bytes((on_ray[0] / "lineage.json").read_bytes())
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_time_budget_of_each_training_is_refused():
    experiment = Experiment(None, parse_overrides([*SETTINGS, "train.time_budget_minutes=3"]))
    with pytest.raises(ConfigError, match=r"train\.time_budget_minutes must be null with"):
        members_of(experiment.base, parameters_of(SPACE), None, None, 0)


def test_members_have_defaults():
    experiment = Experiment(None, parse_overrides(["train.epochs=35"]))
    assert members_of(experiment.base, parameters_of(SPACE), None, None, 0) == Members(8, 3, 0)


def test_without_ray_the_package_is_named(monkeypatch, space_file, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = CliRunner().invoke(main, options(space_file, tmp_path / "s"))
    assert result.exit_code == 1
    assert 'needs Ray, which is not installed; run `pip install "alloyk[pbt]"`' in result.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("address", ["cluster", "http://host:6379", "host:port", ":6379"])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(ConfigError, match=r"HOST:PORT of a Ray cluster, or local, got"):
        ray_cluster.refuse_missing_cluster(address)


def test_a_cluster_that_is_not_there_is_an_error(space_file, tmp_path):
    result = CliRunner().invoke(
        main, [*options(space_file, tmp_path / "s"), "--address", "127.0.0.1:1"]
    )
    assert result.exit_code == 1
    assert "address must be that of a running Ray cluster, got 127.0.0.1:1" in result.stderr
    assert not (tmp_path / "s").exists()


def test_a_port_that_is_no_cluster_is_an_error_within_the_limit(monkeypatch):
    monkeypatch.setattr(ray_cluster, "CONNECT_LIMIT_S", 3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        with pytest.raises(AlloykError, match=r"no answer of Ray within 3 s"):
            ray_cluster.refuse_missing_cluster(f"127.0.0.1:{server.getsockname()[1]}")
        assert time.monotonic() - start < 10


def test_a_worker_says_what_its_machine_lacks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, task = experiment_and_task(tmp_path / "s")
    setup = ray_workers.current_setup()
    worker = ray_workers.Worker()
    elsewhere = setup._replace(folder="/nowhere")
    assert "must see the folder /nowhere" in worker.work(task, elsewhere)
    assert "must see the folder of the search" in worker.work(task, setup)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "search.json").write_text("{}")
    old = setup._replace(versions={**setup.versions, "keras": "2.0"})
    assert "must have keras 2.0, got" in worker.work(task, old)


def start(space_file, out):
    onednn = "1" if describe_kernels()["kernels"] == "oneDNN" else "0"  # as in this process
    return subprocess.Popen(
        [sys.executable, "-m", "alloyk", *options(space_file, out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, VARIABLE: onednn},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_at_random_moments(on_ray, space_file, tmp_path):
    out, draw = tmp_path / "s", random.Random(0)
    for _ in range(20):
        process = start(space_file, out)
        time.sleep(draw.uniform(1, 40))
        process.send_signal(signal.SIGKILL)
        _, messages = process.communicate()
        assert "Traceback" not in messages, messages
    ended = {file: file.stat().st_mtime_ns for file in out.glob("trial_*/trial.json")
             if json.loads(file.read_text())["state"] == "finished"}  # fmt: skip
    process = start(space_file, out)
    _, messages = process.communicate()
    assert process.returncode == 0, messages
    assert rows_of(out) == rows_of(on_ray[0])
    assert {file: file.stat().st_mtime_ns for file in ended} == ended


@contextmanager
def own_cluster():
    """The address of a cluster of its own; `ray stop` would end the user's clusters too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
         f"--port={port}", "--num-cpus=1", "--node-ip-address=127.0.0.1",
         "--include-dashboard=false", "--disable-usage-stats"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not is_listening(port):
            assert process.poll() is None
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()  # with --block it ends what it has started
        process.wait(60)


def is_listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_existing_cluster_trains_the_members(on_ray, space_file, tmp_path):
    with own_cluster() as address:
        result = CliRunner().invoke(
            main, [*options(space_file, tmp_path / "s"), "--address", address]
        )
        assert result.exit_code == 0, result.output
    assert rows_of(tmp_path / "s") == rows_of(on_ray[0])


def test_the_results_of_an_unfinished_search_can_be_read(interrupted):
    out, experiment, task = interrupted
    _finish(out, experiment, task.parameters, complete=False)
    assert len(rows_of(out)) == 4
    best = TrialRecords(out).best_first("val_loss")[0]
    assert Lineage.read(out / "lineage.json").parts[-1].until == best.values[UNTIL]
