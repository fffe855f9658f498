"""Classifying images: order, batches, what is accepted, and what is refused by name."""

import json
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alloyk
from alloyk.errors import AlloykError
from alloyk.inference import Classification, backends, find_images, load
from alloyk.inference import classifier as predict
from alloyk.inference.metadata import ModelMetadata, write_metadata
from alloyk.inference.table_files import read_table
from alloyk.inference.tables import TABLES, format_csv, format_json
from alloyk.progress import CallbackProgress

CLASSES = ("1050", "2017")


class MeanBackend:
    """Logits (mean, 100) of the image: the answer tells which image it was for."""

    input_shape = (None, None, None)
    outputs = types.MappingProxyType({"logits": 2})
    takes_batches = True
    batches = ()

    def __init__(self, path, threads=None):
        type(self).batches = []

    def __call__(self, images):
        assert images.dtype == np.float32
        assert images.ndim == 4
        self.batches.append(images.shape)
        means = images.mean(axis=(1, 2, 3))
        return {"logits": np.stack([means, np.full_like(means, 100)], axis=1)}


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    """A classifier without a network behind it."""
    monkeypatch.setitem(backends.BACKENDS, "keras", MeanBackend)
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    write_metadata(path, ModelMetadata(CLASSES, "logits", simulated=False))
    return load(path)


def probabilities_of(mean):
    """Softmax of (mean, 100), in float64."""
    return np.array([1 / (1 + np.exp(100 - mean)), 1 / (1 + np.exp(mean - 100))])


def save(path, value, size=(8, 9), mode=np.uint16):
    shape = size if mode is np.uint16 else (*size, 3)
    Image.fromarray(np.full(shape, value, mode)).save(path)
    return path


