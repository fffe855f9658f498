"""Exports of small untrained runs: they agree with the original, or they do not come to be."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_run import CLASSES, raw_image, write_dataset, write_run

from alloyk.cli.export import FORMATS as FORMATS_OF_THE_COMMAND
from alloyk.errors import AlloykError, ConfigError
from alloyk.exporting import conversion, export_run, format_report
from alloyk.exporting import exporter as export
from alloyk.exporting.agreement import Outputs, as_input, compare
from alloyk.imaging import read_image
from alloyk.inference import load
from alloyk.inference.latency import Speed, measure, single_thread_latency
from alloyk.inference.metadata import read_metadata
from alloyk.models.nested import nested_layers
from alloyk.models.precision import in_float32
from alloyk.preprocessing import build_preprocessing, strips


@pytest.fixture(scope="module")
def gray_run(tmp_path_factory):
    """A cnn on 16-bit gray images of one size."""
    folder = tmp_path_factory.mktemp("gray")
    return write_run(folder / "run", write_dataset(folder / "data"))


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory):
    """A cnn on 8-bit colour images of three sizes."""
    folder = tmp_path_factory.mktemp("colour")
    sizes = ((40, 48), (32, 32), (61, 37))
    data = write_dataset(folder / "data", sizes=sizes, rgb=True)
    return write_run(folder / "run", data)


def instant(model, shape):
    return Speed(1, 0.00123, 0.002, 5, 900.0, 10**8)


@pytest.fixture
def untimed(monkeypatch):
    """Timing starts a process, which most tests can do without."""
    monkeypatch.setattr(export, "measured_speed", instant)


@pytest.fixture(scope="module")
def gray_exports(gray_run):
    """A report for each format; the SavedModel is not timed, which takes longest."""
    tflite = export_run(gray_run, "tflite", gray_run.parent / "model.tflite")
    return {"tflite": tflite, "savedmodel": untimed_export(gray_run, "savedmodel", "saved")}


@pytest.fixture(scope="module")
def colour_exports(colour_run):
    return {
        "tflite": untimed_export(colour_run, "tflite", "model.tflite", input_size=(32, 32)),
        "savedmodel": untimed_export(colour_run, "savedmodel", "saved"),
    }


def untimed_export(run, file_format, name, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "measured_speed", instant)
        return export_run(run, file_format, run.parent / name, **options)


def test_the_command_offers_the_formats_there_are():
    assert set(FORMATS_OF_THE_COMMAND) == set(conversion.FORMATS)


@pytest.mark.parametrize(("name", "size"), [("gray", (40, 48)), ("colour", (32, 32))])
@pytest.mark.parametrize("rgb", [False, True])
def test_every_kind_of_model_says_the_same(request, name, size, rgb):
    # A file for gray takes colour and the other way round, as the run itself does.
    run = request.getfixturevalue(f"{name}_run")
    exports = request.getfixturevalue(f"{name}_exports")
    images = [raw_image(number, size, rgb=rgb) for number in range(100, 105)]
    expected = load(run).predict(images)
    assert expected.classes == CLASSES
    for model in (run / "model.keras", exports["savedmodel"].path, exports["tflite"].path):
        found = load(model).predict(images)
        assert found.labels == expected.labels
        assert np.abs(found.probabilities - expected.probabilities).max() <= 1e-4


@pytest.mark.parametrize(
    ("arch", "image_size"),
    [
        pytest.param("resnet18", 32, marks=pytest.mark.slow),
        pytest.param("efficientnetb0", 64, marks=pytest.mark.slow),
    ],
)
def test_tflite_of_the_deep_architectures(tmp_path, untimed, arch, image_size):
    run = write_run(tmp_path / "run", write_dataset(tmp_path / "data"), arch=arch,
                    image_size=image_size)  # fmt: skip
    report = export_run(run, "tflite", tmp_path / "model.tflite")
    assert report.agreement.images == 18
    assert report.agreement.max_difference <= 1e-4


def test_an_export_makes_one_file_that_knows_its_classes(gray_exports):
    report = gray_exports["tflite"]
    assert report.input_shape == report.timed_shape == (40, 48, 1)
    assert report.size_bytes == report.path.stat().st_size
    assert 1e-6 < report.latency_seconds < 1
    assert sorted(path.name for path in report.path.parent.iterdir()) == [
        "data", "model.tflite", "model.tflite.proof", "run", "saved", "saved.proof",
    ]  # fmt: skip
    assert read_metadata(report.path).classes == CLASSES
    assert read_metadata(report.path).output == "probabilities"


def test_the_report_names_what_was_compared(gray_exports):
    report = gray_exports["tflite"]
    assert report.recorded.max_difference <= 1e-4  # predictions.csv
    assert not report.recorded.differing
    table = format_report(report)
    assert "compared with            model.keras of the run, on the raw images\n" in table
    assert "images compared          18 (the whole test split)\n" in table
    assert "predictions that differ  0\n" in table
    assert f"{report.size_bytes / 1e6:.1f} MB" in table


def test_conversion_is_silent(tmp_path, untimed, gray_run, capfd, caplog):
    with caplog.at_level("INFO", "alloyk"):
        export_run(gray_run, "tflite", tmp_path / "deep" / "model.tflite")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert "converting to tflite" in caplog.messages


def test_a_savedmodel_computes_large_images_in_strips_like_the_model(monkeypatch, tmp_path):
    monkeypatch.setattr(conversion, "LARGE_PIXELS", 1000)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 500)
    preprocessing = build_preprocessing((8, 8), normalize="robust", repair=True, equalize=True)
    model = keras.Sequential(
        [keras.Input((None, None, None)), preprocessing, keras.layers.Flatten()]
    )
    conversion.write_savedmodel(model, tmp_path / "saved")
    call = tf.saved_model.load(str(tmp_path / "saved")).signatures[conversion.SIGNATURE]
    image = np.random.default_rng(0).integers(1000, 9000, (1, 61, 47, 1)).astype(np.float32)
    image[0, 5] = 16000  # a defective row
    found = call(image=tf.constant(image))["probabilities"]
    np.testing.assert_allclose(found, keras.ops.softmax(model(image)), rtol=1e-6)


def test_a_run_computes_large_images_in_strips_as_small_ones(monkeypatch, gray_run):
    image = raw_image(3)[..., None]
    backend = load(gray_run).backend
    whole = backend(image[None])
    monkeypatch.setattr(backend, "_large", 100)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 500)
    in_strips = backend(image[None])
    assert set(whole) == set(in_strips)
    for name, values in whole.items():
        np.testing.assert_array_equal(in_strips[name], values)


def test_the_pixels_of_all_channels_decide_about_strips(monkeypatch, gray_run):
    backend = load(gray_run).backend
    calls = tuple(
        lambda images, way=way: {"logits": tf.constant([way])} for way in ("whole", "strips")
    )
    monkeypatch.setattr(backend, "_calls", calls)
    monkeypatch.setattr(backend, "_large", 300)
    found = [backend(np.zeros((1, 10, 10, channels)))["logits"][0] for channels in (3, 4)]
    assert found == [b"whole", b"strips"]


def test_savedmodel_keeps_size_channels_and_batch_open(colour_run, colour_exports):
    report = colour_exports["savedmodel"]
    assert report.input_shape == (None, None, None)
    assert report.agreement.images == 18

    import tensorflow as tf

    signatures = tf.saved_model.load(str(report.path)).signatures
    assert list(signatures) == ["serving_default"]
    for shape in ((1, 20, 30, 1), (3, 33, 21, 3), (2, 32, 32, 1)):
        images = np.random.default_rng(0).integers(0, 4000, shape).astype(np.float32)
        found = signatures["serving_default"](image=tf.constant(images))["probabilities"]
        expected = load(colour_run).predict(images).probabilities
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_are_stored_once(gray_run, gray_exports):
    weights = keras.saving.load_model(gray_run / "model.keras", compile=False).count_params() * 4
    stored = (gray_exports["savedmodel"].path / "variables").iterdir()
    assert weights < sum(file.stat().st_size for file in stored) < 1.1 * weights


def test_test_images_of_several_sizes_need_an_input_size(tmp_path, colour_run, colour_exports):
    with pytest.raises(
        AlloykError, match=r"3 sizes \(from 32x32 to 61x37\).*--input-size HEIGHTxWIDTH"
    ):
        export_run(colour_run, "tflite", tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())

    report = colour_exports["tflite"]
    assert report.input_shape == (32, 32, 3)
    assert report.resized == 12
    assert report.recorded is None  # which is of the images as they are
    assert "12 of them resized to 32x32 for both" in format_report(report)


def test_input_size_is_refused_where_any_size_will_do(tmp_path, gray_run):
    with pytest.raises(AlloykError, match="savedmodel takes no --input-size"):
        export_run(gray_run, "savedmodel", tmp_path / "saved", input_size=(32, 32))


def wrong_conversion(monkeypatch, change):
    """Let the SavedModel be written from weights that `change` has been at."""
    right = conversion.FORMATS["savedmodel"]

    def write(classifier, path, image_shape):
        last = next(layer for layer in nested_layers(classifier) if layer.name == "logits")
        weights = last.get_weights()
        last.set_weights(change(*(array.copy() for array in weights)))
        right.write(classifier, path, image_shape)
        last.set_weights(weights)

    monkeypatch.setitem(conversion.FORMATS, "savedmodel", dataclasses.replace(right, write=write))


def test_a_slightly_wrong_conversion_does_not_get_its_name(tmp_path, monkeypatch, gray_run):
    # Too small to change a decision; ten times what is allowed.
    wrong_conversion(monkeypatch, lambda kernel, bias: [kernel, np.add(bias, [0.004, 0, 0])])
    with pytest.raises(
        AlloykError, match=r"model\.keras: max \|Δp\| must be at most 1e-04, got [\d.]+e-0[34]"
    ):
        export_run(gray_run, "savedmodel", tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_a_conversion_with_other_decisions_does_not_get_its_name(tmp_path, monkeypatch, gray_run):
    wrong_conversion(monkeypatch, lambda kernel, bias: [kernel[:, ::-1], bias[::-1]])
    with pytest.raises(
        AlloykError,
        match=r"all predicted classes must be the same, got \d+ of 18 that differ .*/0\d\d\.png\)",
    ):
        export_run(gray_run, "savedmodel", tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_a_conversion_without_numbers_does_not_get_its_name(tmp_path, monkeypatch, gray_run):
    # As a converter that left the weights out did: NaN for every image, and no word.
    wrong_conversion(monkeypatch, lambda kernel, bias: [kernel * np.nan, bias])
    with pytest.raises(AlloykError, match=r"gave no number for test/1050/0\d\d\.png"):
        export_run(gray_run, "savedmodel", tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch, gray_run):
    def interrupt(model, shape):
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "measured_speed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_run(gray_run, "savedmodel", tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_disagreement_counts_ties():
    names = ["a", "b", "c"]

    def answers(*probabilities):
        return Outputs(np.array(probabilities), {})

    expected = answers([0.5, 0.5], [0.9, 0.1], [0.2, 0.8])
    assert compare(names, expected, expected).max_difference == 0
    tie_broken = answers([0.49999, 0.50001], [0.9, 0.1], [0.2, 0.8])
    assert compare(names, expected, tie_broken).differing == ("a",)


def test_what_exists_is_left_alone(tmp_path, gray_run):
    out = tmp_path / "model.tflite"
    out.write_text("mine")
    with pytest.raises(AlloykError, match=r"model\.tflite already exists; choose another --out"):
        export_run(gray_run, "tflite", out)
    assert out.read_text() == "mine"
    (tmp_path / "link.tflite").symlink_to(tmp_path / "nowhere")
    with pytest.raises(AlloykError, match=r"link\.tflite already exists; choose another --out"):
        export_run(gray_run, "tflite", tmp_path / "link.tflite")


@pytest.mark.parametrize(
    ("file_format", "name", "message"),
    [
        ("tflite", "model", r"a file of format tflite must end in \.tflite, got .*model"),
        ("savedmodel", "model.tflite", r"writes a folder, got .*without \.tflite"),
    ],
)
def test_a_name_that_misleads_is_refused(tmp_path, gray_run, file_format, name, message):
    with pytest.raises(AlloykError, match=message):
        export_run(gray_run, file_format, tmp_path / name)


def test_a_place_that_cannot_be_written_is_named(tmp_path, gray_run):
    (tmp_path / "file").write_text("")
    with pytest.raises(AlloykError, match=r"cannot write .*file/saved: "):
        export_run(gray_run, "savedmodel", tmp_path / "file" / "saved")


def test_an_unknown_format_is_refused_by_the_known_ones(tmp_path, gray_run):
    for name in ("pickle", "tflite-int4"):
        message = rf"must be one of savedmodel, tflite, onnx, tflite-fp16, .*, got {name}$"
        with pytest.raises(ConfigError, match=message):
            export_run(gray_run, name)


def test_only_a_run_can_be_exported(tmp_path, gray_run):
    with pytest.raises(AlloykError, match=r"must be a run folder, but .*model\.keras is a file"):
        export_run(gray_run / "model.keras", "savedmodel", tmp_path / "saved")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(gray_run / "config.yaml", unfinished)
    with pytest.raises(AlloykError, match=r"has no model\.keras, because its training did not end"):
        export_run(unfinished, "savedmodel", tmp_path / "saved")


def test_a_data_set_that_moved_or_lost_an_image(tmp_path, untimed, gray_run):
    data = gray_run.parent / "data"
    copy = tmp_path / "moved"
    shutil.copytree(data, copy)
    run = tmp_path / "run"
    shutil.copytree(gray_run, run)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace(str(data), str(tmp_path / "gone")))
    with pytest.raises(AlloykError, match=r"is no longer at .*gone, the path in .*with --data"):
        export_run(run, "savedmodel", tmp_path / "saved")
    assert export_run(run, "savedmodel", tmp_path / "saved", data=copy).agreement.images == 18

    damaged = next((copy / "test" / "2017").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(AlloykError, match=rf"different content .*{damaged.name}"):
        export_run(run, "savedmodel", tmp_path / "again", data=copy)


def test_a_run_in_mixed_precision_is_exported_in_float32(tmp_path, untimed):
    data = write_dataset(tmp_path / "data")
    run = write_run(tmp_path / "run", data, policy="mixed_float16")
    mixed = keras.saving.load_model(run / "model.keras", compile=False)
    assert any(layer.compute_dtype == "float16" for layer in nested_layers(mixed))
    plain = in_float32(mixed)
    assert all(layer.compute_dtype == "float32" for layer in nested_layers(plain))
    for before, after in zip(mixed.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    report = export_run(run, "tflite", tmp_path / "model.tflite")
    assert report.agreement.max_difference <= 1e-4
    # predictions.csv was written in half precision, which has three digits.
    assert report.recorded.max_difference < 0.02


def test_resizing_is_antialiased_and_keeps_counts():
    image = raw_image(0)
    found = as_input(image[..., None], (10, 12, 1))
    # Pillow's own resize of 32-bit counts, whole image at once.
    expected = Image.fromarray(image.astype(np.int32)).convert("F").resize((12, 10), 2)
    np.testing.assert_allclose(found[..., 0], expected, rtol=1e-6)
    assert as_input(raw_image(0, (10, 12))[..., None], (10, 12, 1)).dtype == np.uint16


def test_latency_is_of_one_image(tmp_path, gray_exports):
    # The same measurement in this process and in one of its own, on a machine of unknown load.
    here = measure(gray_exports["tflite"].path, (40, 48, 1)).median_seconds
    assert here / 30 < gray_exports["tflite"].latency_seconds < here * 30
    with pytest.raises(AlloykError, match=r"could not measure the latency of .*absent"):
        single_thread_latency(tmp_path / "absent", (40, 48, 1))


def test_images_of_the_run_are_what_is_compared(gray_run):
    # The fixture's files hold 16-bit counts that 8 bits cannot.
    path = next((gray_run.parent / "data" / "test" / "1050").iterdir())
    assert read_image(path).dtype == np.uint16
    assert read_image(path).max() > 255
