"""Flat-field correction: the formula, dead pixels, and the same numbers on every road."""

import datetime
import struct
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from alloyk.config import parse_overrides, resolve_config
from alloyk.errors import AlloykError
from alloyk.exporting import export_run
from alloyk.exporting import exporter as export
from alloyk.imaging import FileSettings, RawLayout, describe_files, read_image
from alloyk.imaging.times import parsed_time
from alloyk.inference import load
from alloyk.inference.latency import Speed
from alloyk.pipeline import StreamedImages, keep_images, mean_and_std
from alloyk.preprocessing import build_preprocessing
from alloyk.preprocessing.correction import Attenuation, FlatField
from alloyk.preprocessing.flat_frames import FlatFrames, load_flat_frames
from alloyk.preprocessing.for_dataset import exposure_of
from alloyk.preprocessing.gain_curves import fit_gain_curves
from alloyk.runs.predictions import read_predictions
from alloyk.simulator.dataset.simulation import simulate_dataset
from alloyk.training.run import run_training
from alloyk.voting.soft_voting import save_soft_vote

pytestmark = pytest.mark.usefixtures("unrendered")


def write_frames(folder, name, frames):
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame.astype(np.uint16)).save(folder / f"{name}_{number}.png")


@pytest.fixture
def frames(tmp_path):
    """Three flats of a gradient, two darks, in `_calibration`; pixels (2, 3) and (7, 0) are dead.

    Returns:
        Mean flat and mean dark, float64.
    """
    rng = np.random.default_rng(0)
    beam = np.linspace(9000, 12000, 12 * 15).reshape(12, 15)
    flats = (beam + rng.normal(0, 60, (3, 12, 15))).round()
    flats[:, 2, 3] = 90
    flats[:, 7, 0] = 90
    darks = (100 + rng.normal(0, 4, (2, 12, 15))).round()
    write_frames(tmp_path / "_calibration", "flat", flats)
    write_frames(tmp_path / "_calibration", "dark", darks)
    return flats.mean(axis=0), darks.mean(axis=0)


def loaded(tmp_path):
    return load_flat_frames(tmp_path, "_calibration/flat_*.png", "_calibration/dark_*.png")


def test_frames_are_averaged_and_dead_pixels_found(tmp_path, frames):
    found = loaded(tmp_path)
    np.testing.assert_allclose(found.flat, frames[0], rtol=1e-6)
    np.testing.assert_allclose(found.dark, frames[1], rtol=1e-6)
    assert np.argwhere(found.dead).tolist() == [[2, 3], [7, 0]]


def test_a_file_a_folder_and_no_dark_frame_will_do(tmp_path, frames, monkeypatch):
    one = load_flat_frames(tmp_path, "_calibration/flat_1.png")
    expected = np.asarray(Image.open(tmp_path / "_calibration" / "flat_1.png"))
    np.testing.assert_array_equal(one.flat, expected)
    assert not one.dark.any()
    (tmp_path / "flats").mkdir()
    for name in ("flat_0.png", "flat_1.png", "flat_2.png"):
        (tmp_path / "_calibration" / name).rename(tmp_path / "flats" / name)
    (tmp_path / "flats" / "frames.csv").write_text("not an image")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_allclose(load_flat_frames(tmp_path / "a", "flats").flat, frames[0], rtol=1e-6)


def test_pages_of_a_file_are_frames(tmp_path, frames):
    """Every page counts as one, also beside files of a single frame."""
    flats = [read_image(tmp_path / f"_calibration/flat_{n}.png")[..., 0] for n in range(3)]
    (tmp_path / "cal").mkdir()
    np.save(tmp_path / "cal/two.npy", np.stack(flats[:2]))
    np.save(tmp_path / "cal/one.npy", flats[2])
    for name in ("cal", "cal/*.npy"):
        np.testing.assert_allclose(load_flat_frames(tmp_path, name).flat, frames[0], rtol=1e-6)
    for name in ("cal/two.npy", "cal/two.npy[mean]"):
        expected = np.mean(flats[:2], axis=0)
        np.testing.assert_allclose(load_flat_frames(tmp_path, name).flat, expected, rtol=1e-6)
    one = load_flat_frames(tmp_path, "cal/two.npy[1]", "_calibration/dark_*.png")
    np.testing.assert_array_equal(one.flat, flats[1])


