"""Many images at once: rows as they come, flat memory, abstaining."""

import csv
import gc
import io
import json
import tracemalloc
import types
import warnings
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny_run import raw_image

import alloyk
from alloyk.cli import main
from alloyk.errors import AlloykError, ConfigError
from alloyk.inference import Classification, backends, load
from alloyk.inference.abstention import abstaining, run_thresholds
from alloyk.inference.metadata import ModelMetadata, write_metadata
from alloyk.inference.results import joined
from alloyk.inference.tables import TABLES, format_csv

CLASSES = ("1050", "2017")
TINY = Path(__file__).parents[1] / "serving" / "tiny.tflite"


class LogitIsMean:
    """Logits (mean, 100) of an image."""

    input_shape = (None, None, None)
    outputs = types.MappingProxyType({"logits": 2})
    takes_batches = True

    def __init__(self, path, threads=None):
        pass

    def __call__(self, images):
        means = images.mean(axis=(1, 2, 3))
        return {"logits": np.stack([means, np.full_like(means, 100)], axis=1)}


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A run without a network behind it, whose evaluation chose a threshold of 0.9."""
    monkeypatch.setitem(backends.BACKENDS, "keras", LogitIsMean)
    run = tmp_path / "run"
    run.mkdir()
    with zipfile.ZipFile(run / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    write_metadata(run / "model.keras", ModelMetadata(CLASSES, "logits", simulated=False))
    chosen = [
        {"wanted_error_rate": 0.05, "threshold": 0.9},
        {"wanted_error_rate": 0.01, "threshold": None, "why": "needs 299 plates"},
    ]
    (run / "metrics.json").write_text(json.dumps({"abstention": chosen}))
    return run


def save(path, value, size=(8, 9)):
    Image.fromarray(np.full(size, value, np.uint16)).save(path)
    return str(path)


def images(folder, count, size=(8, 9)):
    folder.mkdir()
    return [save(folder / f"{i:05}.png", 90 + i % 20, size) for i in range(count)]


def test_a_stream_gives_the_same_in_the_same_order(tmp_path, model):
    paths = images(tmp_path / "images", 75)
    with open(paths[40], "r+b") as file:
        file.truncate(50)
    classifier = load(model)
    parts = list(classifier.stream(paths, keep_going=True))
    assert len(parts) > 2
    whole, expected = joined(parts), classifier.predict(paths, keep_going=True)
    assert whole.paths == expected.paths == tuple(paths)
    assert whole.labels == expected.labels
    assert whole.labels[:12] == ("2017",) * 10 + ("1050", "1050")  # of two equals the first
    assert list(whole.errors) == list(expected.errors) == [40]
    np.testing.assert_array_equal(whole.probabilities, expected.probabilities)


def test_no_images_give_an_empty_result(model):
    found = load(model).predict([])
    assert (len(found), found.probabilities.shape, found.classes) == (0, (0, 2), CLASSES)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, model):
    stream = load(model).stream(images(tmp_path / "images", 640, (40, 40)))
    table, parts, sizes = TABLES[".csv"](True), [], []
    tracemalloc.start()
    for part in stream:
        table.add(part)
        parts.append(weakref.ref(part))
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    del part
    gc.collect()
    assert len(parts) == 20
    assert not any(reference() for reference in parts)
    # The pixels of the images between are 1.6 MB.
    assert sizes[-1] < sizes[3] + 400_000


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_every_table_has_a_row_for_every_image(tmp_path, model, runner, ending):
    paths = images(tmp_path / "images", 70)
    with open(paths[3], "r+b") as file:
        file.truncate(50)
    out = tmp_path / f"found.{ending}"
    done = runner.invoke(main, ["predict", str(model), *paths, "--output", str(out)])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("Error: 1 of 70 images could not be classified")
    text = out.read_text()
    if ending == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
    elif ending == "json":
        rows = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines()]
    assert [row["path"] for row in rows] == paths
    assert [bool(row.get("error")) for row in rows] == [n == 3 for n in range(70)]
    assert rows[15]["predicted"] == "1050"


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_python_writes_the_table_of_the_command(tmp_path, model, runner, ending):
    paths = images(tmp_path / "images", 5)
    there, here = tmp_path / f"command.{ending}", tmp_path / f"python.{ending}"
    runner.invoke(main, ["predict", str(model), *paths, "--output", str(there)])
    found = alloyk.predict(model, paths, output=here)
    assert here.read_bytes() == there.read_bytes()
    assert found.labels == alloyk.predict(model, paths).labels
    with open(paths[3], "r+b") as file:
        file.truncate(50)
    with pytest.raises(AlloykError, match="1 of 5 images could not be classified"):
        alloyk.predict(model, paths, output=here)
    assert list(alloyk.predict(model, paths, output=here, keep_going=True).errors) == [3]


def test_a_bad_page_has_its_row_as_a_bad_file_has(tmp_path, model, runner):
    pages = np.full((3, 8, 8), 150, np.float32)
    pages[1, 2, 2] = np.nan
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    stack = str(tmp_path / "stack.tif")
    done = runner.invoke(main, ["predict", str(model), stack, "--page", "each"])
    assert done.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert rows[1]["path"] == f"{stack}[1]"


@pytest.mark.parametrize("page", ["all", -1, 1.0, True])
def test_a_page_that_is_none_is_named(tmp_path, model, page):
    (path,) = images(tmp_path / "images", 1)
    with pytest.raises(
        ConfigError, match=r"page must be a page number \(0 or more\), mean or each"
    ):
        alloyk.predict(model, path, page=page)


def test_without_one_good_image_nothing_is_written(tmp_path, model, runner):
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    paths = [str(tmp_path / f"{number}.png") for number in range(40)]
    out = tmp_path / "found.csv"
    for more in ([], ["--output", str(out)]):
        done = runner.invoke(main, ["predict", str(model), *paths, *more])
        assert (done.exit_code, done.stdout) == (1, "")
        assert "none of 40 images could be classified; the first: cannot read" in done.stderr
    assert not out.exists()


def test_an_uncertain_class_is_left_out(tmp_path, model, runner):
    # p(1050) = 1 / (1 + exp(100 - mean)): 0.953 at 103 and 0.881 at 102.
    paths = [save(tmp_path / f"{value}.png", value) for value in (102, 103)]
    found = load(model).predict(paths, abstain=0.05)
    assert found.labels == ("", "1050")
    assert found.abstained == ("uncertain", "")
    done = runner.invoke(main, ["predict", str(model), *paths, "--abstain", "0.05"])
    header, first, second = done.stdout.splitlines()
    assert header == "path,predicted,p_1050,p_2017,abstained,error"
    assert first == f"{paths[0]},,0.8807971,0.1192029,uncertain,"
    assert second == f"{paths[1]},1050,0.9525741,0.04742587,,"
    done = runner.invoke(main, ["predict", str(model), *paths, "--abstain", "0.05", "--json"])
    rows = json.loads(done.stdout)
    assert (rows[0]["predicted"], rows[0]["abstained"]) == (None, "uncertain")
    assert (rows[1]["predicted"], rows[1]["abstained"]) == ("1050", None)
    assert load(model).predict(paths).abstained is None


def test_an_image_unlike_training_is_left_out_however_certain():
    found = Classification(
        ("a", "b", "c"), ("1050", "1050", ""),
        np.array([[1, 0], [1, 0], [np.nan, np.nan]]), CLASSES,
        errors={2: "cut short"}, unlike=np.array([0.99, 1.0, np.nan]),
    )  # fmt: skip
    kept = abstaining(found, 0.9)
    assert kept.labels == ("1050", "", "")
    assert kept.abstained == ("", "unlike", "")
    assert format_csv(kept).splitlines()[2:] == ["b,,1,0,1,unlike,", "c,,,,,,cut short"]


def test_a_rate_without_threshold_is_refused(tmp_path, model):
    image = save(tmp_path / "a.png", 100)
    with pytest.raises(ConfigError, match=r"run has a threshold for \(0\.05\), got 0\.01$"):
        load(model).predict([image], abstain=0.01)
    (model / "metrics.json").write_text("{}")
    with pytest.raises(ConfigError, match="has no thresholds for abstaining; use a run whose"):
        load(model).predict([image], abstain=0.05)
    (model / "metrics.json").write_text('{"abstention": [{"threshold": 1}]}')
    assert run_thresholds(model / "model.keras") == {}


def test_thresholds_travel_inside_a_file(tmp_path, model):
    assert load(model).metadata.thresholds == {0.05: 0.9}
    alone = tmp_path / "alone.keras"
    with zipfile.ZipFile(alone, "w") as archive:
        archive.writestr("config.json", "{}")
    write_metadata(alone, load(model).metadata)
    assert load(alone).metadata.thresholds == {0.05: 0.9}
    assert load(alone).predict(np.full((8, 9), 102), abstain=0.05).labels == ("",)


def test_an_error_ends_a_stream_that_shall_not_go_on(tmp_path, model):
    paths = images(tmp_path / "images", 3)
    (tmp_path / "images" / "00001.png").write_bytes(b"no image")
    with pytest.raises(AlloykError, match=r"00001\.png: it is not a PNG"):
        list(load(model).stream(paths))


def test_an_image_that_an_interpreter_cannot_compute_gets_a_row(monkeypatch):
    """Counts of 1e38 overflow inside a model: an index is NaN, and the interpreter stops."""
    model = load(TINY)
    interpreter = model.backend._interpreter
    counts = []

    class Stopping:
        def __getattr__(self, name):
            return getattr(interpreter, name)

        def invoke(self):
            counts.append(1)
            if len(counts) == 2:
                raise RuntimeError("gather index out of bounds")
            interpreter.invoke()

    monkeypatch.setattr(model.backend, "_interpreter", Stopping())
    images = [raw_image(number) for number in range(3)]
    found = model.predict(images, names=["a", "b", "c"], keep_going=True)
    assert list(found.errors) == [1]
    assert "gave no number for b" in found.errors[1]
    assert "the counts are too large for float32" in found.errors[1]
    assert np.isfinite(found.probabilities[[0, 2]]).all()


@pytest.mark.parametrize("largest", [1e38, 3.4e38, -3.4e38])
def test_very_large_counts_give_numbers_and_no_warning(largest):
    image = (raw_image(0) / 60000 * largest).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load(TINY).predict([image])
    assert np.isfinite(found.probabilities).all()
    assert np.isfinite(found.unlike).all()
    assert found.unlike[0] >= 1
