"""One training run by two processes on the loopback gives what one process gives."""

import json
import os
import random
import shutil
import signal
import time
from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf
from float64 import run_in_float64
from keras.src.backend.tensorflow import trainer
from own_process import run_command, start
from PIL import Image
from unrendered import use_one_pixel
from workers import addresses, run_with_kernels_of_workers, start_worker, tf_config

from alloyk.config import parse_overrides, resolve_config, write_config
from alloyk.errors import ConfigError
from alloyk.runs.folder import RunFolder
from alloyk.runtime.cluster import Cluster
from alloyk.training import strategy
from alloyk.training.multi_worker import let_keras_fit_over_workers
from alloyk.training.run import run_training
from alloyk.training.strategy import choose_strategy, cluster_of, local_distribution
from alloyk.training.workers import _described, private_folder

# Dropout draws alike on every worker, so that a batch over two of them has other masks.
SETTINGS = (
    "preprocess.image_size=16", "train.batch_size=8", "schedule.warmup_epochs=0",
    "model.dropout=0", "augment.horizontal_flip=true", "augment.noise=0.05",
    "train.deterministic=true", "preprocess.repair=false",
)  # fmt: skip
PLAIN_SGD = ("optimizer.name=sgd", "optimizer.learning_rate=0.01", "optimizer.clip_norm=null")
TIMEOUT_S = 400


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """Sixty 16-bit images of two classes: 42, 9 and 9 in the splits."""
    return write_images(tmp_path_factory.mktemp("radiographs"), 60)


def write_images(folder, count):
    rng = np.random.default_rng(0)
    for number in range(count):
        label, level = (("1050", 9000), ("2017", 3000))[number % 2]
        image = rng.normal(6000, 300, (24, 24))
        image[8:16, 8:16] = rng.normal(level, 300, (8, 8))
        (folder / label).mkdir(exist_ok=True, parents=True)
        pixels = np.clip(image, 0, 16383).astype(np.uint16)
        Image.fromarray(pixels).save(folder / label / f"{number:02d}.png")
    return folder


def options(data, *settings):
    """Options of `alloyk train`; a later setting replaces an earlier one."""
    each = {one.split("=")[0]: one for one in (f"data.path={data}", *SETTINGS, *settings)}
    return [option for setting in each.values() for option in ("--set", setting)]


class Pair:
    """Two workers that run one command."""

    def __init__(self, folder, *arguments, workers=None, run=run_command):
        self.messages = [folder / f"worker-{index}.txt" for index in (0, 1)]
        workers = workers or addresses()
        self.processes = [
            start_worker(workers, index, "train", *arguments, messages=file, run=run)
            for index, file in enumerate(self.messages)
        ]

    def join(self):
        """Exit codes."""
        for process in self.processes:
            process.join(TIMEOUT_S)
            if process.exitcode is None:
                process.kill()
        return [process.exitcode for process in self.processes]

    def said(self):
        return "\n".join(file.read_text() for file in self.messages if file.exists())


def weights_of(run):
    return keras.models.load_model(run / "model.keras").get_weights()


def compare(one, two, atol):
    """Losses and weights of two runs within a tolerance."""
    first, second = RunFolder(one).history, RunFolder(two).history
    for column in ("loss", "val_loss"):
        np.testing.assert_allclose(first[column], second[column], atol=atol, rtol=0)
    for column in ("accuracy", "val_accuracy"):
        np.testing.assert_allclose(first[column], second[column], atol=1e-6)
    for ours, theirs in zip(weights_of(one), weights_of(two), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=atol, rtol=0)


@pytest.fixture(scope="module")
def divided(radiographs, tmp_path_factory):
    """A training run whose last batches divide unevenly or by one image, with clipping."""
    settings = options(
        radiographs, "model.arch=cnn", "model.depth=1", "train.epochs=2",
        "data.ratios=[0.7,0.15,0.15]", *PLAIN_SGD, "optimizer.clip_norm=1.0",
    )  # fmt: skip
    file = tmp_path_factory.mktemp("divided") / "config.yaml"
    write_config(resolve_config(None, parse_overrides(settings[1::2])), file)
    return file


@pytest.fixture(scope="module")
def alone(divided, unrendered, tmp_path_factory):
    """What one process trains on one device."""
    return run_training(resolve_config(divided), tmp_path_factory.mktemp("alone") / "one")


def test_two_workers_train_what_one_trains(divided, alone, tmp_path):
    """Batch norm and clipping over both."""
    pair = Pair(tmp_path, divided, "--run", tmp_path / "two")
    assert pair.join() == [0, 0], pair.said()
    compare(alone, tmp_path / "two", 1e-5)
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {path.name for path in alone.iterdir()}


def train_on_two_cpus(file, run):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    use_one_pixel()
    run_training(resolve_config(file, parse_overrides(["train.devices=[CPU:0,CPU:1]"])), run)


