"""Each disturbance does what its name and unit say; the bench writes what it measured."""

import csv
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_run import write_dataset, write_run

from alloyk.cli import main
from alloyk.data import load_dataset
from alloyk.errors import DataError
from alloyk.imaging import ChannelChoice, read_image
from alloyk.imaging.gray import to_gray
from alloyk.metrics.selective import CONFIDENT
from alloyk.robustness.bench import _test_images, disturbed
from alloyk.robustness.kinds import KINDS, noise_per_root
from alloyk.robustness.simulated import (
    OTHER_ALLOY,
    SETUPS,
    detectable,
    setups_of,
    simulated_images,
    strengths_of,
)
from alloyk.robustness.table import Row, format_markdown, mean_accuracy, read_rows, write_rows
from alloyk.simulator.dataset.recipe import make_recipe, recipe_text
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.presets import preset_parameters

FULL = 4095.0


def plate(size=(40, 48), seed=0):
    """Counts on a slope, with photon noise of twice the root of the level."""
    level = np.broadcast_to(np.linspace(800, 3000, size[1]), size)
    noise = 2 * np.sqrt(level) * np.random.default_rng(seed).standard_normal(size)
    return np.rint(level + noise).astype(np.uint16)[..., None]


def changed(name, strength, image=None):
    image = plate() if image is None else image
    return disturbed([image], KINDS[name], strength, FULL, 0)[0]


@pytest.mark.parametrize(
    ("name", "strength"), [(name, s) for name, kind in KINDS.items() for s in kind.strengths]
)
def test_every_kind_changes_an_image_and_keeps_its_type_size_and_range(name, strength):
    image = plate()
    result = changed(name, strength)
    assert result.shape == image.shape
    assert result.dtype == image.dtype
    assert result.max() <= FULL
    assert (result != image).any()
    np.testing.assert_array_equal(changed(name, strength), result)


def test_there_are_29_kinds_at_up_to_three_strengths():
    assert len(KINDS) == 29  # as docs/stress.md says
    assert all(1 <= len(kind.strengths) <= 3 for kind in KINDS.values())


def test_defects_have_the_share_and_number_in_their_name():
    assert (changed("dead pixels", 1e-2) == 0).sum() == 19  # 1 % of 1920
    assert (changed("hot pixels", 1e-4) == FULL).sum() == 1
    assert (changed("dead rows", 2) == 0).all(axis=(1, 2)).sum() == 2
    assert (changed("hot columns", 4) == FULL).all(axis=(0, 2)).sum() == 4
    assert (changed("dark border", 2) == 0).sum() == 40 * 48 - 36 * 44


def test_gain_offset_and_bits_are_exact():
    image = plate().astype(float)
    np.testing.assert_allclose(changed("gain", 0.6), image * 0.6, atol=0.5)
    np.testing.assert_allclose(changed("offset", 0.03), image + 0.03 * FULL, atol=0.5)
    assert len(np.unique(changed("bit depth", 6))) <= 64


def test_a_quarter_of_the_dose_doubles_the_noise():
    image = plate((200, 200))
    before = noise_per_root(image[..., 0].astype(float))
    after = noise_per_root(changed("dose", 0.25, image)[..., 0].astype(float))
    assert before == pytest.approx(2, rel=0.05)
    assert after / before == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("unit", [1, 1e-5, 1e4])
def test_the_noise_of_a_lower_dose_does_not_depend_on_the_unit_of_float_images(unit):
    image = plate((200, 200)).astype(np.float32) * np.float32(unit)
    full = float(image.max())
    less = disturbed([image], KINDS["dose"], 0.25, full, 0)[0]
    before, after = (noise_per_root(one[..., 0].astype(float)) for one in (image, less))
    assert after / before == pytest.approx(2, rel=0.05)
    dark = (image * np.float32(0.01)).astype(np.float32)
    assert disturbed([dark], KINDS["empty beam"], 0.5, full, 0)[0].std() > 0
    assert noise_per_root(np.zeros((4, 4))) == 0


