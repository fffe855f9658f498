"""A whole training on a small data set: complete folder, exact resume, replicas, clear errors."""

import csv
import json
import re
import shutil
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from own_process import run_command, start
from PIL import Image
from tensorflow.python.framework import config as tensorflow_config

from alloyk.cli import main
from alloyk.config import parse_overrides, resolve_config, write_config
from alloyk.data import load_dataset
from alloyk.data.source import readable_dataset
from alloyk.errors import AlloykError, ConfigError
from alloyk.locks import locked_folder
from alloyk.models.nested import nested_layers
from alloyk.runs.predictions import read_predictions
from alloyk.training.build import build_network, compile_network
from alloyk.training.callbacks import EpochReport
from alloyk.training.checkpoint import Checkpoint, _save_arrays
from alloyk.training.keras_setup import set_up_keras, setup_undone
from alloyk.training.phases import Phase, phases_of
from alloyk.training.run import run_training
from alloyk.training.splits import standardization_for

pytestmark = pytest.mark.usefixtures("unrendered")

RUN_FILES = {
    "config.yaml", "facts.json", "figures", "history.csv", "metrics.json", "model.keras",
    "predictions.csv", "predictions_val.csv", "report.txt", "split.csv",
}  # fmt: skip

# Few, small and easy: a square of counts is bright in one class and dark in the other.
TINY = (
    "preprocess.image_size=16", "model.arch=cnn", "model.depth=1", "train.epochs=3",
    "train.batch_size=8",
    "schedule.warmup_epochs=1", "augment.horizontal_flip=true", "augment.noise=0.05",
    "train.deterministic=true", "preprocess.repair=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """Sixty 16-bit images of two classes on disk, of two sizes."""
    folder = tmp_path_factory.mktemp("radiographs")
    rng = np.random.default_rng(0)
    for number in range(60):
        label, level = (("1050", 9000), ("2017", 3000))[number % 2]
        image = rng.normal(6000, 300, (24, 24 + number % 3))
        image[8:16, 8:16] = rng.normal(level, 300, (8, 8))
        (folder / label).mkdir(exist_ok=True)
        pixels = np.clip(image, 0, 16383).astype(np.uint16)
        Image.fromarray(pixels).save(folder / label / f"{number:02d}.png")
    return folder


def settled(*settings):
    """Each key once: a later setting replaces an earlier one."""
    return list({setting.split("=")[0]: setting for setting in settings}.values())


def configured(data, *settings):
    return resolve_config(None, parse_overrides(settled(f"data.path={data}", *TINY, *settings)))


@pytest.fixture(scope="module")
def finished(radiographs, tmp_path_factory):
    return run_training(configured(radiographs), tmp_path_factory.mktemp("runs") / "cnn")


def test_run_folder_is_complete_and_agrees_with_itself(finished):
    assert {path.name for path in finished.iterdir()} == RUN_FILES
    predictions = read_predictions(finished / "predictions.csv")
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["n"] == len(predictions.table) == 9
    assert metrics["accuracy"] > 0.8
    with (finished / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert list(rows[0]) == [
        "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds",
    ]  # fmt: skip


def test_saved_model_takes_the_raw_image_and_repeats_the_predictions(finished, radiographs):
    model = keras.models.load_model(finished / "model.keras")
    predictions = read_predictions(finished / "predictions.csv")
    for path, expected in zip(predictions.table["path"], predictions.probabilities, strict=True):
        raw = np.asarray(Image.open(radiographs / path))
        logits = model.predict(raw[None, ..., None], verbose=0)[0].astype(np.float64)
        found = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_saved_model_holds_weights_once(finished):
    """Neither optimizer nor loss: a file of four bytes per parameter."""
    parameters = json.loads((finished / "facts.json").read_text())["parameters"]
    assert (finished / "model.keras").stat().st_size < 4 * parameters + 300_000


def weights_of(run):
    return keras.models.load_model(run / "model.keras").get_weights()


RESUMED = {
    "plateau, early stopping, class-aware": (
        "schedule.name=plateau", "schedule.patience=1", "schedule.warmup_epochs=1",
        "train.patience=2", "optimizer.learning_rate=0.05", "data.sampling=class_aware",
    ),
    "backbone frozen first, then momentum": (
        "model.weights={weights}", "model.freeze_epochs=2", "optimizer.name=momentum",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=name, marks=[pytest.mark.slow] if number else [])
        for number, (name, settings) in enumerate(RESUMED.items())
    ],
)
def test_killed_run_goes_on_as_if_nothing_had_happened(radiographs, finished, tmp_path, settings):
    """Kill -9 in the second and in the third epoch: the weights are those of an undisturbed run."""
    settings = [setting.format(weights=finished / "model.keras") for setting in settings]
    config = configured(radiographs, *settings)
    write_config(config, tmp_path / "config.yaml")
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    messages = tmp_path / "messages.txt"

    def train(run, *more):
        return start(run_command, "train", "--run", run, *more, messages=messages)

    run_training(config, undisturbed)

    kills = 0
    process = train(disturbed, tmp_path / "config.yaml")
    while process.is_alive():
        if kills < 2 and epochs_written(disturbed) > kills:
            kills += 1
            time.sleep(0.05 * kills)  # somewhere into the next epoch
            process.kill()
            process.join()
            process = train(disturbed, "--resume")
        time.sleep(0.002)
    assert process.exitcode == 0, messages.read_text()
    assert kills == 2
    for one, two in zip(weights_of(undisturbed), weights_of(disturbed), strict=True):
        np.testing.assert_array_equal(one, two)
    for name in ("predictions.csv", "predictions_val.csv", "config.yaml"):
        assert (undisturbed / name).read_bytes() == (disturbed / name).read_bytes()


def epochs_written(run):
    history = run / "history.csv"
    return max(len(history.read_text().splitlines()) - 1, 0) if history.exists() else 0


def test_diverging_training_says_so(radiographs, tmp_path):
    config = configured(
        radiographs, "model.arch=fnn", "optimizer.name=sgd", "optimizer.learning_rate=1e30",
        "optimizer.weight_decay=0",
    )  # fmt: skip
    with pytest.raises(AlloykError, match=r"loss became .* a lower optimizer\.learning_rate"):
        run_training(config, tmp_path / "run")


def test_an_unreadable_image_stops_training_by_name_or_is_skipped_by_name(
    radiographs, tmp_path, caplog
):
    data = shutil.copytree(radiographs, tmp_path / "data")
    bad = sorted((data / "1050").iterdir())[3]
    bad.write_bytes(bad.read_bytes()[:80])
    for cache in ("memory", "none"):
        with pytest.raises(AlloykError, match=rf"{bad.name}: the file is cut short"):
            run_training(configured(data, f"data.cache={cache}"), tmp_path / "stopped")
        assert not (tmp_path / "stopped").exists()
    run = run_training(configured(data, "data.on_bad_image=skip", "train.epochs=2"), tmp_path / "b")
    assert f"skipped: cannot read the image {bad}" in caplog.text
    facts = json.loads((run / "facts.json").read_text())
    assert sum(facts["images"].values()) == 59
    assert facts["skipped"] == [f"1050/{bad.name}"]


def test_a_class_or_split_without_readable_images_is_named(radiographs, tmp_path):
    dataset = load_dataset(shutil.copytree(radiographs, tmp_path / "data"))
    for path in dataset.paths("val"):
        path.write_bytes(b"x")
    with pytest.raises(AlloykError, match=r"got none in val without the \d+ unr"):
        readable_dataset(dataset)


def test_a_finished_run_is_not_trained_again(finished):
    before = (finished / "model.keras").stat().st_mtime_ns
    with pytest.raises(
        AlloykError, match=r"^--resume needs an unfinished run, got .*, which is finished"
    ):
        run_training(resolve_config(finished / "config.yaml"), finished, resume=True)
    assert (finished / "model.keras").stat().st_mtime_ns == before


def test_a_run_goes_on_with_its_own_settings_data_and_files_only(
    radiographs, tmp_path, monkeypatch
):
    data = shutil.copytree(radiographs, tmp_path / "data")
    run, config = tmp_path / "run", configured(data)
    monkeypatch.setattr("alloyk.training.run.evaluate_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_training(config, run)
    monkeypatch.undo()
    for setting, what in (("train.batch_size=4", "8, not 4"), ("train.epochs=1", "3, not 1")):
        name = setting.split("=")[0]
        with pytest.raises(AlloykError, match=f"got a checkpoint with {name} {what}; undo"):
            run_training(configured(data, setting), run, resume=True)

    def refused(file, content, message):
        whole = file.read_bytes()
        file.write_bytes(content(whole))
        with pytest.raises(AlloykError, match=message):
            run_training(config, run, resume=True)
        file.write_bytes(whole)

    refused(
        run / "history.csv",
        lambda whole: b"\n".join(line for line in whole.split(b"\n") if line[:2] != b"2,"),
        r"history\.csv must have the epochs 1 to 3 .*got 1, 3; .*new folder",
    )
    refused(
        run / "checkpoint" / "state.npz",
        lambda whole: whole[:200],
        r"state\.npz is damaged \(.*\), so .*; train into a new folder",
    )
    one, other = sorted((data / "1050").iterdir())[:2]
    refused(
        one,
        lambda whole: other.read_bytes(),
        r"was started with, but in .* 1 image has different content \(1050/00\.png\)",
    )
    moved = data.rename(tmp_path / "moved")
    with pytest.raises(AlloykError, match=r"run is no longer at .*data, .*data\.path in .*config"):
        run_training(config, run, resume=True)
    run_training(configured(moved), run, resume=True)
    assert {path.name for path in run.iterdir()} == RUN_FILES


def test_a_device_that_is_not_there_is_named(radiographs, tmp_path):
    with pytest.raises(
        AlloykError, match=r"must name devices of this machine, got GPU:7; use CPU:0"
    ):
        run_training(configured(radiographs, "train.devices=[GPU:7]"), tmp_path / "run")


def interrupt(*_args, **_named):
    raise KeyboardInterrupt


def test_one_epoch_is_enough_for_any_recipe(radiographs, tmp_path):
    config = configured(radiographs, "model.arch=fnn", "train.epochs=1", "schedule.warmup_epochs=2")
    assert (run_training(config, tmp_path / "run") / "metrics.json").exists()


def test_a_folder_with_something_in_it_is_left_alone(radiographs, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        AlloykError,
        match=r"^--run must be a new or empty folder, got .* with other files; choose another$",
    ):
        run_training(configured(radiographs), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(AlloykError, match=r"new or empty folder, got .*notes\.txt, a file$"):
        run_training(configured(radiographs), tmp_path / "notes.txt")
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(AlloykError, match="unfinished run; resume it with --resume"):
        run_training(configured(radiographs), tmp_path)


def test_a_finished_run_is_not_overwritten(finished, radiographs):
    with pytest.raises(AlloykError, match="with a finished run; choose another"):
        run_training(configured(radiographs), finished)


def test_a_run_that_is_still_training_is_not_resumed(radiographs, tmp_path, runner):
    """Two training runs into the default folder get two folders, and each keeps its own."""
    settings = settled(*TINY, "model.arch=fnn", "train.epochs=2000")
    options = [option for setting in settings for option in ("--set", setting)]
    command = ["train", "--data", radiographs, *options]
    processes = [
        start(run_command, *command, messages=tmp_path / "messages.txt", cwd=tmp_path)
        for _ in range(2)
    ]
    runs = [tmp_path / "saved_models" / name for name in ("fnn", "fnn-2")]
    try:
        while any(process.is_alive() for process in processes):
            if all(map(epochs_written, runs)):
                break
            time.sleep(0.05)
        for run in runs:
            found = runner.invoke(main, ["train", "--run", str(run), "--resume"])
            assert found.exit_code == 1
            process = re.search(r"is in use by process (\d+) on .* \(.*, ", found.output)
            assert int(process[1]) in {one.pid for one in processes}
    finally:
        for process in processes:
            process.kill()
            process.join()
    with locked_folder(runs[0]):  # which a dead process does not hold
        assert epochs_written(runs[0])


def test_a_file_in_the_way_is_named(radiographs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AlloykError, match=r"^cannot write the folder .*file/run: Not a directory$"):
        run_training(configured(radiographs), tmp_path / "file" / "run")


def test_a_failed_start_leaves_a_linked_run_folder_as_it_was(radiographs, tmp_path):
    data = shutil.copytree(radiographs, tmp_path / "data")
    sorted((data / "1050").iterdir())[3].write_bytes(b"x")
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    with pytest.raises(AlloykError, match="cannot read the image"):
        run_training(configured(data), tmp_path / "run")
    assert (tmp_path / "run").is_symlink()
    assert not list((tmp_path / "disk").iterdir())


def backbone_of(network):
    return network.get_layer("cnn").get_layer("backbone").get_weights()


def test_frozen_backbone_stays_and_is_trained_afterwards(
    finished, radiographs, tmp_path, monkeypatch
):
    after_epochs = []
    on_epoch_end = Checkpoint.on_epoch_end

    def kept(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        after_epochs.append(backbone_of(self.model))

    monkeypatch.setattr(Checkpoint, "on_epoch_end", kept)
    weights = f"model.weights={finished / 'model.keras'}"
    settings = ("model.freeze_epochs=1", "train.epochs=2", "schedule.name=constant")
    run_training(configured(radiographs, weights, *settings), tmp_path / "run")
    model = keras.models.load_model(finished / "model.keras")
    before = backbone_of(model.get_layer("standardized_network"))
    frozen, thawed = after_epochs
    for one, two in zip(before, frozen, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(before, thawed, strict=True))


def test_averaged_weights_of_a_frozen_phase_do_not_start_the_next_one(
    finished, radiographs, tmp_path, monkeypatch, caplog
):
    """Killed between the phases, a run ends with the weights of an undisturbed one."""
    caplog.set_level("INFO")
    settings = (
        f"model.weights={finished / 'model.keras'}", "model.freeze_epochs=1", "train.epochs=2",
        "train.average_weights=0.9",
    )  # fmt: skip
    config = configured(radiographs, *settings)
    undisturbed = run_training(config, tmp_path / "undisturbed")
    assert "1 epochs of 6 batches with a frozen backbone: about" in caplog.text
    assert "1 epochs of 6 batches: about" in caplog.text
    on_epoch_end = Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "on_epoch_end", killed)
    with pytest.raises(KeyboardInterrupt):
        run_training(config, tmp_path / "run")
    monkeypatch.undo()
    run_training(config, tmp_path / "run", resume=True)
    for one, two in zip(weights_of(undisturbed), weights_of(tmp_path / "run"), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("frozen", "expected"),
    [(0, [Phase(0, 3, False)]), (1, [Phase(0, 1, True), Phase(1, 3, False)]),
     (3, [Phase(0, 3, True)]), (9, [Phase(0, 3, True)])],
)  # fmt: skip
def test_phases_of_a_frozen_and_a_trained_backbone(radiographs, frozen, expected):
    settings = ("model.weights=w.keras", f"model.freeze_epochs={frozen}")
    assert phases_of(configured(radiographs, *settings)) == expected
    assert phases_of(configured(radiographs)) == [Phase(0, 3, False)]


def test_another_mean_is_refused_before_weights_that_have_one(radiographs):
    settings = ("model.arch=resnet50", "model.weights=imagenet", "preprocess.mean=[0.5]",
                "preprocess.std=[0.2]", "preprocess.image_size=32")  # fmt: skip
    with pytest.raises(ConfigError, match=r"^preprocess\.mean and preprocess\.std must be unset"):
        standardization_for(configured(radiographs, *settings), None)


@pytest.mark.parametrize(("budget", "end"), [(None, 0.0), (5, 0.5)])
def test_the_schedule_of_the_second_phase_ends_with_the_run(radiographs, budget, end):
    """Two of four epochs of five steps are left; one that follows the clock is not cut."""
    settings = (
        "train.epochs=4", "schedule.name=cosine", "schedule.warmup_epochs=0",
        "schedule.hold_fraction=0", *([f"train.time_budget_minutes={budget}"] if budget else []),
    )  # fmt: skip
    config = configured(radiographs, *settings)
    network = build_network(config, [], 2)
    compile_network(config, network, np.array([0, 1]), 2, 5, first_epoch=2)
    schedule = network.optimizer._learning_rate
    rates = [float((schedule.schedule if budget else schedule)(step)) for step in (0, 9, 19)]
    peak = config.optimizer.learning_rate
    assert rates == pytest.approx([peak, end * peak, 0], abs=0.1 * peak)


def test_a_plateau_is_counted_from_the_warm_up_of_the_second_phase(radiographs):
    settings = ("train.epochs=8", "schedule.name=plateau", "schedule.warmup_epochs=1.5")
    config = configured(radiographs, *settings)
    network = build_network(config, [], 2)
    (plateau,) = compile_network(config, network, np.array([0, 1]), 2, 5, first_epoch=3)
    assert plateau.start_epoch == 5


def test_deterministic_kernels_are_for_the_run_alone():
    asked = tensorflow_config.is_op_determinism_enabled
    config = resolve_config(None, {"train": {"deterministic": True}})
    before = asked()
    with setup_undone():
        set_up_keras(config)
        assert asked()
        with setup_undone():  # of a run within a search
            set_up_keras(config)
        assert asked()
    assert asked() == before


def test_mixed_precision_is_for_training_alone(radiographs, tmp_path, monkeypatch):
    """What is saved and predicted is float32, and Keras has its own precision again."""
    trained = set()
    on_epoch_end = Checkpoint.on_epoch_end

    def seen(self, epoch, logs=None):
        trained.update(layer.compute_dtype for layer in nested_layers(self.model))
        on_epoch_end(self, epoch, logs)

    monkeypatch.setattr(Checkpoint, "on_epoch_end", seen)
    settings = (
        "train.mixed_precision=true", "train.epochs=2", "train.tensorboard=true",
        "train.average_weights=0.9",
    )  # fmt: skip
    run = run_training(configured(radiographs, *settings), tmp_path / "run")
    assert trained == {"float16", "float32"}
    assert keras.config.dtype_policy().name == "float32"
    model = keras.models.load_model(run / "model.keras")
    assert {layer.compute_dtype for layer in nested_layers(model)} == {"float32"}
    assert list((run / "tensorboard").rglob("events*"))
    predictions = read_predictions(run / "predictions.csv")
    path, expected = predictions.table["path"][0], predictions.probabilities[0]
    raw = np.asarray(Image.open(radiographs / path))
    logits = model.predict(raw[None, ..., None], verbose=0)[0].astype(np.float64)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), expected, atol=1e-5)


@pytest.mark.parametrize("cache", ["disk", "none"])
@pytest.mark.filterwarnings("error:Your input ran out")
def test_the_written_configuration_repeats_the_run_with_every_cache(
    finished, tmp_path, cache, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = resolve_config(finished / "config.yaml", {"data": {"cache": cache}})
    run = run_training(config, tmp_path / "run")
    assert (run / "predictions.csv").read_bytes() == (finished / "predictions.csv").read_bytes()
    assert any((tmp_path / "cache").rglob("*.npy")) == (cache == "disk")


def test_ctrl_c_says_what_is_kept(radiographs, tmp_path, monkeypatch, runner):
    def cut_off(config, run, **options):
        run.mkdir()
        (run / "config.yaml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("alloyk.training.run.run_training", cut_off)
    run = tmp_path / "run"
    found = runner.invoke(main, ["train", "--data", str(radiographs), "--run", str(run)])
    assert (found.exit_code, found.stdout) == (1, "")
    assert f"to resume: alloyk train --run {run} --resume\n" in found.stderr
    monkeypatch.setattr("alloyk.training.run.run_training", interrupt)
    found = runner.invoke(main, ["train", "--data", str(radiographs), "--run", f"{run}-2"])
    assert "there is no checkpoint yet; nothing is kept\n" in found.stderr


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path):
    (tmp_path / "state.part").symlink_to("/dev/full")
    with pytest.raises(AlloykError, match=r"^cannot write .*state\.npz: No space left on device$"):
        _save_arrays(tmp_path / "state.npz", [np.zeros(100_000)])


def test_the_time_left_of_an_epoch_that_was_resumed_counts_whole_epochs(monkeypatch):
    seen = []
    now = iter([100.0, 110.0, 112.0, 112.0])  # begin, trained, end of validation
    monkeypatch.setattr(
        "alloyk.training.callbacks.time", SimpleNamespace(perf_counter=lambda: next(now))
    )
    report = EpochReport(
        3, 200, 1600, left=lambda epochs, seconds: seen.append((epochs, seconds)) or "",
        before=lambda: 195,
    )  # fmt: skip
    report.on_epoch_begin(0)
    for batch in range(5):
        report.on_train_batch_end(batch)
    report.on_test_begin()
    report.on_epoch_end(0, {"loss": 1.0})
    assert seen == [(2, 10 * 200 / 5 + 2)]