def test_two_replicas_learn_what_one_device_learns(divided, alone, tmp_path):
    """MirroredStrategy on two logical CPUs."""
    messages = tmp_path / "messages.txt"
    process = start(train_on_two_cpus, divided, tmp_path / "two", messages=messages)
    process.join()
    assert process.exitcode == 0, messages.read_text()
    compare(alone, tmp_path / "two", 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("further", "run", "atol"),
    [
        pytest.param(PLAIN_SGD, run_in_float64, 1e-6, id="sgd-float64"),
        pytest.param(PLAIN_SGD, run_command, 1e-2, id="sgd"),
        pytest.param((), run_in_float64, 1e-6, id="defaults-float64"),
        pytest.param((), run_command, 1e-2, id="defaults"),
    ],
)
def test_resnet18_of_two_workers(tmp_path, further, run, atol):
    """Twenty steps; batch norm amplifies rounding.

    In double precision nothing is left of the difference: losses are recorded in float32. Other
    CPU kernels change the loss of the first epoch by 0.03 to 0.05.
    """
    data = write_images(tmp_path / "data", 92)  # 64 of them for training
    settings = options(
        data, "model.arch=resnet18", "preprocess.image_size=32", "train.batch_size=16",
        "train.epochs=5", *further,
    )  # fmt: skip
    pair = Pair(tmp_path, "--run", tmp_path / "two", *settings, run=run)
    alone = start(
        run_with_kernels_of_workers, run, "train", "--run", tmp_path / "one", *settings,
        messages=tmp_path / "alone.txt",
    )  # fmt: skip
    assert pair.join() == [0, 0], pair.said()
    alone.join()
    one, two = (RunFolder(tmp_path / name).history for name in ("one", "two"))
    for column in ("loss", "val_loss"):
        print(column, *one[column], "differences", *np.abs(one[column] - two[column]))
    np.testing.assert_allclose(one["loss"], two["loss"], atol=atol, rtol=0)


@pytest.fixture
def resumable(radiographs):
    return options(radiographs, "model.arch=cnn", "train.epochs=4")


def epochs_of(run):
    file = run / "history.csv"
    return max(len(file.read_text().splitlines()) - 1, 0) if file.exists() else 0


