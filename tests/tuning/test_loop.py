"""Searches on an analytic objective, without a network: quality, kills, several workers."""

import contextlib
import errno
import math
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from alloyk.cli import Terminated, sigterm_as_interrupt
from alloyk.errors import AlloykError, ConfigError, ModelError
from alloyk.files import whole_file
from alloyk.imaging import read_image
from alloyk.runs.search_records import TrialRecords
from alloyk.runs.search_space import parameters_of
from alloyk.tuning.loop import Outcome, _refuse_standstill, run_trials
from alloyk.tuning.search import run_search
from alloyk.tuning.suggestions import suggestions_for

# The optimum, 0, is at rate 1e-3 and dropout 0.3; the default, the lower ends, has 4 + 0.36.
SPACE = {
    "optimizer.learning_rate": {"min": 1e-5, "max": 1e-1, "log": True},
    "model.dropout": {"min": 0.0, "max": 0.9},
}
DEFAULT = 4 + 0.36
FEEDBACK = ("bayesian", "hyperband")
SEEDS = (1, 301, 601)  # far apart, because Keras Tuner adds 1 to the seed with each draw


def loss(values):
    rate, dropout = values["optimizer.learning_rate"], values["model.dropout"]
    short = 1 / values["tuner/epochs"] - 1 / 27 if "tuner/epochs" in values else 0
    return (math.log10(rate) + 3) ** 2 + 4 * (dropout - 0.3) ** 2 + 0.1 * short


def train(trial, records, deadline):
    return Outcome(loss(trial.values))


def search(out, kind, *, seed=1, trials=40, function=train, **options):
    limit = trials if kind != "hyperband" else None
    suggestions = suggestions_for(
        kind, parameters_of(SPACE), seed=seed, max_trials=limit, epochs=27
    )
    run_trials(out, suggestions, function, **options)
    return [(trial.values, trial.result) for trial in TrialRecords(out)]


def lowest(out, kind, *, seed, trials):
    return min(result for _, result in search(out, kind, seed=seed, trials=trials))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["random", "hyperband"])
def test_a_search_reaches_95_percent_of_the_gain(tmp_path, kind, seed):
    assert lowest(tmp_path, kind, seed=seed, trials=40) <= 0.05 * DEFAULT


@pytest.mark.slow  # a Gaussian process is fitted for each trial
@pytest.mark.parametrize("seed", SEEDS)
def test_bayesian_search_finds_what_random_search_misses(tmp_path, seed):
    # 0.4 % of the space is this good: 30 random trials hit it with a probability of 0.11.
    good = 0.002 * DEFAULT
    assert lowest(tmp_path / "bayesian", "bayesian", seed=seed, trials=30) <= good
    assert lowest(tmp_path / "random", "random", seed=seed, trials=30) > good


@pytest.mark.parametrize("kind", ["random", *FEEDBACK])
def test_a_search_cut_off_anywhere_makes_the_same_trials(tmp_path, kind):
    trials = 8  # Bayesian search draws the first 3 at random
    undisturbed = search(tmp_path / "undisturbed", kind, trials=trials)
    calls = 0

    def interrupted(trial, records, deadline):
        nonlocal calls
        calls += 1
        if calls % 3 == 2:
            raise KeyboardInterrupt
        return train(trial, records, deadline)

    for _ in range(len(undisturbed)):
        try:
            found = search(tmp_path / "s", kind, trials=trials, function=interrupted)
            break
        except KeyboardInterrupt:
            pass
    assert found == undisturbed


@pytest.mark.parametrize("kind", ["random", *FEEDBACK])
def test_a_trial_that_fails_is_recorded_and_the_search_ends(tmp_path, kind):
    def failing(trial, records, deadline):
        if int(trial.name) % 4 == 0:
            raise AlloykError("the loss became nan")
        if int(trial.name) % 4 == 2:
            raise KeyError("no such key")
        return train(trial, records, deadline)

    search(tmp_path, kind, trials=8, function=failing)
    records = TrialRecords(tmp_path)
    failed = records.failed()
    assert len(failed) == math.ceil(len(list(records)) / 2)
    assert {trial.error for trial in failed} == {"the loss became nan", "KeyError: 'no such key'"}
    assert not records.running()


def full_disk():
    raise OSError(errno.ENOSPC, "No space left on device")


def full_disk_while_writing():
    with whole_file(Path("/dev/null/file")):
        pass


def damaged_image():
    read_image(b"neither PNG nor TIFF")


