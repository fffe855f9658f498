import csv
import errno
import filecmp
import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from alloyk.errors import AlloykError, ConfigError
from alloyk.imaging.drawing import equalised
from alloyk.progress import CallbackProgress
from alloyk.simulator.dataset import writer
from alloyk.simulator.dataset.contact_sheet import examples, plot_contact_sheet
from alloyk.simulator.dataset.image_files import png_bytes, write_image
from alloyk.simulator.dataset.recipe import Recipe, load_recipe, make_recipe
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.dataset.simulation import simulate_arrays, simulate_dataset
from alloyk.simulator.dataset.writer import write_dataset

SMALL = {"images": 30, "image_size": 32, "seed": 7}
EVERYTHING = SMALL | {
    "preset": "alloys5",
    "images_per_plate": 2,
    "imbalance": 3.0,
    "class_order": ("5083", "6082"),
    "with_flats": True,
    "overrides": {
        "texture.waviness_um": 20, "texture.grain_contrast": 0.01,
        "texture.scratches_per_cm2": 0.5, "plate.scan_step_mm": 3,
    },
}  # fmt: skip


def files_under(folder):
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())


def assert_same_files(left, right):
    names = files_under(left)
    assert names == files_under(right)
    _, mismatch, errors = filecmp.cmpfiles(left, right, names, shallow=False)
    assert mismatch == errors == []


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return simulate_dataset(tmp_path_factory.mktemp("set") / "small", **SMALL)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("workers", [2, 5])
def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path, workers):
    one = simulate_dataset(tmp_path / "one", workers=1, **EVERYTHING)
    many = simulate_dataset(tmp_path / "many", workers=workers, **EVERYTHING)
    assert_same_files(one, many)


def test_recipe_makes_the_same_bytes_again(tmp_path):
    first = simulate_dataset(tmp_path / "first", **EVERYTHING)
    again = write_dataset(load_recipe(first / "simulation.yaml"), tmp_path / "again")
    assert_same_files(first, again)


def test_another_seed_changes_images_plates_and_panel(tmp_path):
    images = [simulate_arrays(images=2, image_size=32, seed=seed)[0] for seed in (0, 1)]
    assert (images[0] != images[1]).mean() > 0.9
    panels = [Simulator(make_recipe(image_size=32, seed=seed)).panel.gain for seed in (0, 1)]
    assert (panels[0] != panels[1]).all()


def test_counts_stay_what_they_were():
    """A few counts of version 0.1: a change of any random stream or formula shows here."""
    images, table = simulate_arrays("alloys5", images=10, image_size=32, seed=2026)
    picked = images[[0, 3, 9]][:, [3, 20, 28], [4, 16, 30]]
    expected = [[9735, 2487, 8530], [9289, 1795, 4999], [9910, 1634, 4355]]
    # Other builds of NumPy may round a last bit differently.
    np.testing.assert_allclose(picked.astype(int), expected, atol=1)
    assert table["plate_id"].tolist() == [f"p{n:05d}" for n in range(10)]


def test_folder_holds_what_the_manifest_says(small):
    rows = rows_of(small / "manifest.csv")
    assert list(rows[0])[:2] == ["path", "label"]
    assert {"plate_id", "thickness_mm", "alloy", "tube_voltage_kvp", "seed"} <= set(rows[0])
    assert files_under(small) == sorted(
        [row["path"] for row in rows] + ["manifest.csv", "plates.csv", "simulation.yaml"]
    )
    assert {row["label"] for row in rows} == {"1050", "2017"}
    assert all(row["path"].split("/")[0] == row["label"] == row["alloy"] for row in rows)
    plates = {row["plate_id"]: row for row in rows_of(small / "plates.csv")}
    assert len(plates) == 30
    for row in rows:
        plate = plates[row["plate_id"]]
        assert plate["true_thickness_mm"] == row["true_thickness_mm"]
        content = [float(value) for key, value in plate.items() if key.endswith("_wt_pct")]
        assert sum(content) == pytest.approx(100, abs=1e-5)


def test_folder_and_memory_hold_the_same_counts(small):
    images, table = simulate_arrays(**SMALL)
    assert images.dtype == np.uint16
    for counts, path in zip(images, table["path"], strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(small / path)), counts)
    assert table["label"].map(type).eq(str).all()
    assert images.max() < 2**14