def test_public_names_load_on_first_use_only():
    code = (
        "import sys, alloyk; print(alloyk.__version__, set(alloyk.__all__) <= set(dir(alloyk)),"
        " [m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{alloyk.__version__} True []\n"
    with pytest.raises(AlloykError, match="cannot read the model gone"):
        alloyk.load("gone")
    with pytest.raises(AttributeError, match="'alloyk' has no attribute 'lod'"):
        alloyk.lod  # noqa: B018


def test_answers_come_in_the_order_of_the_images(tmp_path, classifier):
    # Three shapes take turns, so that batches are put together across the order.
    means = [99.0, 101, 100.5, 98, 103, 99.5, 100.25]
    images = [
        np.full(((5, 6, 1), (7, 4, 3), (5, 6, 3))[i % 3], mean, np.float32)
        for i, mean in enumerate(means)
    ]
    found = classifier.predict(images)
    np.testing.assert_allclose(found.probabilities, [probabilities_of(m) for m in means], 1e-6)
    assert found.labels == ("2017", "1050", "1050", "2017", "1050", "2017", "1050")
    assert found.classes == CLASSES
    assert found.paths == (None,) * 7
    assert sorted(classifier.backend.batches) == [(2, 5, 6, 3), (2, 7, 4, 3), (3, 5, 6, 1)]
    assert found.probabilities.dtype == np.float64


def test_many_images_go_through_in_pieces(classifier, monkeypatch):
    monkeypatch.setattr(predict, "BATCH_PIXELS", 100)
    done = []
    images = np.linspace(95, 105, 70, dtype=np.float32)[:, None, None, None]
    images = np.broadcast_to(images, (70, 5, 6, 1))
    progress = CallbackProgress(lambda label, done_now, total, unit: done.append(done_now))
    found = classifier.predict(images, progress=progress)
    np.testing.assert_allclose(
        found.probabilities, [probabilities_of(image.mean()) for image in images], 1e-5
    )
    assert {batch[0] for batch in classifier.backend.batches} == {3, 2}  # 3 x 30 pixels
    assert done == sorted(done)
    assert done[-1] == 70


def test_paths_and_arrays_say_the_same(tmp_path, classifier):
    path = save(tmp_path / "a.png", 101)
    for images in (path, str(path), [path], np.full((8, 9), 101, np.uint16),
                   np.full((8, 9, 4), 101, np.uint16), [np.full((8, 9, 2), 101)]):  # fmt: skip
        found = classifier.predict(images)
        np.testing.assert_allclose(found.probabilities, [probabilities_of(101)], 1e-6)
        assert found.labels == ("1050",)
    assert classifier.predict(path).paths == (str(path),)
    assert classifier.predict(path, names=["plate 7"]).paths == ("plate 7",)
    assert len(classifier.predict([])) == 0


def test_several_channels_are_refused_by_a_model_of_one(tmp_path, classifier):
    """Three of them were taken for colour, and of two or four some were used."""
    for pages in (2, 3):
        np.save(tmp_path / "a.npy", np.full((pages, 8, 9), 101, np.uint16))
        for name in ("a.npy[channels]", "|".join(["a.npy[0]"] * pages)):
            message = rf"a\.npy.* must have one channel for this model, got {pages}; name a single"
            with pytest.raises(AlloykError, match=message):
                classifier.predict(str(tmp_path / name))
    np.save(tmp_path / "a.npy", np.full((8, 9), 101, np.uint16))
    assert classifier.predict(str(tmp_path / "a.npy[channels]")).labels == ("1050",)


def test_alpha_does_not_count(classifier):
    image = np.dstack([np.full((4, 4), 101.0)] * 3 + [np.zeros((4, 4))])
    np.testing.assert_allclose(
        classifier.predict(image).probabilities, [probabilities_of(101)], 1e-6
    )


@pytest.mark.parametrize("shape", [(4,), (4, 4, 5), (0, 4), (2, 4, 4, 1, 1)])
def test_an_array_that_is_no_image_is_refused(classifier, shape):
    with pytest.raises(ValueError, match=r"must have the shape .*, got \("):
        classifier.predict([np.zeros(shape)])


def test_what_is_no_number_is_refused_by_name(classifier):
    good, bad = np.zeros((4, 4)), np.full((4, 4), np.inf)
    with pytest.raises(AlloykError, match=r"cannot use image 1 \(counted from 0\): 16 values"):
        classifier.predict([good, bad])
    with pytest.raises(AlloykError, match="cannot use plate 7: 16 values are NaN"):
        classifier.predict([good, bad], names=["plate 6", "plate 7"])
    with pytest.raises(ValueError, match="must hold numbers, got dtype <U1"):
        classifier.predict([np.full((4, 4), "a")])
    with pytest.raises(ValueError, match=r"names must have 2 entries, got 1"):
        classifier.predict([good, good], names=["a"])


def test_a_model_without_an_answer_is_an_error(classifier, monkeypatch):
    nothing = {"logits": np.full((1, 2), np.nan)}
    monkeypatch.setattr(MeanBackend, "__call__", lambda self, images: nothing)
    with pytest.raises(AlloykError, match=r"model\.keras gave no number for plate 7"):
        classifier.predict([np.zeros((4, 4))], names=["plate 7"])


def test_large_logits_do_not_overflow(classifier):
    found = classifier.predict(np.full((4, 4), 5000.0))
    np.testing.assert_array_equal(found.probabilities, [[1, 0]])


def test_an_unreadable_image_stops_by_name(tmp_path, classifier):
    good = save(tmp_path / "good.png", 5)
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:-20])
    with pytest.raises(AlloykError, match=r"cannot read the image .*bad\.png"):
        classifier.predict([good, bad, good])