def test_patterns_are_found_below_a_folder_with_brackets(tmp_path, frames):
    folder = tmp_path / "day [3]"
    (tmp_path / "_calibration").rename(tmp_path / "moved")
    folder.mkdir()
    (tmp_path / "moved").rename(folder / "_calibration")
    np.testing.assert_allclose(loaded(folder).flat, frames[0], rtol=1e-6)


def test_frames_without_a_suffix_are_found(tmp_path, frames):
    for number, file in enumerate(sorted((tmp_path / "_calibration").glob("flat_*"))):
        file.rename(tmp_path / f"_calibration/IM{number}")
    (tmp_path / "_calibration/IMPRINT").write_text("not an image")
    found = load_flat_frames(tmp_path, "_calibration/IM*")
    np.testing.assert_allclose(found.flat, frames[0], rtol=1e-6)


def test_frames_outside_of_the_data_set_are_read_by_its_settings(tmp_path, frames):
    data, cal = tmp_path / "data", tmp_path / "cal"
    cal.mkdir()
    flat = read_image(tmp_path / "_calibration/flat_0.png")[..., 0]
    flat.tofile(cal / "flat.raw")
    describe_files(data, FileSettings(RawLayout("uint16", flat.shape)))
    try:
        found = load_flat_frames(data, str(cal / "flat.raw"))
    finally:
        describe_files(data, FileSettings())
    np.testing.assert_array_equal(found.flat, flat)


def test_a_hot_and_an_overly_sensitive_pixel_are_dead_too(tmp_path):
    flat, dark = np.full((9, 9), 5000.0), np.full((9, 9), 50.0)
    flat[1, 1] = 12000
    dark[6, 6], flat[6, 6] = 4000, 9000
    write_frames(tmp_path, "flat", [flat])
    write_frames(tmp_path, "dark", [dark])
    found = load_flat_frames(tmp_path, "flat_0.png", "dark_0.png")
    assert np.argwhere(found.dead).tolist() == [[1, 1], [6, 6]]


def test_correction_equals_the_formula_and_repairs_dead_pixels(tmp_path, frames):
    flat, dark = frames
    raw = np.random.default_rng(1).integers(200, 9000, (4, 12, 15, 1)).astype(np.float32)
    result = keras.ops.convert_to_numpy(FlatField.from_frames(loaded(tmp_path))(raw))[..., 0]
    expected = (raw[..., 0].astype(np.float64) - dark) / (flat - dark)
    around = [expected[:, r, c] for r in (1, 2, 3) for c in (2, 3, 4) if (r, c) != (2, 3)]
    expected[:, 2, 3] = np.mean(around, axis=0)
    # At the edge: the five that touch it, and three of the next.
    near = [(6, 0), (8, 0), (7, 1), (6, 1), (8, 1), (5, 0), (7, 2), (9, 0)]
    expected[:, 7, 0] = np.mean([expected[:, r, c] for r, c in near], axis=0)
    np.testing.assert_allclose(result, expected, rtol=2e-6)


def test_a_dead_line_and_a_dead_corner_are_repaired_from_good_pixels():
    dead = np.zeros((20, 30), bool)
    dead[:, 11] = dead[:4, :5] = True
    flat = FlatFrames(np.full((20, 30), 1000, np.float32), np.zeros((20, 30), np.float32), dead)
    good = np.argwhere(~dead)
    for place, numbers in zip(np.argwhere(dead), flat.neighbours, strict=True):
        rows, columns = np.divmod(numbers, 30)
        assert not dead[rows, columns].any()
        assert len(set(numbers)) == 8
        distances = np.sort(np.abs(good - place).max(axis=1))
        # None farther away than the square that holds eight good pixels.
        assert np.abs(np.stack([rows, columns], 1) - place).max() <= distances[7]


BENT = {"bend": (-0.25, 0.25), "gain": (0.8, 1.2)}


def bent_detector(levels, size=(20, 24), seed=0, dark=100):
    """Frames of a detector whose pixels answer `gain · (s + bend · s²)` to the signal `s`.

    Returns:
        For each level of the signal a frame `(h, w)` of counts.
    """
    rng = np.random.default_rng(seed)
    gain, bend = (rng.uniform(*BENT[name], size) for name in ("gain", "bend"))
    return [dark + 9000 * gain * (level + bend * level**2) for level in levels]