def wait_for_epoch(pair, run, epoch):
    while epochs_of(run) < epoch and all(process.is_alive() for process in pair.processes):
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_other_and_both_resume_exactly(resumable, tmp_path, killed):
    undisturbed = Pair(tmp_path, "--run", tmp_path / "whole", *resumable)
    assert undisturbed.join() == [0, 0], undisturbed.said()
    run = tmp_path / "run"
    pair = Pair(tmp_path, "--run", run, *resumable)
    wait_for_epoch(pair, run, 2)
    pair.processes[killed].kill()
    began = time.monotonic()
    codes = pair.join()
    assert time.monotonic() - began < 60
    assert codes[1 - killed] == 1, pair.said()
    assert f"but worker {killed} (127.0.0.1:" in pair.said()
    again = Pair(tmp_path, "--run", run, "--resume")
    assert again.join() == [0, 0], again.said()
    for one, two in zip(weights_of(tmp_path / "whole"), weights_of(run), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_a_pair_that_is_killed_within_an_epoch_resumes_with_the_next_batch(radiographs, tmp_path):
    """A checkpoint every two of the six batches; the first epoch has none of its own yet."""
    settings = options(radiographs, "model.arch=cnn", "train.epochs=2", "train.checkpoint_steps=2")
    undisturbed = Pair(tmp_path, "--run", tmp_path / "whole", *settings)
    assert undisturbed.join() == [0, 0], undisturbed.said()
    run = tmp_path / "run"
    pair = Pair(tmp_path, "--run", run, *settings)
    state = RunFolder(run).checkpoint_folder / "state.npz"
    while not state.exists() and all(process.is_alive() for process in pair.processes):
        time.sleep(0.001)
    pair.processes[0].kill()
    assert pair.join()[1] == 1, pair.said()
    with np.load(state) as arrays:
        header = json.loads(str(arrays["header"]))
    assert header["epochs_done"] == 0
    assert header["steps_done"] in (2, 4)
    again = Pair(tmp_path, "--run", run, "--resume")
    assert again.join() == [0, 0], again.said()
    for one, two in zip(weights_of(tmp_path / "whole"), weights_of(run), strict=True):
        np.testing.assert_array_equal(one, two)
    first, second = RunFolder(tmp_path / "whole").history, RunFolder(run).history
    np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("worker", [0, 1])
def test_sigterm_ends_a_worker_that_waits_inside_tensorflow(resumable, tmp_path, worker):
    run = tmp_path / "run"
    pair = Pair(tmp_path, "--run", run, *resumable)
    wait_for_epoch(pair, run, 1)
    stopped, ended = pair.processes[1 - worker], pair.processes[worker]
    os.kill(stopped.pid, signal.SIGSTOP)  # it holds its connection, and takes no further step
    time.sleep(1)
    os.kill(ended.pid, signal.SIGTERM)
    ended.join(30)
    stopped.kill()  # first, because a stopped process would be waited for
    pair.join()
    assert ended.exitcode == 128 + signal.SIGTERM


@pytest.mark.slow
@pytest.mark.timeout(2400)  # twenty times up to 25 s of training and 50 s of waiting for a peer
def test_twenty_random_kills_leave_a_run_that_resumes(resumable, tmp_path):
    rng, run = random.Random(0), tmp_path / "run"
    whole = Pair(tmp_path, "--run", tmp_path / "whole", *resumable)
    assert whole.join() == [0, 0], whole.said()
    kills = 0
    while kills < 20:
        unfinished = (run / "checkpoint").is_dir()
        pair = Pair(tmp_path, "--run", run, *(["--resume"] if unfinished else resumable))
        time.sleep(rng.uniform(0, 25))
        victim = rng.choice(pair.processes)
        if all(process.is_alive() for process in pair.processes):
            number = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            os.kill(victim.pid, number)
            kills += 1
            began = time.monotonic()
            pair.join()
            took = time.monotonic() - began
            print(f"kill {kills}: {number.name} after epoch {epochs_of(run)}, {took:.1f} s")
            assert took < 60, pair.said()
        pair.join()
        if RunFolder(run).is_finished:
            for one, two in zip(weights_of(tmp_path / "whole"), weights_of(run), strict=True):
                np.testing.assert_array_equal(one, two)
            shutil.rmtree(run)


def configured(*settings):
    return resolve_config(None, parse_overrides(list(settings))).train


def test_one_device_and_several_workers_are_told_apart(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster_of(configured()) is None
    with pytest.raises(ConfigError, match=r"needs two or more workers in TF_CONFIG, got none"):
        cluster_of(configured("train.strategy=multi-worker"))
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1"], 1))
    assert cluster_of(configured()) == Cluster(("a:1", "b:1"), 1)
    assert cluster_of(configured("train.strategy=single")) is None
    for setting, message in (
        ("train.time_budget_minutes=1", r"train\.time_budget_minutes must be unset with several"),
        ("train.devices=[GPU:0]", r"train\.devices must be unset .* got GPU:0; every worker uses"),
        ("train.mixed_precision=true", r"train\.mixed_precision must be false or auto .* got true"),
    ):
        with pytest.raises(ConfigError, match=message):
            cluster_of(configured(setting))


def test_tensorflow_is_started_when_all_workers_are_ready(monkeypatch):
    """It holds Python's lock until they are there; a late one would hear nothing meanwhile."""
    steps = []

    class Ready:
        cluster, count = Cluster(("a:1", "b:1"), 1), 2

        def gather(self, name, value):
            steps.append("ready")

    @contextmanager
    def started_strategy():
        steps.append("started")
        yield None

    monkeypatch.setattr(strategy, "started_strategy", started_strategy)
    with strategy.distribution_of(configured(), Ready()):
        assert steps == ["ready", "started"]


def test_a_strategy_that_does_not_fit_the_devices_is_an_error():
    with pytest.raises(ConfigError, match=r"mirrored needs two or more devices, got CPU:0; set"):
        choose_strategy(None, "mirrored")
    with pytest.raises(ConfigError, match=r"single needs one of train\.devices, got CPU:0, CPU:0"):
        choose_strategy(("CPU:0", "CPU:0"), "single")
    with pytest.raises(ConfigError, match=r"multi-worker is for alloyk train only"):
        local_distribution(configured("train.strategy=multi-worker"))


def test_another_command_ignores_the_workers(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1"], 1))
    assert local_distribution(configured()).is_one_device


def test_a_private_folder_starts_from_the_shared_files_and_is_deleted(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = {"history.csv": b"epoch", "checkpoint/state.npz": b"state"}
    for _ in range(2):
        with private_folder(Cluster(("a:1", "b:1"), 1), files) as folder:
            assert folder.is_relative_to(tmp_path)
            assert {name: (folder / name).read_bytes() for name in files} == files
            (folder / "more").touch()
        assert not folder.exists()


def test_keras_is_replaced_once():
    let_keras_fit_over_workers()
    once = trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica
    let_keras_fit_over_workers()
    assert once == (trainer.TensorFlowTrainer._maybe_symbolic_build, trainer.reduce_per_replica)


def test_the_place_of_the_data_and_the_strategy_may_differ(radiographs):
    config = resolve_config(None, parse_overrides([f"data.path={radiographs}"]))
    other = resolve_config(None, parse_overrides(["data.path=/elsewhere", "train.strategy=single"]))
    assert _described(config) == _described(other)
    changed = ["data.path=/elsewhere", "optimizer.learning_rate=0.5"]
    other = resolve_config(None, parse_overrides(changed))
    ours, theirs = _described(config), _described(other)
    differing = [key for key in ours if ours[key] != theirs[key]]
    assert differing == ["optimizer.learning_rate"]