def test_unreadable_images_are_kept_with_their_errors(tmp_path, classifier):
    paths = [save(tmp_path / f"{i}.png", 98 + i) for i in range(5)]
    paths[2].write_bytes(paths[2].read_bytes()[:-20])
    progress_total = []
    found = classifier.predict(
        paths, keep_going=True, progress=CallbackProgress(lambda *step: progress_total.append(step))
    )
    assert list(found.errors) == [2]
    assert "2.png: the file is cut short" in found.errors[2]
    assert found.labels[2] == ""
    assert np.isnan(found.probabilities[2]).all()
    for i in (0, 1, 3, 4):
        np.testing.assert_allclose(found.probabilities[i], probabilities_of(98 + i))
    assert progress_total[-1][1:3] == (5, 5)
    header, *rows = format_csv(found).splitlines()
    assert header == "path,predicted,p_1050,p_2017,error"
    assert rows[2].startswith(f"{paths[2]},,,,cannot read the image")
    assert rows[3].endswith(",")
    listed = json.loads(format_json(found))
    assert listed[2] == {"path": str(paths[2]), "error": found.errors[2]}
    assert "error" not in listed[3]


def test_what_is_held_in_memory_is_bounded_by_pixels(tmp_path, classifier, monkeypatch):
    from alloyk.inference import sources

    monkeypatch.setattr(sources, "READ_AHEAD_PIXELS", 200)
    monkeypatch.setattr(sources, "READ_AHEAD", 4)
    sizes = [(8, 9), (10, 10), (3, 3), (20, 20), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1)]
    paths = [save(tmp_path / f"{i}.png", 5, size) for i, size in enumerate(sizes)]
    together = [len(chunk) for chunk in sources.chunks(sources.as_items(paths, None))]
    assert together == [3, 1, 4, 1]  # 72 + 100 + 9 pixels, 400 alone, then by number
    assert len(classifier.predict(paths)) == 9


def test_the_pixels_of_all_channels_count(tmp_path, classifier, monkeypatch):
    """A sample of four channels takes the memory of four images."""
    from alloyk.inference import sources

    monkeypatch.setattr(sources, "READ_AHEAD_PIXELS", 800)
    paths = [save(tmp_path / f"{i}.png", 5, (10, 10)) for i in range(4)]
    items = sources.as_items(paths, None)
    assert [len(chunk) for chunk in sources.chunks(items)] == [4]
    assert [len(chunk) for chunk in sources.chunks(items, channels=4)] == [2, 2]
    arrays = sources.as_items([np.zeros((10, 10, 4))] * 4, None, channels=4)
    assert [len(chunk) for chunk in sources.chunks(arrays, channels=4)] == [2, 2]
    monkeypatch.setattr(predict, "BATCH_PIXELS", 800)
    images = [(item, item.source) for item in arrays]
    assert [len(batch) for batch, _ in classifier.batches(images)] == [2, 2]


@pytest.mark.parametrize(("value", "fault"), [(np.nan, "NaN or inf"), (1e39, "beyond ±3.4e")])
def test_pixels_that_do_not_fit_into_float32_are_refused(classifier, value, fault):
    image = np.full((20, 24), 100.0)
    image[3, 4] = value
    found = classifier.predict([image], names=["a"], keep_going=True)
    assert f"cannot use a: 1 value is {fault}" in found.errors[0]


def write_described(tmp_path, monkeypatch, **metadata):
    monkeypatch.setitem(backends.BACKENDS, "keras", MeanBackend)
    path = tmp_path / "described.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    write_metadata(path, ModelMetadata(CLASSES, "logits", simulated=False, **metadata))
    return load(path)


def test_another_depth_than_that_of_training_is_reported(tmp_path, monkeypatch):
    model = write_described(tmp_path, monkeypatch, depths=("uint8",), brightest=(200.0, 250.0))
    assert model.metadata.depths == ("uint8",)
    assert model.metadata.brightest == (200.0, 250.0)
    deep = save(tmp_path / "deep.png", 225)
    plain = tmp_path / "plain.png"
    Image.fromarray(np.full((8, 9), 225, np.uint8)).save(plain)
    assert model.predict([plain]).notes == ()
    (note,) = model.predict([plain, deep, deep]).notes
    assert note.startswith("2 images are of depth uint16, but the model was trained on uint8 (")
    assert str(deep) in note
    assert model.predict(np.full((8, 9), 225.0)).notes == ()  # an array has no depth of a file