def test_absorber_steps_make_bent_pixels_agree_at_every_signal(tmp_path):
    for number, frame in enumerate(bent_detector((1.0, 0.6, 0.3, 0.1))):
        write_frames(tmp_path / f"step{number}", "flat", [frame])
    write_frames(tmp_path, "dark", [np.full((20, 24), 100.0)])
    names = ["step2", "step0", "step3", "step1"]  # in any order
    with_steps = FlatField.from_frames(load_flat_frames(tmp_path, names, "dark_0.png"))
    with_one = FlatField.from_frames(load_flat_frames(tmp_path, "step0", "dark_0.png"))
    for raw in bent_detector((0.9, 0.5, 0.2)):
        spread, before = (
            np.asarray(layer(raw[None, ..., None].astype(np.float32))).std()
            for layer in (with_steps, with_one)
        )
        assert before > 0.01
        assert spread < before / 10


def test_steps_of_flat_pixels_change_nothing(tmp_path):
    gain = np.random.default_rng(0).uniform(0.8, 1.2, (20, 24))
    for number, level in enumerate((1.0, 0.5)):
        write_frames(tmp_path / f"step{number}", "flat", [40000 * gain * level])
    found = load_flat_frames(tmp_path, ["step0", "step1"])
    np.testing.assert_allclose(found.curves[0], 1, atol=1e-3)
    np.testing.assert_allclose(found.curves[1], 0, atol=1e-3)


def test_steps_that_are_alike_are_refused(tmp_path):
    for number, frame in enumerate(bent_detector((1.0, 0.99))):
        write_frames(tmp_path / f"step{number}", "flat", [frame])
    with pytest.raises(
        AlloykError, match=r"steps of data.flat must differ by at least 2 % of the bright"
    ):
        load_flat_frames(tmp_path, ["step0", "step1"])


def write_exposed(path, frame, exposure_s):
    """A HIS file, which has the exposure time in its header."""
    path.parent.mkdir(exist_ok=True)
    (height, width), size = frame.shape, 68 + 2 * frame.size
    fields = (0x7000, 68, 100, size, 0, 1, 1, width, height, 1, 0, 1e6 * exposure_s, 4)
    header = struct.pack("<HHHIHHHHHHHdH34x", *fields)
    path.write_bytes(header + frame.round().astype("<u2").tobytes())


def test_the_dark_signal_is_that_of_the_exposure_time(tmp_path):
    offset = np.random.default_rng(0).uniform(100, 200, (20, 24)).round()
    rate = np.random.default_rng(1).uniform(50, 100, (20, 24)).round()
    for time in (0.5, 1.0, 2.0):
        write_exposed(tmp_path / "darks" / f"{time}.his", offset + 2 * rate * time, time)
    write_exposed(tmp_path / "flats" / "0.his", offset + 2 * rate + 9000, 1.0)
    for time, dark in ((0.5, offset + rate), (4.0, offset + 8 * rate)):
        found = load_flat_frames(tmp_path, "flats", "darks", time)
        np.testing.assert_allclose(found.dark, dark, atol=0.01)
        # The flat frame was exposed for another time than the images.
        np.testing.assert_allclose(found.flat - found.dark, 9000 * time, rtol=1e-5)
    with pytest.raises(
        AlloykError, match=r"has frames of 3 exposure times .* have none or several"
    ):
        load_flat_frames(tmp_path, "flats", "darks")


@pytest.mark.parametrize("count", [0, 500, 1000])
def test_a_stuck_pixel_of_a_step_has_no_curve(count):
    bright = np.full((4, 5), 1000.0, np.float32)
    steps = [np.full((4, 5), 500.0, np.float32), np.full((4, 5), 250.0, np.float32)]
    steps[1][1, 2] = count
    curves, wrong = fit_gain_curves(bright, steps, np.zeros((4, 5), bool))
    assert np.isfinite(curves).all()
    assert np.argwhere(wrong).tolist() == [[1, 2]]
    np.testing.assert_allclose(curves[:, 0, 0], np.eye(len(curves))[0], atol=1e-5)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["0.1", "0.1"], 0.1), (["0.1", "0.10001"], 0.100005), (["0.1", "0.2"], None),
        (["0.1", ""], None), (["0", "0"], None),
    ],
)  # fmt: skip
def test_measured_exposure_times_may_differ_by_their_rounding(times, expected, caplog):
    dataset = SimpleNamespace(table=pd.DataFrame({"exposure_s": times}))
    assert exposure_of(dataset) == pytest.approx(expected)
    warned = "must have one exposure time for flat frames to be scaled to it" in caplog.text
    assert warned == (expected is None and times[0] != "0")


