"""Each command as a Python function, on a small data set, without the command line."""

import logging
import os
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import alloyk
from alloyk.errors import ConfigError, DataError, ModelError, OptionError
from alloyk.progress import CallbackProgress

pytestmark = pytest.mark.usefixtures("uncollected", "unrendered", "untimed")

SMALL = {
    "preprocess.image_size": 16,
    "preprocess.repair": False,
    "model.depth": 1,
    "model.hidden_units": 16,
    "train.epochs": 1,
    "train.batch_size": 16,
}
FUNCTIONS = (
    "simulate", "audit", "split", "train", "evaluate", "compare", "ensemble", "cross_validate",
    "explain", "tune", "export", "load", "predict", "report", "stress", "ceiling", "plan",
    "build_model", "configure", "bench",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def radiographs(folder):
    found = alloyk.simulate(
        folder / "radiographs", preset="easy", images=60, image_size=24, set={"wedge.height_mm": 12}
    )
    assert found.recipe.parameters.wedge.height_mm == 12
    assert found.class_counts == {"1050": 30, "2017": 30}
    assert len(list(found.folder.glob("*/*.png"))) == 60
    return found.folder


@pytest.fixture(scope="module")
def sorted_images(radiographs, folder):
    steps = []
    progress = CallbackProgress(lambda *step: steps.append(step))
    plan = alloyk.split(radiographs, folder / "sorted", progress=progress)
    assert set(plan.table["split"]) == {"train", "val", "test"}
    assert steps[-1] == ("copy", 60, 60, "images")
    return plan.target


@pytest.fixture(scope="module")
def run(sorted_images, folder):
    return alloyk.train(data=sorted_images, arch="cnn", run=folder / "cnn", set=SMALL)


def test_train_returns_the_run(run, folder):
    assert run.path == folder / "cnn"
    assert run.metrics["n"] == len(run.predictions)
    assert set(run.predictions.table["label"]) == {"1050", "2017"}
    right = run.predictions.y_true == run.predictions.y_pred
    assert run.metrics["accuracy"] == pytest.approx(right.mean())
    assert run.settings.values["train"]["epochs"] == 1


def test_a_training_without_a_file_is_configured_for_its_data(run, sorted_images, folder):
    plan = alloyk.configure(sorted_images, arch="cnn", set=SMALL, out=folder / "plan.yaml")
    assert alloyk.Config.model_validate(run.settings.values) == plan.config
    assert (run.path / "plan.yaml").read_text().splitlines()[3:5] == plan.to_yaml().splitlines()[
        3:5
    ]
    assert (folder / "plan.yaml").read_text() == plan.to_yaml()
    assert "  epochs: 1  # set by you" in plan.to_yaml().splitlines()
    assert "one step of 16 images" in plan.cost[0]


def test_a_time_budget_without_time_for_an_epoch_leaves_nothing(sorted_images, folder):
    with pytest.raises(ConfigError, match=r"train.time_budget_minutes must be at least \d"):
        alloyk.train(
            data=sorted_images, arch="cnn", run=folder / "short", set=SMALL, time_budget=0.001
        )
    assert not (folder / "short").exists()
    with pytest.raises(ConfigError, match=r"train\.time_budget_minutes must be > 0, got 0"):
        alloyk.train(data=sorted_images, run=folder / "short", time_budget=0)


def test_a_run_shows_itself_as_a_table(run):
    html = run._repr_html_()
    assert f"accuracy {100 * run.metrics['accuracy']:.1f} %" in html
    assert html.count("<tr>") == 3
    assert len(html) < 2000


def test_audit(sorted_images, folder):
    found = alloyk.audit(sorted_images)
    assert found.to_text().startswith(str(sorted_images))
    assert {one.severity for one in found.findings} <= {"fix", "check", "note"}
    assert found._repr_html_().startswith("<table>")


def test_evaluate(run, folder):
    found = alloyk.evaluate(run, split="val", out=folder / "val")
    assert found.path == folder / "val"
    assert len(found.read_predictions("val")) == found.metrics["n"]
    again = run.evaluate(from_predictions=True)
    assert again.metrics["accuracy"] == run.metrics["accuracy"]


def test_predict_takes_files_arrays_and_folders(run, sorted_images):
    images = sorted((sorted_images / "test").glob("*/*.png"))
    of_files = alloyk.predict(run, images)
    assert of_files.paths == tuple(map(str, images))
    of_folder = run.predict(sorted_images / "test")
    assert set(of_folder.paths) == set(of_files.paths)
    one = alloyk.predict(run, np.zeros((24, 24), np.uint16))
    assert len(one) == 1
    assert one._repr_html_().count("<tr>") == 2


def test_load(run, sorted_images):
    classifier = alloyk.load(run)
    assert classifier.classes == ("1050", "2017")


def test_compare_and_ensemble(run, sorted_images, folder):
    other = alloyk.train(
        data=sorted_images, arch="fnn", run=folder / "other", set={**SMALL, "seed": 1}
    )
    found = alloyk.compare([run, other], timing=False)
    assert [one["name"] for one in found.runs] == ["cnn", "other"]
    assert len(found.pairs) == 1
    assert "cnn" in found.text
    assert found._repr_html_().count("<tr>") == 3
    voted = alloyk.ensemble([run, other], vote="hard", out=folder / "hard")
    np.testing.assert_array_equal(voted.predictions.y_true, run.predictions.y_true)


def test_cross_validate_prints_nothing(radiographs, folder, capfd, caplog):
    with caplog.at_level(logging.INFO, "alloyk"):
        found = alloyk.cross_validate(
            data=radiographs, arch="fnn", folds=2, out=folder / "folds", set=SMALL
        )
    assert len(found.predictions) == 60
    assert capfd.readouterr().out == ""
    assert any(message.startswith("epoch 1/1") for message in caplog.messages)


def test_explain(run, sorted_images, folder):
    image = next((sorted_images / "test").glob("*/*.png"))
    found = run.explain(image, out=folder / "why")
    assert found.maps.shape[0] == 1
    assert (folder / "why" / "overview.png").is_file()
    assert str(image) in found._repr_html_()


def test_stress(run, folder):
    found = alloyk.stress(run, out=folder / "stress", images=2)
    assert len(found.rows) > 50
    assert (folder / "stress" / "stress.csv").is_file()
    assert 0 <= found.summary <= 1


def test_tune(sorted_images, folder):
    found = alloyk.tune(
        data=sorted_images, arch="fnn", over={"model.dropout": [0.1, 0.3]}, out=folder / "search",
        set=SMALL,
    )  # fmt: skip
    assert sorted(found.trials["model.dropout"]) == [0.1, 0.3]
    assert found.best.is_file()
    assert "model.dropout" in found._repr_html_()


def test_export(run, sorted_images, folder):
    found = run.export("tflite", out=folder / "cnn.tflite")
    assert found.path == folder / "cnn.tflite"
    assert alloyk.predict(found.path, sorted_images / "test").classes == ("1050", "2017")


def test_report(run, folder):
    assert "cnn" in run.report(folder / "cnn.html").read_text()


def test_ceiling(radiographs, folder):
    found = alloyk.ceiling(preset="easy", image_size=24)
    assert 0.5 < found.accuracy <= 1
    assert found.recall.keys() == {"1050", "2017"}
    alloyk.ceiling(radiographs, figure=folder / "ceiling.png")
    assert (folder / "ceiling.png").is_file()


def test_plan(folder):
    found = alloyk.plan(
        {"tube.voltage_kvp": [40, 50]}, preset="easy", image_size=16, out=folder / "plan"
    )
    assert [point.values for point in found.points] == [("40",), ("50",)]
    assert len((folder / "plan" / "plan.csv").read_text().splitlines()) == 3


def test_build_model():
    model = alloyk.build_model("cnn", (16, 16, 1), num_classes=3, hidden_units=8)
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: alloyk.train(resume=True), OptionError, "`resume` takes `run` and nothing else"),
        (lambda: alloyk.train(set={"train.epoch": 3}), ConfigError, "train.epoch"),
        (lambda: alloyk.train(run="nowhere", resume=True), ModelError, "config.yaml was not found"),
        (
            lambda: alloyk.cross_validate(folds=3, leave_out="plate_id"),
            OptionError,
            "`folds` and `leave_out`",
        ),
        (lambda: alloyk.tune(), OptionError, "nothing to search over"),
        (
            lambda: alloyk.tune(space={"seed": [1]}, over={"seed": [2]}),
            ConfigError,
            r"^seed must be given once, got \[1\] and \[2\]$",
        ),
        (
            lambda: alloyk.evaluate("run", from_predictions=True, data="data"),
            OptionError,
            "leave out `data`",
        ),
        (lambda: alloyk.explain("run", samples=5), OptionError, "`samples` and `explainer`"),
        (
            lambda: alloyk.explain("run", method="shap", layer="last"),
            OptionError,
            "`layer` belongs to",
        ),
    ],
)
def test_the_kind_of_error_tells_whose_fault_it_is(call, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: alloyk.ensemble([r, r], vote="Soft", out="e"), "`vote` must be one of soft, ha"),
        (
            lambda r: alloyk.ensemble([r, r], vote="soft", weights="Validation", out="e"),
            "`weights` must be one of equal, validation, got 'Validation'",
        ),
        (
            lambda r: alloyk.explain(r, "a.png", method="grad-cam"),
            "`method` must be one of gradcam",
        ),
        (
            lambda r: alloyk.explain(r, "a.png", method="shap", explainer="tree"),
            "`explainer` must be one of gradient, partition, got 'tree'",
        ),
        (
            lambda r: alloyk.split("a", "b", mode="symlink"),
            "`mode` must be one of copy, move, link",
        ),
        (
            lambda r: alloyk.simulate("s", recipe="simulation.yaml", seed=7),
            "`seed` cannot be combined with `recipe`",
        ),
    ],
)
def test_a_wrong_choice_is_named_and_not_taken_for_another(
    run, call, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(b"")
    with pytest.raises(OptionError, match=message):
        call(run)


def test_a_ceiling_needs_simulated_images(tmp_path):
    with pytest.raises(DataError, match=r"has no simulation\.yaml"):
        alloyk.ceiling(tmp_path)
    with pytest.raises(OptionError, match="`preset` cannot be combined"):
        alloyk.ceiling(tmp_path, preset="easy")


def test_help_shows_every_command_as_a_function():
    text = pydoc.render_doc(alloyk, renderer=pydoc.plaintext)
    functions = text.split("\nFUNCTIONS\n")[1]
    for name in FUNCTIONS:
        assert f"\n    {name}(" in functions, name
    assert {*FUNCTIONS, "Config", "RunFolder"} <= set(dir(alloyk))


def test_no_module_has_the_name_of_a_function():
    """Its import would replace the function in the package `alloyk`."""
    names = {path.stem for path in Path(alloyk.__file__).parent.iterdir()}
    assert names.isdisjoint(FUNCTIONS)


def seconds_of_import(statement):
    """Seconds of the processor that an import takes, the best of five."""
    code = f"import time; start = time.process_time(); {statement}; "
    code += "print(time.process_time() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        for _ in range(5)
    ]
    return min(float(run.stdout) for run in runs)


def test_import_is_quick_beside_numpy():
    assert seconds_of_import("import alloyk") < seconds_of_import("import numpy")


def test_import_loads_nothing_heavy():
    code = """
import sys, alloyk
dir(alloyk)
alloyk.train
heavy = {"tensorflow", "keras", "pandas", "matplotlib", "scipy", "sklearn", "pydantic", "numpy"}
print(sorted(heavy & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert found.stdout == "[]\n"