def test_a_range_unlike_that_of_training_is_reported(tmp_path, monkeypatch):
    model = write_described(tmp_path, monkeypatch, depths=("uint16",), brightest=(3000.0, 4000.0))
    for value, reported in ((1400, True), (1600, False), (7900, False), (8100, True)):
        notes = model.predict([save(tmp_path / "a.png", value)]).notes
        assert bool(notes) is reported
        if notes:
            assert "was 3000 to 4000" in notes[0]
            assert f"is {value}" in notes[0]


def test_counts_of_training_images_are_measured(tmp_path):
    from alloyk.inference.training_counts import measured_counts

    paths = [save(tmp_path / f"{i}.png", 100 + i) for i in range(70)]
    (tmp_path / "bad.png").write_text("no image")
    depths, brightest = measured_counts([tmp_path / "bad.png", *paths])
    assert depths == ("uint16",)
    assert brightest[1] == 169  # the last is among the measured
    assert brightest[0] <= 103
    assert measured_counts([]) == ((), None)


def test_another_size_than_the_file_takes_names_both(tmp_path, classifier, monkeypatch):
    monkeypatch.setattr(classifier, "input_shape", (10, 12, 1))
    monkeypatch.setattr(classifier.backend, "takes_batches", False)  # as a .tflite file
    path = save(tmp_path / "a.png", 5)
    with pytest.raises(
        AlloykError, match=r"a\.png must have the size 10x12 .*, got 8x9; .*--input-size 8x9`"
    ):
        classifier.predict([path])


def test_channels_are_brought_to_what_the_file_takes(classifier, monkeypatch):
    colour = np.full((4, 5, 3), (90, 100, 110), np.uint8)
    monkeypatch.setattr(classifier, "input_shape", (4, 5, 1))
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
    luma = 0.299 * 90 + 0.587 * 100 + 0.114 * 110
    found = classifier.predict(colour).probabilities
    np.testing.assert_allclose(found, [probabilities_of(luma)], rtol=1e-4)
    assert classifier.backend.batches[-1] == (1, 4, 5, 1)
    monkeypatch.setattr(classifier, "input_shape", (4, 5, 3))
    classifier.predict(np.zeros((4, 5)))
    assert classifier.backend.batches[-1] == (1, 4, 5, 3)