@pytest.mark.parametrize(("images_s", "warned"), [(1.0, False), (10.0, True), (None, False)])
def test_dark_frames_of_another_exposure_time_are_named(tmp_path, caplog, images_s, warned):
    write_exposed(tmp_path / "darks" / "0.his", np.full((8, 8), 100.0), 1.0)
    write_exposed(tmp_path / "flats" / "0.his", np.full((8, 8), 9000.0), 1.0)
    load_flat_frames(tmp_path, "flats", "darks", images_s)
    text = "the frames were exposed for 1 s, but images or flat frames for 10 s"
    assert (text in caplog.text) == warned


def test_dark_frames_of_several_times_have_one_size(tmp_path):
    for time, shape in ((1.0, (32, 32)), (4.0, (16, 16))):
        write_exposed(tmp_path / "darks" / f"{time}.his", np.full(shape, 100.0), time)
    write_exposed(tmp_path / "flats" / "0.his", np.full((32, 32), 9000.0), 1.0)
    with pytest.raises(AlloykError, match=r"data\.dark must have one size, got 16×16 and 32×32"):
        load_flat_frames(tmp_path, "flats", "darks", 2.0)


@pytest.mark.parametrize("images_s", [1.0, 2.0, None])
def test_flat_frames_of_several_exposure_times_are_averaged_per_second(tmp_path, images_s):
    dark = np.random.default_rng(0).uniform(100, 200, (20, 24)).round()
    write_frames(tmp_path / "darks", "dark", [dark.astype(np.uint16)])
    for number, time in enumerate((1.0, 0.5, 0.5)):
        write_exposed(tmp_path / "flats" / f"{number}.his", dark + 10_000 * time, time)
    found = load_flat_frames(tmp_path, "flats", "darks", images_s)
    np.testing.assert_allclose(found.flat - found.dark, 10_000 * (images_s or 1.0), rtol=1e-5)
    np.testing.assert_allclose(found.dark, dark)
    with pytest.raises(AlloykError, match="the frames of a step must have one exposure time"):
        load_flat_frames(tmp_path, ["flats", "flats/0.his"], "darks", images_s)
    write_frames(tmp_path / "flats", "unknown", [np.full((20, 24), 9000, np.uint16)])
    with pytest.raises(AlloykError, match=r"all frames of data\.flat or none must have"):
        load_flat_frames(tmp_path, "flats", "darks", images_s)


def test_pages_of_several_exposure_times_are_frames_of_their_own(tmp_path):
    for name, rate, offset in (("flat", 10_000, 100), ("dark", 20, 100)):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            for tenths in (10, 5, 5):
                frame = np.full((20, 24), offset + (rate + 20 * (name == "flat")) * tenths / 10)
                tag = (33434, 5, 1, (tenths, 10), True)
                file.write(frame.astype(np.uint16), extratags=[tag], metadata=None)
    found = load_flat_frames(tmp_path, "flat.tif", "dark.tif", 2.0)
    np.testing.assert_allclose(found.dark, 140, rtol=1e-5)
    np.testing.assert_allclose(found.flat - found.dark, 20_000, rtol=1e-5)


def test_steps_need_the_exposure_time_of_the_images(tmp_path):
    """The curve of a pixel is a function of its counts, which another exposure time changes."""
    for number, frame in enumerate(bent_detector((1.0, 0.5))):
        write_exposed(tmp_path / f"step{number}" / "0.his", frame, 0.5)
    names = ["step0", "step1"]
    assert load_flat_frames(tmp_path, names, exposure_s=0.5).curves.shape == (2, 20, 24)
    with pytest.raises(AlloykError, match=r"one exposure time, got frames of 0\.5 and 0\.5 times"):
        load_flat_frames(tmp_path, names, exposure_s=1.0)


def test_of_several_sessions_the_frames_nearest_to_the_images_are_used(tmp_path, caplog):
    for day, level in ((1, 8000), (2, 9000), (9, 5000)):
        for number in range(2):
            exif = Image.Exif()
            exif[306] = f"2026:03:{day:02} 08:0{number}:00"
            frame = Image.fromarray(np.full((20, 24), level + number, np.uint16))
            (tmp_path / "flats").mkdir(exist_ok=True)
            frame.save(tmp_path / "flats" / f"{day}-{number}.tif", exif=exif)
    day = datetime.datetime
    for times, expected, said in (
        ([day(2026, 3, 2, 14), day(2026, 3, 3, 9)], 9000.5, "that of 2026-03-02 08:00 is used"),
        ([day(2026, 3, 2, 14), day(2026, 3, 9, 9)], 7333.8, "belong to 2 of 3 sessions of flat or"),
        ([], 7333.8, ""),
    ):
        caplog.clear()
        found = load_flat_frames(tmp_path, "flats", acquired=times)
        np.testing.assert_allclose(found.flat, expected, rtol=1e-5)
        assert said in caplog.text