def test_negative_counts_stay():
    image = (plate().astype(np.int32) - 2000).astype(np.int16)
    assert image.min() < 0
    dead = changed("dead pixels", 1e-4, image)
    assert (dead != image).sum() == 1


def test_a_shift_is_a_share_of_each_side():
    wide = np.zeros((10, 1000))
    wide[:, 500] = 1
    moved = []
    for seed in range(8):
        step = KINDS["shift"].change(wide, 0.1, 1, np.random.default_rng(seed))
        direction = np.random.default_rng(seed).uniform(0, 2 * np.pi)
        moved.append(500 - step.sum(0).argmax())
        assert moved[-1] == pytest.approx(100 * np.cos(direction), abs=1)
    assert max(map(abs, moved)) > 50


def test_colour_test_images_are_rounded_to_gray(tmp_path):
    folder = write_dataset(tmp_path / "data", per_class=4)
    rng = np.random.default_rng(0)
    for file in folder.rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(file)
    dataset = load_dataset(folder)
    images, _ = _test_images(dataset, 1000, 0)
    for image, path in zip(images, dataset.paths("test"), strict=True):
        gray = to_gray(read_image(path))
        assert image.dtype == np.uint8
        assert np.abs(image - gray).max() <= 0.5


def test_the_bench_writes_table_figure_and_summary(tmp_path):
    run = write_run(tmp_path / "run", write_dataset(tmp_path / "data", per_class=2))
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["stress", str(run), "--images", "4", "--out", str(out)])
    assert result.exit_code == 0, result.output
    with (out / "stress.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 + sum(len(kind.strengths) for kind in KINDS.values())
    assert {row["n"] for row in rows} == {"4"}
    accuracies = [float(row["accuracy"]) for row in rows[1:] if row["accuracy"]]
    summary = f"Mean accuracy over all disturbances: {100 * np.mean(accuracies):.1f} %"
    assert summary in (out / "stress.md").read_text(encoding="utf-8")
    assert summary in result.output
    assert f"probability of {CONFIDENT:g} or more" in result.output
    assert not any(row["unlike"] for row in rows)  # this run has no detector
    assert (out / "stress.png").stat().st_size > 10_000
    assert not any(row["accuracy"] for row in rows if row["kind"] == "empty beam")


def test_the_table_shows_what_physics_lets_be_detected(tmp_path):
    (tmp_path / "simulation.yaml").write_text(
        recipe_text(make_recipe("study", images=4, image_size=64)), encoding="utf-8"
    )
    setups = setups_of(tmp_path)
    assert detectable(tmp_path, setups["scatter"], 0.4) is None
    # 7075 absorbs more than any plate of training of its thickness and is harder than aluminium;
    # 3 mm of 1050 are nearly as dark as 2 mm of 2017.
    assert detectable(tmp_path, setups[OTHER_ALLOY], 7075) == pytest.approx(1, abs=0.01)
    assert detectable(tmp_path, setups["other thickness"], 3) > 0.5
    rows = (
        Row("clean", 0, "", 4, 1.0, 0.0, 0.0),
        Row("scatter", 0.4, "of the mean", 4, 0.5, 0.0, 0.5),
        Row("other alloy", 5083, "EN AW", 4, None, 0.0, 1.0, 0.375),
        Row("other thickness", 3, "mm", 4, 0.5, 0.0, 1.0, None),
        Row("other thickness", 4, "mm", 4, 0.5, 0.0, 1.0, 0.8),
    )
    write_rows(rows, tmp_path / "stress.csv")
    assert read_rows(tmp_path / "stress.csv") == rows
    text = format_markdown(rows, simulated=True)
    assert "| other alloy | 5083 EN AW | – | 0.0 | 100.0 | 37.5 |" in text
    assert "| 100.0 / 100.0 | – / 80.0 |" in text
    assert "| scatter | 0.4 of the mean | 50.0 | 0.0 | 50.0 |  |" in text
    assert "detectable" not in format_markdown(rows[:2], simulated=True).lower()


def test_the_mean_is_over_what_is_disturbed():
    rows = (
        Row("clean", 0, "", 4, 1.0, 0.0, 0.0),
        Row("scatter", 0.4, "of the mean", 4, 0.5, 0.0, 0.5),
        Row("blur", 1, "px", 4, 0.75, 0.0, 0.25),
        Row("simulated again", 1, "", 4, 1.0, 0.0, 0.0),
        Row("other alloy", 5083, "EN AW", 4, None, 0.0, 1.0),
    )
    assert mean_accuracy(rows) == 0.625


def test_images_of_two_depths_are_disturbed_within_their_own(tmp_path):
    small = (plate((20, 30)) // 16).clip(0, 255).astype(np.uint8)
    found = disturbed([small, plate((20, 30))], KINDS["offset"], 0.1, FULL, 0)
    assert found[0].dtype == np.uint8
    # Counts near the top end at 255; they do not start again at 0.
    np.testing.assert_array_equal(found[0], np.rint(np.minimum(small + 25.5, 255)))


def test_an_incomplete_table_is_named(tmp_path):
    (tmp_path / "stress.csv").write_text(
        "kind,strength,unit,n,accuracy,unlike,silent_errors\nclean"
    )
    with pytest.raises(DataError, match="must be a table of `alloyk stress`"):
        read_rows(tmp_path / "stress.csv")


def test_a_table_of_an_earlier_version_is_read(tmp_path):
    old = "kind,strength,unit,n,accuracy,unlike,silent_errors\nclean,0,,4,1,0.25,0\n"
    (tmp_path / "stress.csv").write_text(old, encoding="utf-8")
    assert read_rows(tmp_path / "stress.csv") == (Row("clean", 0, "", 4, 1.0, 0.25, 0.0),)


def test_other_set_ups_are_simulated_for_simulated_data(tmp_path):
    assert setups_of(tmp_path) == {}
    recipe = make_recipe("study", images=4, image_size=32)
    (tmp_path / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
    setups = setups_of(tmp_path)
    assert OTHER_ALLOY in setups
    for name, setup in setups.items():
        for strength in setup.strengths:
            images, labels = simulated_images(tmp_path, setup, strength, 4, 0)
            assert images[0].shape == (32, 32, 1), name
            known = {"1050", "2017"} if setup.recognisable else {f"{strength:.0f}"}
            assert set(labels) == known
    quarter, _ = simulated_images(tmp_path, setups["exposure"], 0.25, 4, 0)
    again, _ = simulated_images(tmp_path, setups["simulated again"], 1, 4, 0)
    noises = [noise_per_root(image[0][..., 0].astype(float)) for image in (quarter, again)]
    assert noises[0] / noises[1] == pytest.approx(2, rel=0.15)


def test_set_ups_have_the_voltage_of_the_run(tmp_path):
    def simulated(channels, settings):
        recipe = make_recipe("easy", images=4, image_size=16, overrides=settings)
        (tmp_path / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
        again = setups_of(tmp_path, channels)["simulated again"]
        images, labels = simulated_images(tmp_path, again, 1, 4, 0, channels)
        assert len(images) == len(labels) == 4
        return np.mean(images)

    both = {"tube.channels_kvp": [40, 50]}
    low, high = (simulated(ChannelChoice("tube_voltage_kvp", (kvp,)), both) for kvp in ("40", "50"))
    assert high == pytest.approx(simulated(None, {"tube.voltage_kvp": 50}), rel=0.05)
    assert low == pytest.approx(simulated(None, {"tube.voltage_kvp": 40}), rel=0.05)
    assert low < 0.9 * high
    recipe = make_recipe("easy", images=4, image_size=16, overrides=both)
    (tmp_path / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
    assert setups_of(tmp_path) == {}  # single images of two voltages are no set-up


def test_images_of_stepped_voltages_are_simulated_at_all_that_the_plates_take(tmp_path):
    def levels(images_per_plate):
        recipe = make_recipe("easy", images=8, image_size=16, images_per_plate=images_per_plate,
                             overrides={"tube.voltage_steps_kvp": [40, 50]})  # fmt: skip
        (tmp_path / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
        again = setups_of(tmp_path)["simulated again"]
        images, labels = simulated_images(tmp_path, again, 1, 8, 0)
        return [image[8:].mean() for image in images], labels

    alternating, labels = levels(2)
    assert (np.array(alternating[1::2]) > 1.05 * np.array(alternating[::2])).all()
    low, _ = levels(1)
    assert max(low[:4]) / min(low[:4]) > 1.05  # thicknesses in turn, as many plates as images
    assert alternating[0] == low[0]
    assert labels.tolist() == ["1050"] * 4 + ["2017"] * 4


@pytest.fixture
def simulated_run(tmp_path):
    """Function that writes an untrained run on images with the recipe of a simulated data set."""

    def write(**settings):
        data = write_dataset(tmp_path / "data", per_class=2)
        recipe = make_recipe("study", images=4, image_size=32, overrides=settings)
        (data / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
        return write_run(tmp_path / "run", data)

    return write


def stress_rows(run, *options):
    result = CliRunner().invoke(main, ["stress", str(run), *options])
    assert result.exit_code == 0, result.output
    return read_rows(run / "stress" / "stress.csv"), result.stderr


def test_every_set_up_of_the_study_is_simulated_without_spekpy(simulated_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "spekpy", None)
    monkeypatch.setattr("alloyk.robustness.bench.KINDS", {"gain": KINDS["gain"]})
    rows, stderr = stress_rows(simulated_run(), "--images", "1")
    assert "left out" not in stderr
    found = [(row.strength, row.n) for row in rows if row.kind == "tube voltage"]
    assert found == [(45, 2), (55, 2), (59, 2)]  # an image of each class
    assert [row.n for row in rows if row.kind == OTHER_ALLOY] == [1, 1, 1]


def test_a_set_up_that_cannot_be_computed_is_left_out_before_any_image_is_classified(
    simulated_run, monkeypatch
):
    monkeypatch.setitem(sys.modules, "spekpy", None)
    monkeypatch.setattr("alloyk.robustness.bench.KINDS", {"gain": KINDS["gain"]})
    run = simulated_run(**{"tube.voltage_drift_sd_kv": 0.5})
    rows, stderr = stress_rows(run, "--images", "2")
    assert [row.strength for row in rows if row.kind == "tube voltage"] == [45, 55]
    assert "tube voltage, 59 kV, is left out: " in stderr
    assert [row.strength for row in rows if row.kind == "scatter"] == [0.1, 0.2, 0.4]


def test_no_set_up_is_simulated_where_that_of_training_cannot_be(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "spekpy", None)
    recipe = make_recipe("easy", images=4, image_size=16, overrides={"tube.voltage_kvp": 70})
    (tmp_path / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
    assert list(strengths_of(tmp_path)) == []
    assert caplog.text.count("no other set-ups are simulated") == 1


@pytest.mark.parametrize(
    "settings", [{"exposure.exposure_time_s": 0.01}, {"exposure.photons_per_mm2": 3e3}]
)
def test_the_exposure_is_a_share_of_that_of_training(settings):
    known = with_overrides(preset_parameters("easy"), settings)
    setup = SETUPS["exposure"]
    for factor in setup.strengths:
        changed = with_overrides(known, setup.settings(known, factor))
        photons = [Beam(one).photons_per_mm2(50) for one in (changed, known)]
        assert photons[0] / photons[1] == pytest.approx(factor)


@pytest.mark.parametrize(
    ("settings", "unknown"),
    [
        ({}, (0.5, 3, 10)),
        ({"plate.thicknesses_mm": [1, 3, 10]}, (0.5,)),
        ({"plate.thickness_range_mm": [0.8, 6]}, (0.5, 10)),
        ({"plate.thicknesses_mm": [0.5, 3, 10]}, ()),
    ],
)
def test_a_thickness_of_training_is_no_other_one(tmp_path, settings, unknown):
    recipe = make_recipe("study", images=4, image_size=64, overrides=settings)
    (tmp_path / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
    setups = setups_of(tmp_path)
    assert (
        setups["other thickness"].strengths == unknown
        if unknown
        else ("other thickness" not in setups)
    )