@pytest.mark.parametrize("cause", [full_disk, full_disk_while_writing, damaged_image])
@pytest.mark.parametrize("kind", ["random", *FEEDBACK])
def test_a_trial_that_an_error_from_outside_ends_is_repeated(tmp_path, kind, cause):
    broken = True

    def failing(trial, records, deadline):
        if broken and int(trial.name) == 1:
            cause()
        return train(trial, records, deadline)

    message = "^trial 0001 is unfinished: .*; correct this, and give the command again to resume it"
    for _ in range(2):
        with pytest.raises(AlloykError, match=message):
            search(tmp_path / "s", kind, trials=4, function=failing)
    assert [one.state for one in TrialRecords(tmp_path / "s")] == ["finished", "running"]
    broken = False
    found = search(tmp_path / "s", kind, trials=4, function=failing)
    assert found == search(tmp_path / "undisturbed", kind, trials=4)


def test_content_that_a_library_refuses_fails_the_trial(tmp_path):
    def failing(trial, records, deadline):
        try:
            raise OSError("not a checkpoint")  # without a number, as of NumPy
        except OSError as error:
            raise ModelError("the checkpoint is damaged") from error

    search(tmp_path, "random", trials=1, function=failing)
    assert [one.error for one in TrialRecords(tmp_path).failed()] == ["the checkpoint is damaged"]


@pytest.mark.parametrize("kind", FEEDBACK)
def test_a_deleted_trial_is_named(tmp_path, kind):
    search(tmp_path, kind, trials=4)
    shutil.rmtree(tmp_path / "trial_0002")
    message = "^every trial of a search must .* but .*trial_0002/trial.json is missing; restore its"
    with pytest.raises(ModelError, match=message):
        search(tmp_path, kind, trials=6)


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal: processes that a shell starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
@pytest.mark.usefixtures("ctrl_c")
def test_a_trial_that_fails_because_a_library_lost_an_interrupt_is_not_recorded(
    tmp_path, number, raised
):
    def interrupted(trial, records, deadline):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(5)
        raise ValueError("None values not supported")

    with sigterm_as_interrupt(), pytest.raises(KeyboardInterrupt) as found:
        search(tmp_path, "random", trials=2, function=interrupted)
    assert found.type is raised
    assert [trial.state for trial in TrialRecords(tmp_path)] == ["running"]
    assert len(search(tmp_path, "random", trials=2)) == 2  # nothing is left of the interrupt
    assert not TrialRecords(tmp_path).failed()


def sleep_and_train(trial, records, deadline):
    with (records.folder(trial) / "who").open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.3)
    return train(trial, records, deadline)


def work(out, kind, trials):
    search(out, kind, trials=trials, function=sleep_and_train)


@pytest.mark.parametrize("kind", ["random", "hyperband"])
def test_several_workers_share_a_search_and_outlive_one(tmp_path, kind):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["alloyk.tuning.search"])  # Keras is imported once
    workers = [context.Process(target=work, args=(tmp_path, kind, 12)) for _ in range(3)]
    for worker in workers:
        worker.start()
    victim, deadline = workers[0], time.time() + 60
    while not any(
        str(victim.pid) in file.read_text().split() for file in tmp_path.glob("trial_*/who")
    ):
        assert time.time() < deadline
        time.sleep(0.05)
    os.kill(victim.pid, signal.SIGKILL)
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL, 0, 0]
    records = TrialRecords(tmp_path)
    assert not records.running()
    trained = [file.read_text().split() for file in tmp_path.glob("trial_*/who")]
    twice = [who for who in trained if len(who) > 1]
    assert len(twice) <= 1  # the trial of the victim
    assert all(who[0] == str(victim.pid) for who in twice)
    assert len({trial.key for trial in records}) == len(trained)
    if kind == "random":
        assert len(trained) == 12


def test_the_time_budget_starts_no_further_trial(tmp_path):
    assert not run_trials(
        tmp_path, suggestions_for("random", parameters_of(SPACE), seed=1), train,
        deadline=time.time() - 1,
    )  # fmt: skip
    assert not list(TrialRecords(tmp_path))


def test_a_standstill_is_named_and_its_lock_does_not_count(tmp_path):
    records = TrialRecords(tmp_path)
    folder = records.folder(records.begin({"a": 1}))
    (folder / ".lock").touch()
    (folder / "removed").symlink_to(tmp_path / "nowhere")  # listed, but gone when it is looked at
    yesterday = time.time() - 23 * 3600
    os.utime(folder / "trial.json", (yesterday, yesterday))
    _refuse_standstill(records)
    yesterday -= 2 * 3600
    os.utime(folder / "trial.json", (yesterday, yesterday))
    message = (
        r"^no progress of 1 running trial \(0000\) for 24 h; stop their workers and run the "
        "command again$"
    )
    with pytest.raises(AlloykError, match=message):
        _refuse_standstill(records)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "annealing"}, "search must be one of grid, .*, got 'annealing'"),
        ({"search": "random", "workers": 0}, "workers must be >= 1, got 0"),
        ({"search": "random", "time_budget_min": 0}, "time_budget must be > 0 minutes, got 0"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        run_search(space=SPACE, **options)