def test_sessions_are_compared_in_utc_and_never_without_a_zone(tmp_path, caplog):
    fabio = pytest.importorskip("fabio")
    (tmp_path / "flats").mkdir()
    for name, time, level in (("a", "11:05:00Z", 8000), ("b", "13:05:00Z", 5000)):
        frame = np.full((20, 24), level, np.uint16)
        flat = fabio.edfimage.EdfImage(data=frame, header={"date": f"2026-03-14T{time}"})
        flat.write(str(tmp_path / f"flats/{name}.edf"))
    image = parsed_time("2026-03-14T13:00:00+02:00")
    found = load_flat_frames(tmp_path, "flats", acquired=[image])
    np.testing.assert_allclose(found.flat, 8000, rtol=1e-5)
    assert "that of 2026-03-14 11:05 UTC is used" in caplog.text
    found = load_flat_frames(tmp_path, "flats", acquired=[image.replace(tzinfo=None)])
    np.testing.assert_allclose(found.flat, 6500, rtol=1e-5)
    assert "give their time zone and others do not" in caplog.text


def test_attenuation_is_the_negative_logarithm():
    images = np.array([1.0, 0.5, 0.0, -0.1], np.float32).reshape(1, 2, 2, 1)
    result = keras.ops.convert_to_numpy(Attenuation()(images)).ravel()
    np.testing.assert_allclose(result, [0, np.log(2), np.log(1e4), np.log(1e4)], rtol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            {"flat": "absent_*.png"},
            r"^data\.flat must be an image, .*, got absent_\*\.png; it was not found in",
        ),
        ({"dark": "absent.png"}, r"^data\.dark must be an image, .*, got absent\.png; it was"),
        (
            {"flat": "d_*.png", "dark": "f_*.png"},
            r"must be brighter than data\.dark, got .*swapped",
        ),
        ({"dark": "small_0.png"}, "same size, got 8×8 in data.flat and 6×8 in data.dark"),
        ({"flat": "*_0.png"}, r"must have one size, got 8×8 in .*\.png and 6×8 in .*small_0\.png"),
        (
            {"flat": "half_0.png"},
            r"at most 5 % of the pixels of data\.flat can be dead or dark, got 50 %",
        ),
    ],
)
def test_wrong_frames_are_explained(tmp_path, spoil, message):
    half = np.full((8, 8), 5000)
    half[:4] = 40
    for name, frame in (
        ("f", np.full((8, 8), 5000)), ("d", np.full((8, 8), 50)), ("half", half),
        ("small", np.full((6, 8), 50)),
    ):  # fmt: skip
        write_frames(tmp_path, name, [frame])
    with pytest.raises(AlloykError, match=message):
        load_flat_frames(tmp_path, **{"flat": "f_0.png", "dark": "d_0.png", **spoil})


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(AlloykError, match=r"need data\.flat; set data\.flat too"):
        resolve_config(None, parse_overrides(["data.dark=dark.png"]))
    settings = ["data.flat=flat.png", "data.attenuation=true", "preprocess.normalize=log"]
    with pytest.raises(AlloykError, match="both take the logarithm"):
        resolve_config(None, parse_overrides(settings))


def test_a_cache_knows_other_frames(tmp_path, frames):
    raw = np.random.default_rng(2).integers(200, 9000, (3, 12, 15)).astype(np.uint16)
    write_frames(tmp_path, "image", raw)
    paths = sorted(tmp_path.glob("image_*.png"))

    def kept():
        preprocessing = build_preprocessing((8, 8), flat_frames=loaded(tmp_path))
        return keep_images(paths, preprocessing, folder=tmp_path / "cache", key="a").array

    first = np.array(kept())
    np.testing.assert_array_equal(kept(), first)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    write_frames(tmp_path / "_calibration", "flat", [np.full((12, 15), 9000)])
    assert (kept() != first).any()
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_an_image_of_another_size_is_named(tmp_path, frames):
    write_frames(tmp_path, "cropped", [np.full((12, 14), 900)])
    preprocessing = build_preprocessing((8, 8), flat_frames=loaded(tmp_path))
    message = r"cropped_0\.png must have the size of the flat frames, 12×15, got 12×14"
    with pytest.raises(AlloykError, match=message):
        keep_images([tmp_path / "cropped_0.png"], preprocessing)
    with pytest.raises(Exception, match=message):
        mean_and_std(StreamedImages([tmp_path / "cropped_0.png"], preprocessing), 1)