def test_one_image_can_be_made_again_from_its_row(small):
    """Plate, circumstances and seed of a row suffice: the row's seed drives the noise."""
    recipe = load_recipe(small / "simulation.yaml")
    row = rows_of(small / "manifest.csv")[17]
    planned = list(recipe.plan())[17]
    assert str(planned.seed) == row["seed"]
    np.testing.assert_array_equal(
        Simulator(recipe).image(planned), np.asarray(Image.open(small / row["path"]))
    )


def test_tiff_and_png_hold_the_same_counts(tmp_path):
    tiff = simulate_dataset(tmp_path / "tiff", image_format="tiff", bits=32, **SMALL)
    images, table = simulate_arrays(**SMALL)
    for counts, path in zip(images, table["path"], strict=True):
        found = tifffile.imread(tiff / path.replace(".png", ".tif"))
        assert found.dtype == np.uint32
        np.testing.assert_array_equal(found, counts)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda dtype: arrays.arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 9)))
    )
)
def test_png_is_read_back_by_another_library(counts):
    image = Image.open(io.BytesIO(png_bytes(counts)))
    image.load()
    np.testing.assert_array_equal(np.asarray(image), counts)


def test_eight_bit_files_hold_unscaled_counts(tmp_path):
    write_image(tmp_path / "a.png", np.array([[0, 7, 255]], np.uint16), 8)
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 7, 255]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 8}, r"^bits must be at least detector\.adc_bits=14, got 8; write 16-bit files"),
        ({"bits": 32}, "^bits must be 8 or 16 for png files, got 32$"),
        ({"image_format": "jpeg"}, "^the image format must be png or tiff, got 'jpeg'$"),
        ({"images": 0}, "^images must be >= 1, got 0$"),
        ({"image_size": 4}, "^image_size must be >= 8, got 4$"),
        ({"seed": -1}, "^seed must be >= 0, got -1$"),
        ({"imbalance": 0.5}, "^imbalance must be finite and >= 1, got 0"),
        ({"alloys": ("1050", "2024")}, "unknown alloy '2024'"),
        ({"overrides": {"tube.filters_mm.Xx": 1}}, "a filter must be a chemical element, got 'Xx'"),
        ({"images": 10**9, "image_size": 1000}, r"1000000000 images of 1000×1000 need about"),
    ],
)
def test_bad_recipe_leaves_nothing(tmp_path, arguments, message):
    with pytest.raises(AlloykError, match=message):
        simulate_dataset(tmp_path / "out", **(SMALL | arguments))
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_not_touched(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    with pytest.raises(AlloykError, match=r"^OUT must be a new or empty folder, got .*out; choose"):
        simulate_dataset(out, **SMALL)
    assert files_under(out) == ["mine.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    simulate_dataset(tmp_path / "out", **(SMALL | {"images": 2}))
    assert (tmp_path / "out" / "manifest.csv").is_file()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_interruption_leaves_nothing(tmp_path, stop):
    def interrupt(*step):
        raise stop

    with pytest.raises(stop):
        simulate_dataset(tmp_path / "out", progress=CallbackProgress(interrupt), **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    written = []

    def fill_up(path, counts, bits):
        written.append(path)
        if len(written) > 11:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_image(path, counts, bits)

    monkeypatch.setattr(writer, "write_image", fill_up)
    with pytest.raises(AlloykError, match=r"out: No space left on device; no files were kept"):
        simulate_dataset(tmp_path / "out", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AlloykError, match=r"^OUT must be a folder, got .*; .*file is a file$"):
        simulate_dataset(tmp_path / "file" / "out", **SMALL)


def test_progress_counts_every_image(tmp_path):
    steps = []
    progress = CallbackProgress(lambda *step: steps.append(step))
    simulate_dataset(tmp_path / "out", progress=progress, **SMALL)
    assert steps[-1] == ("simulating", 30, 30, "images")


def test_flat_and_dark_frames_turn_counts_into_transmission(tmp_path):
    """A plate-free corner of an image, corrected by the mean frames, has transmission one."""
    folder = simulate_dataset(
        tmp_path / "out", preset="easy", images=2, image_size=64, with_flats=True,
        overrides={"exposure.output_sd": 0, "detector.offset_counts": 300,
                   "detector.residual": 0.1, "detector.fixed_pattern_sd": 0.05,
                   "exposure.photons_per_mm2": 1e6, "scatter.ratio": 0, "scatter.ratio_sd": 0},
    )  # fmt: skip
    frames = rows_of(folder / "_calibration" / "frames.csv")
    assert [row["kind"] for row in frames] == ["flat"] * 8 + ["dark"] * 8

    def mean(kind):
        paths = [folder / "_calibration" / row["path"] for row in frames if row["kind"] == kind]
        return np.mean([np.asarray(Image.open(path)).astype(float) for path in paths], axis=0)

    flat, dark = mean("flat"), mean("dark")
    assert dark[flat > 0].mean() == pytest.approx(300, abs=1)
    raw = np.asarray(Image.open(folder / "1050" / "p00000_00.png")).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):  # dead pixels
        transmission = (raw - dark) / (flat - dark)
    corner = transmission[2:20, 60:]  # right of the wedge's face, above the plate
    assert np.nanmean(corner) == pytest.approx(1, abs=2e-3)
    assert np.nanstd(corner) < 0.01  # the uncorrected pattern has 5 %
    assert np.std(raw[2:20, 60:] / flat.max()) > 0.03


def test_plate_seen_again_is_the_same_plate_moved():
    """Texture follows the plate: the second image is the first one, a scan step to the side."""
    still = {
        "plate.edge_sd_mm": 0, "plate.tilt_sd_deg": 0, "plate.scan_step_mm": 6,
        "wedge.shift_sd_mm": 0, "wedge.rotation_sd_deg": 0, "wedge.height_sd": 0,
        "exposure.output_sd": 0, "tube.voltage_drift_sd_kv": 0, "scatter.ratio_sd": 0,
    }  # fmt: skip
    wavy = still | {"texture.waviness_um": 200, "texture.waviness_mm": 4}
    size = {"images": 2, "image_size": 60, "images_per_plate": 2, "alloys": ("1050",)}
    signals = [
        [simulator.expected(one).signal for one in simulator.recipe.plan()]
        for simulator in (
            Simulator(make_recipe("easy", overrides=o, **size)) for o in (wavy, still)
        )
    ]
    first, second = (np.log(w / s)[40:, :50] for w, s in zip(*signals, strict=True))
    # The same waviness attenuates a little differently under more wedge; its shape stays.
    assert np.corrcoef(second[:, :40].ravel(), first[:, 6:46].ravel())[0, 1] > 0.98
    assert np.corrcoef(second[:, :40].ravel(), first[:, :40].ravel())[0, 1] < 0.9


def test_contact_sheet_shows_each_class_and_thickness(tmp_path):
    folder = simulate_dataset(
        tmp_path / "out", preset="alloys5", images=20, image_size=16, contact_sheet=True
    )
    picture = np.asarray(Image.open(folder / "contact_sheet.png"))
    assert min(picture.shape[:2]) > 400
    recipe = load_recipe(folder / "simulation.yaml")
    chosen = examples(recipe.plan())
    assert {label: [one.plate.thickness_mm for one in ones] for label, ones in chosen.items()} == {
        label: [1.0, 2.0, 5.0] for label in recipe.parameters.alloys
    }


def test_contact_sheet_says_simulated_and_hides_no_curve():
    recipe = make_recipe("alloys5", images=20, image_size=16)
    figure = plot_contact_sheet(Simulator(recipe), recipe.plan())
    figure.draw_without_rendering()
    for sheet, label in zip(figure.subfigs, recipe.parameters.alloys, strict=True):
        assert sheet.get_suptitle() == f"Al {label}, simulated"
        (legend,) = sheet.legends
        box = legend.get_window_extent()
        for axes in sheet.axes:
            assert axes.get_legend() is None
            assert not box.overlaps(axes.get_window_extent())


def test_equalised_image_is_the_rank_of_each_pixel():
    assert equalised(np.array([[5, 1], [5, 9]])).tolist() == [[0.75, 0.25], [0.75, 1.0]]


@pytest.mark.parametrize("text", ["", "a: [", "images: 3", "- 1"])
def test_file_that_is_no_recipe(tmp_path, text):
    path = tmp_path / "simulation.yaml"
    path.write_text(text)
    with pytest.raises(AlloykError, match=r"simulation\.yaml"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("images", "abc", "images must be a whole number, got 'abc'"),
        ("images", 3.5, "images must be a whole number, got 3.5"),
        ("images", True, "images must be a whole number, got true"),
        ("images", 1, "images must be at least 2, one per class, got 1"),
        ("image_size", 4, "image_size must be >= 8, got 4"),
        (
            "class_order",
            None,
            "class_order must be a list of classes, which may be empty, got null",
        ),
        ("class_order", [5083], "the class order must name classes of 1050, 2017, got '5083'"),
        ("parameters", None, "parameters must have keys, such as parameters.alloys, got null"),
        ("parameters", {"tube": 3}, "tube must have keys, such as tube.anode, got 3"),
        ("parameters", {"alloys": ["1050", "2071"]}, "unknown alloy '2071': did you mean 2017"),
        ("with_flats", "no", "with_flats must be true or false, got 'no'"),
        ("with_flats", 1, "with_flats must be true or false, got 1"),
        ("preset", "stdy", "preset must be one of .* got 'stdy'; did you mean study"),
        ("preset", None, "preset must be text, got null"),
        ("imbalance", "x", "imbalance must be a number, got 'x'"),
        ("image_format", ["png"], r"image_format must be text, got \['png'\]"),
        ("bits", "16", "bits must be a whole number, got '16'"),
    ],
)
def test_a_wrong_value_in_an_edited_recipe_is_named_with_the_file(
    small, tmp_path, key, value, message
):
    document = yaml.safe_load((small / "simulation.yaml").read_text())
    path = tmp_path / "simulation.yaml"
    path.write_text(yaml.safe_dump({**document, key: value}))
    with pytest.raises(ConfigError, match=rf"simulation\.yaml: {message}"):
        load_recipe(path)


def test_labels_of_an_edited_recipe_may_be_numbers(small, tmp_path):
    document = yaml.safe_load((small / "simulation.yaml").read_text())
    path = tmp_path / "simulation.yaml"
    for order in ([2017, 1050], "2017,1050"):
        path.write_text(yaml.safe_dump({**document, "class_order": order}))
        assert load_recipe(path).class_order == ("2017", "1050")


def test_recipe_file_says_everything(small):
    document = yaml.safe_load((small / "simulation.yaml").read_text())
    assert document["parameters"]["tube"]["voltage_range_kvp"] == [40.0, 50.0]
    assert load_recipe(small / "simulation.yaml") == Recipe(
        make_recipe("study").parameters, "study", images=30, image_size=32, seed=7
    )


def test_channels_show_one_plate_in_one_pose(tmp_path):
    settings = {"tube.channels_kvp": [40, 45, 50]}
    size = {"preset": "study", "images": 4, "image_size": 24, "images_per_plate": 2, "seed": 3}
    images, table = simulate_arrays(**size, overrides=settings)
    assert len(images) == len(table) == 12
    assert table["path"].tolist()[:2] == ["1050/p00000_00_40kv.png", "1050/p00000_00_45kv.png"]
    assert table["tube_voltage_kvp"].tolist() == [40, 45, 50] * 4
    pose = ["pose_id", "plate_id", "true_thickness_mm", "scatter_ratio", "wedge_shift_mm",
            "wedge_rotation_deg", "wedge_height_mm", "plate_edge_mm", "tilt_deg"]  # fmt: skip
    assert (table.groupby("pose_id")[pose].nunique() == 1).all(axis=None)
    assert table["pose_id"].nunique() == 4
    assert table["plate_id"].nunique() == 2
    for name in ("output", "true_tube_voltage_kvp", "seed"):
        assert table[name].nunique() == 12
    # The noise of two exposures of one pose is independent.
    _, single = simulate_arrays(**size)
    assert "pose_id" not in single
    folder = simulate_dataset(tmp_path / "out", **size, overrides=settings)
    again = simulate_dataset(tmp_path / "again", **size, overrides=settings, workers=3)
    for path, counts in zip(table["path"], images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / path)), counts)
        assert (folder / path).read_bytes() == (again / path).read_bytes()


def test_a_voltage_is_a_channel_once():
    with pytest.raises(AlloykError, match=r"tube.channels_kvp must name each voltage once"):
        simulate_arrays(images=2, image_size=8, overrides={"tube.channels_kvp": [40, 40]})
    with pytest.raises(AlloykError, match=r"voltage_kvp and tube.channels_kvp set the same"):
        simulate_arrays(
            images=2, image_size=8,
            overrides={"tube.channels_kvp": [40], "tube.voltage_kvp": 50},
        )  # fmt: skip