def empty_run(folder):
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, r"cannot read the model .*: No such file"),
        (empty_run, r"has no model\.keras.*training did not end.*--resume"),
        (
            lambda path: path.mkdir() or path,
            r"must be a run folder or a SavedModel, but .* has no model\.keras",
        ),
        (
            lambda path: path.write_bytes(b"GIF89a") and path,
            r"must be a run folder, .*, got .*thing; check",
        ),
        (lambda path: path.touch() or path, r"must be a run folder, .*, got .*thing; check"),
        (lambda path: path.write_bytes(b"\0\0\0\0TFL3") and path, r"its class names are missing"),
    ],
)
def test_what_is_no_model_is_refused_by_name(tmp_path, make, message):
    with pytest.raises(AlloykError, match=message):
        load(make(tmp_path / "thing"))


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_a_damaged_model_is_refused_by_name(tmp_path, name):
    path = tmp_path / name
    if name.endswith("keras"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
    else:
        path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    write_metadata(path, ModelMetadata(CLASSES, "logits", simulated=False))
    with pytest.raises(AlloykError, match=rf"cannot load the model .*{name}: .*export it again"):
        load(path)


def test_a_folder_gives_its_images_and_nothing_else(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    for name in ("b/deep/2.PNG", "b/1.png", "a.png"):
        save(tmp_path / "x.png", 1).rename(tmp_path / name)
    (tmp_path / "README.md").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("")
    folder = str(tmp_path)
    assert find_images([folder]) == [f"{folder}/a.png", f"{folder}/b/1.png",
                                     f"{folder}/b/deep/2.PNG"]  # fmt: skip


def test_files_and_patterns_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "a.png", "deep/c.tif", "notes.txt", "odd[1].png"):
        (tmp_path / name).touch()
    assert find_images(["b.png", "a.png", "-"]) == ["b.png", "a.png", "-"]
    assert find_images(["*"]) == ["a.png", "b.png", "odd[1].png"]
    assert find_images(["**/*"]) == ["a.png", "b.png", "deep/c.tif", "odd[1].png"]
    assert find_images(["odd[1].png"]) == ["odd[1].png"]  # a name before a pattern
    assert find_images(["notes.txt"]) == ["notes.txt"]  # named outright: reading will tell
    with pytest.raises(AlloykError, match=r"no image at c\.png: check the path"):
        find_images(["a.png", "c.png"])
    ignored = []
    find_images(["**/*"], ignored.extend)
    assert ignored == ["notes.txt"]
    with pytest.raises(AlloykError, match=r"no image in \*\.bmp; needs PNG"):
        find_images(["*.bmp"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(AlloykError, match=r"no image in empty; needs PNG"):
        find_images(["empty"])


def test_pages_and_channels_are_named_as_in_a_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("stack.npy", np.ones((3, 8, 9), np.uint16))
    np.save("two.npy", np.ones((2, 8, 9), np.uint16))
    for name in ("plate1.png", "plate2.png", "plate[1].png"):
        save(tmp_path / name, 1)
    names = ["stack.npy[0]", "stack.npy[mean]", "stack.npy[channels]", "stack.npy[1]|two.npy[0]"]
    assert find_images(names) == names
    assert find_images(["stack.npy[9]"]) == ["stack.npy[9]"]  # reading tells how many it has
    assert find_images(["plate[12].png"]) == ["plate1.png", "plate2.png"]
    assert find_images(["plate[1].png"]) == ["plate[1].png"]  # a name before a pattern
    (tmp_path / "plate.npy[2]").touch()
    np.save("plate.npy", np.ones((3, 8, 9), np.uint16))
    assert find_images(["plate.npy[2]"]) == ["plate.npy[2]"]  # a name before a page
    with pytest.raises(AlloykError, match=r"no image in gone\.npy\[0\]; .*FILE\[0\] needs an exis"):
        find_images(["gone.npy[0]"])
    (tmp_path / "day[3]").mkdir()
    save(tmp_path / "day[3]" / "a.png", 1)
    with pytest.raises(
        AlloykError, match=r"no image in day.*: write \[\[\] for a bracket in a name"
    ):
        find_images(["day[3]/*.png"])
    assert find_images(["day[[]3]/*.png"]) == ["day[3]/a.png"]


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_a_table_with_a_line_break_in_a_path_is_read_back(tmp_path, ending):
    paths = ("a\rb.png", "c\nd.png", "e\r\nf,.png")
    rows = np.array([[0.25, 0.75]] * 3)
    written = Classification(paths, ("2017",) * 3, rows, ("1050", "2017"))
    table = TABLES[ending](with_errors=False)
    file = tmp_path / f"found{ending}"
    file.write_text(table.add(written) + table.end(), newline="")
    found = read_table(file, written.classes, ())
    assert found.paths == paths
    np.testing.assert_array_equal(found.probabilities, rows)


def test_tables_hold_the_same():
    found = Classification(
        ("a, b.png", "c.png"), ("1050", "2017"), np.array([[0.75, 0.25], [1 / 3, 2 / 3]]), CLASSES
    )
    assert format_csv(found) == (
        'path,predicted,p_1050,p_2017\n"a, b.png",1050,0.75,0.25\nc.png,2017,0.3333333,0.6666667\n'
    )
    assert json.loads(format_json(found))[1] == {
        "path": "c.png",
        "predicted": "2017",
        "probabilities": {"1050": 0.3333333, "2017": 0.6666667},
    }


def test_what_the_classifier_knows_is_there(classifier):
    assert classifier.classes == CLASSES
    assert classifier.simulated is False
    assert isinstance(classifier.path, Path)