# --- From simulated frames to a file for the device -------------------------------------------


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """Forty simulated images of 40² with flats and darks; a few pixels are dead."""
    folder = tmp_path_factory.mktemp("flat") / "radiographs"
    overrides = {"detector.dead_pixels": 0.004, "detector.fixed_pattern_sd": 0.05}
    simulate_dataset(folder, images=40, image_size=40, seed=4, overrides=overrides, with_flats=True)
    return folder


@pytest.fixture(scope="module")
def run(radiographs, tmp_path_factory):
    settings = [
        f"data.path={radiographs}", "data.flat=_calibration/flat_*.png",
        "data.dark=_calibration/dark_*.png", "data.attenuation=true", "model.arch=fnn",
        "model.hidden_units=16", "preprocess.image_size=24", "preprocess.equalize=true",
        "train.epochs=2",
    ]  # fmt: skip
    config = resolve_config(None, parse_overrides(settings))
    return run_training(config, tmp_path_factory.mktemp("runs") / "fnn")


def test_correction_takes_the_fixed_pattern_out(radiographs):
    frames = load_flat_frames(radiographs, "_calibration/flat_*.png", "_calibration/dark_*.png")
    raw = read_image(radiographs / "_calibration" / "flat_03.png")[None].astype(np.float32)
    layer = FlatField.from_frames(frames)
    corrected = keras.ops.convert_to_numpy(layer(raw))
    assert frames.dead.any()
    assert raw.std() / raw.mean() > 0.05
    # What is left is this frame's own noise, an eighth of it also in the mean.
    assert corrected.std() / corrected.mean() < 0.02


def test_the_saved_model_takes_the_raw_frame(run, radiographs):
    recorded = read_predictions(run / "predictions.csv")
    found = load(run).predict([radiographs / path for path in recorded.table["path"]])
    np.testing.assert_allclose(found.probabilities, recorded.probabilities, atol=2e-5)


def test_a_cropped_frame_is_refused_by_name(run):
    with pytest.raises(AlloykError, match=r"size 40x40 .* got 40x39; its flat-field correction is"):
        load(run).predict(np.ones((40, 39)))


@pytest.mark.parametrize("file_format", ["tflite", "savedmodel"])
def test_exports_hold_the_correction_and_agree(run, tmp_path, monkeypatch, file_format):
    monkeypatch.setattr(export, "measured_speed", lambda *_: Speed(1, 0.001, 0.001, 5, 1e3, 10**8))
    out = tmp_path / ("model.tflite" if file_format == "tflite" else "model")
    report = export_run(run, file_format, out)
    assert not report.agreement.differing
    assert report.agreement.max_difference <= 1e-4
    assert report.input_shape[:2] == (40, 40)
    classifier = load(out)
    assert classifier.input_shape[:2] == (40, 40)
    with pytest.raises(AlloykError, match="must have the size 40x40"):
        classifier.predict(np.ones((41, 40)))


def test_another_input_size_cannot_be_exported(run, tmp_path):
    with pytest.raises(AlloykError, match=r"--input-size must be 40x40, .*, got 32x32; omit it"):
        export_run(run, "tflite", tmp_path / "model.tflite", input_size=(32, 32))


def test_a_soft_vote_takes_the_raw_frame_too(run, tmp_path):
    save_soft_vote([run / "model.keras"] * 2, np.array([0.25, 0.75]), tmp_path / "model.keras")
    frames = np.random.default_rng(0).integers(100, 9000, (3, 40, 40, 1)).astype(np.uint16)
    expected, voted = load(run).predict(frames), load(tmp_path / "model.keras").predict(frames)
    np.testing.assert_allclose(voted.probabilities, expected.probabilities, atol=1e-6)
    with pytest.raises(AlloykError, match="must have the size 40x40"):
        load(tmp_path / "model.keras").predict(np.ones((39, 40)))
