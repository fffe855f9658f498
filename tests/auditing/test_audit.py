"""`alloyk audit`: each measure against its formula, each finding on data that has the flaw."""

import csv
import json
import os
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.exposure import equalize_hist

import alloyk
from alloyk.auditing import audit_dataset, blocks, find_all, shortcuts, similarity
from alloyk.auditing.measure import measure_array, measure_image
from alloyk.auditing.quality import sorted_rows
from alloyk.auditing.similarity import near_duplicates
from alloyk.cli import main
from alloyk.data import split_table
from alloyk.errors import AlloykError
from alloyk.simulator.dataset.simulation import simulate_dataset

SIZE = 48


def radiograph(rng, level=0.5, size=SIZE, noise=60):
    """Counts of a wedge with a plate over its middle, which passes `level`; 16 bit."""
    rows, columns = np.mgrid[:size, :size] / size
    counts = 4000 + 6000 * columns + rng.uniform(-300, 300)
    edge = rng.uniform(0.4, 0.6)
    counts = np.where(rows > edge, counts * level, counts)
    return np.clip(counts + rng.normal(0, noise, counts.shape), 0, 16383).astype(np.uint16)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    else:
        Image.fromarray(pixels).save(path, **options)


def write_set(root, *, per_class=24, splits=(), name="{label}-{number:03d}.png", levels=(0.7, 0.4)):
    """`root`/[<split>/]<class>/*.png, and the paths by class."""
    rng = np.random.default_rng(5)
    for number in range(per_class):
        for label, level in zip(("1050", "2017"), levels, strict=True):
            folder = root / splits[number % len(splits)] / label if splits else root / label
            save(folder / name.format(label=label, number=number), radiograph(rng, level))
    return root


def found(data, **options):
    """Findings by name; a name that occurs several times has a list."""
    findings = find_all(audit_dataset(data, **options))
    return {name: [f for f in findings if f.name == name] for name in {f.name for f in findings}}


def run(runner, *arguments, code):
    result = runner.invoke(main, ["audit", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


# --- What is measured -------------------------------------------------------------------------


def test_noise_is_that_which_was_added_whatever_the_scene():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:200, :300]
    scene = 5000 + 8 * columns + 3 * rows + 500 * (rows > 120)
    for noise in (5, 80):
        image = (scene + rng.normal(0, noise, scene.shape))[..., None].astype(np.float32)
        found = measure_array(image, "tiff")
        assert found.noise == pytest.approx(noise, rel=0.05)
        assert found.snr == pytest.approx(image.mean() / noise, rel=0.05)


@pytest.mark.parametrize("period", [8, 20])
@pytest.mark.parametrize("noise", [0, 30])
def test_sharpness_of_a_wave_is_its_spatial_frequency(period, noise):
    columns = np.mgrid[:240, :240][1]
    wave = 5000 + 1000 * np.sin(2 * np.pi * columns / period)
    image = wave + np.random.default_rng(0).normal(0, noise, wave.shape)
    found = measure_array(image[..., None].astype(np.float32), "tiff")
    # The central difference of a wave: its amplitude by sin(2π / period).
    assert found.sharpness == pytest.approx(np.sin(2 * np.pi / period), rel=0.02)


def test_blur_lowers_the_sharpness():
    image = radiograph(np.random.default_rng(0), size=96, noise=0).astype(np.float32)
    sharp, blurred = (
        measure_array(i[..., None], "png") for i in (image, gaussian_filter(image, 3))
    )
    assert blurred.sharpness < 0.7 * sharp.sharpness


def test_equalized_thumb_equals_scikit_image():
    image = radiograph(np.random.default_rng(0), size=64)
    expected = equalize_hist(image, 4096).reshape(16, 4, 16, 4).mean(axis=(1, 3))
    equalized = measure_array(image[..., None], "png").equalized
    np.testing.assert_allclose(equalized, expected, atol=4e-3)  # float16, and bins of 2 counts


def test_thumb_and_border_are_means():
    image = radiograph(np.random.default_rng(0), size=64).astype(np.float64)
    found = measure_array(image[..., None], "png")
    expected = image.reshape(16, 4, 16, 4).mean(axis=(1, 3)) / image.mean()
    np.testing.assert_allclose(found.thumb, expected, rtol=1e-3)
    sides = [image[:2], image[-2:], image[:, :2], image[:, -2:]]
    np.testing.assert_allclose(found.border, [s.mean() / image.mean() for s in sides], rtol=1e-5)


def test_the_same_pixels_have_one_digest_in_any_format_and_depth(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    save(tmp_path / "a.png", pixels)
    save(tmp_path / "b.tif", pixels.astype(np.uint16), byteorder=">")
    save(tmp_path / "c.bmp", np.repeat(pixels[..., None], 3, axis=2))
    save(tmp_path / "d.tif", pixels.astype(np.float32))
    save(tmp_path / "turned.png", pixels.reshape(30, 20))
    other = pixels.copy()
    other[0, 0] ^= 1
    save(tmp_path / "other.png", other)
    digest = {p.name: measure_image(p).digest for p in tmp_path.iterdir()}
    assert digest["a.png"] == digest["b.tif"] == digest["c.bmp"] == digest["d.tif"]
    assert len(set(digest.values())) == 3
    half = (pixels[..., None] + 0.5).astype(np.float32)
    assert measure_array(half, "tiff").digest != digest["a.png"]
    assert measure_image(tmp_path / "c.bmp").mode == "gray as RGB"
    colour = np.dstack([pixels, pixels // 2, pixels])
    assert measure_array(colour, "png").mode == "colour"


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (17, 5), (300, 1000)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4", "f8"])
def test_every_shape_and_type_can_be_measured(shape, dtype):
    rng = np.random.default_rng(0)
    for image in ((rng.normal(size=(*shape, 1)) * 100).astype(dtype), np.zeros((*shape, 3), dtype)):
        found = measure_array(image, "tiff")
        numbers = [found.mean, found.noise, found.sharpness, *found.border]
        assert np.isfinite(numbers).all()
        assert np.isfinite(found.thumb).all()
        assert np.isfinite(found.signature).all()


def test_ten_thousand_images_of_224_pixels_take_less_than_a_minute_on_two_cores(tmp_path):
    path = tmp_path / "a.png"
    save(path, radiograph(np.random.default_rng(0), size=224))
    seconds = []
    for _ in range(20):
        start = time.process_time()
        measure_image(path)
        seconds.append(time.process_time() - start)
    assert min(seconds) * 10_000 / 2 < 60


# --- Near-duplicates --------------------------------------------------------------------------


def saved_again(image, kind, tmp_path):
    """The same exposure, changed as programs change it."""
    eight = (image // 64).astype(np.uint8)
    if kind == "jpeg":
        Image.fromarray(eight).save(tmp_path / "a.jpg", quality=95)
        return np.asarray(Image.open(tmp_path / "a.jpg"))
    return {
        "8 bit": lambda: eight,
        "brighter": lambda: (image * 1.2 + 300).astype(np.uint16),
        "smaller": lambda: np.asarray(
            Image.fromarray(image.astype(np.float32)).resize((96, 96), Image.Resampling.BILINEAR)
        ),
    }[kind]()


@pytest.mark.parametrize("kind", ["8 bit", "brighter", "jpeg", "smaller"])
def test_an_exposure_saved_again_is_found_among_many_of_one_scene(tmp_path, kind):
    rng = np.random.default_rng(1)
    images = [radiograph(rng, size=128) for _ in range(60)]
    images.append(saved_again(images[17], kind, tmp_path))
    signatures = np.stack([measure_array(i[..., None], "png").signature for i in images])
    pairs = near_duplicates(signatures)
    assert [pair[:2] for pair in pairs] == [(17, 60)]


@pytest.mark.parametrize("noise", [5, 20, 200])
def test_other_exposures_of_one_scene_are_no_duplicates(noise):
    # Brightness, edge and noise differ; an ordinary perceptual hash calls them all the same.
    rng = np.random.default_rng(2)
    images = [radiograph(rng, size=128, noise=noise) for _ in range(100)]
    signatures = np.stack([measure_array(i[..., None], "png").signature for i in images])
    assert near_duplicates(signatures) == []


def test_pairs_are_those_of_all_correlations(monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK", 7)
    rng = np.random.default_rng(4)
    exposures = rng.normal(size=(60, 1024))
    exposures[40:] = 0.8 * exposures[20:40] + 0.4 * rng.normal(size=(20, 1024))
    pattern = 2 * rng.normal(size=1024)  # the detector's, in all of them
    signatures = np.clip(20 * (exposures + pattern), -127, 127).round().astype(np.int8)
    values = signatures - np.median(signatures, axis=0)
    correlation = np.corrcoef(values)
    expected = {(i, j) for i, j in zip(*np.nonzero(correlation > 0.52), strict=True) if i < j}
    found = {pair[:2]: pair[2] for pair in near_duplicates(signatures)}
    assert expected == {(i, i + 20) for i in range(20, 40)} == set(found)
    for (i, j), similar in found.items():
        assert similar == pytest.approx(correlation[i, j], abs=0.01)


def test_among_many_images_candidates_are_compared_instead_of_all(monkeypatch):
    """All copies with a correlation of 0.9 are found, and the others are not taken for copies."""
    rng = np.random.default_rng(5)
    exposures = rng.normal(size=(600, 1024))
    exposures[500:] = 0.9 * exposures[:100] + np.sqrt(1 - 0.81) * rng.normal(size=(100, 1024))
    signatures = np.clip(30 * exposures, -127, 127).round().astype(np.int8)
    rows = np.flatnonzero(np.arange(600) != 7)
    expected = [pair[:2] for pair in near_duplicates(signatures, rows)]
    assert sorted(expected) == [(i, i + 500) for i in range(100) if i != 7]
    monkeypatch.setattr(similarity, "MAX_COMPARED", 500)
    monkeypatch.setattr(blocks, "SAMPLE", 128)
    monkeypatch.setattr(similarity, "ROWS", 128)  # in several blocks
    found = [pair[:2] for pair in near_duplicates(signatures, rows)]
    assert sorted(found) == sorted(expected)


def test_flat_and_unreadable_images_are_no_duplicates():
    signatures = np.random.default_rng(3).integers(-40, 41, (20, 1024)).astype(np.int8)
    signatures[3] = signatures[4] = 0
    signatures[19] = signatures[8]
    assert [pair[:2] for pair in near_duplicates(signatures)] == [(8, 19)]


# --- Single files -----------------------------------------------------------------------------


def test_a_clean_set_has_nothing_to_fix(tmp_path):
    findings = found(write_set(tmp_path, splits=("train", "train", "val", "test")))
    # Denser is darker here, and plates are not known; that is all.
    assert set(findings) == {
        "shortcut-brightness", "shortcut-border", "equalization-keeps", "few-test-images",
        "unknown-plates",
    }  # fmt: skip
    assert all(f.severity != "fix" for some in findings.values() for f in some)


def test_unreadable_and_truncated_files_are_named_with_the_reason(tmp_path):
    write_set(tmp_path)
    whole = (tmp_path / "1050" / "1050-003.png").read_bytes()
    (tmp_path / "1050" / "1050-003.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2017" / "text.png").write_text("no image")
    (tmp_path / "2017" / "empty.png").write_bytes(b"")
    (finding,) = found(tmp_path)["unreadable"]
    assert finding.severity == "fix"
    assert sorted(finding.images) == ["1050/1050-003.png", "2017/empty.png", "2017/text.png"]
    reasons = finding.values["reasons"]
    assert reasons["1050/1050-003.png"] == "the file is cut short"
    assert reasons["2017/empty.png"] == "the file is empty"
    assert (
        reasons["2017/text.png"]
        == "it is not a PNG, JPEG, BMP, TIFF, DICOM, NumPy, EDF, FITS, HIS or HDF5 file"
    )


def test_mixed_sizes_depths_and_modes_are_counted(tmp_path):
    write_set(tmp_path)
    rng = np.random.default_rng(0)
    save(tmp_path / "1050" / "a-1.png", (radiograph(rng) // 64).astype(np.uint8))
    tall = (radiograph(rng, size=64)[:, :32] // 64).astype(np.uint8)
    save(tmp_path / "1050" / "a-2.png", np.dstack([tall, 255 - tall, tall]))
    findings = found(tmp_path)
    assert findings["mixed-sizes"][0].values["sizes"] == {"48×48": 49, "64×32": 1}
    assert findings["mixed-sizes"][0].severity == "check"
    assert findings["mixed-depths"][0].values["depth"] == {"uint16": 48, "uint8": 2}
    assert findings["false-colour"][0].images == ["1050/a-2.png"]


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_of_several_channels_the_first_is_checked_and_drawn(tmp_path, channels):
    rng = np.random.default_rng(0)
    lines = ["path,label"]
    for number in range(4):
        stack = np.stack([radiograph(rng) // (n + 1) for n in range(channels)])
        np.save(tmp_path / f"{number}.npy", stack)
        lines.append(f"{number}.npy[channels],{'ab'[number % 2]}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    audited = alloyk.audit(tmp_path / "m.csv", figures=tmp_path / "figures").audited
    assert set(audited.measure("mode")) == {"gray"}
    first = np.load(tmp_path / "0.npy")[0]
    assert audited.measure("mean")[0] == pytest.approx(first.mean())
    assert (tmp_path / "figures" / "examples.png").is_file()


def test_saturated_empty_and_featureless_images_are_found(tmp_path):
    write_set(tmp_path)
    rng = np.random.default_rng(0)
    for name, ceiling in (("1050/over-14.png", 16383), ("1050/over-16.png", 65535)):
        image = radiograph(rng)
        image[:4] = ceiling
        save(tmp_path / name, image)
    save(tmp_path / "1050" / "zero.png", np.zeros((SIZE, SIZE), np.uint16))
    save(tmp_path / "1050" / "flat.png", rng.normal(9000, 30, (SIZE, SIZE)).astype(np.uint16))
    black = radiograph(rng)
    black[:, :3] = 0
    save(tmp_path / "2017" / "black.png", black)
    findings = found(tmp_path)
    assert findings["saturated"][0].images == ["1050/over-14.png", "1050/over-16.png"]
    assert findings["empty"][0].images == ["1050/zero.png"]
    assert findings["empty"][0].severity == "fix"
    assert findings["no-contrast"][0].images == ["1050/flat.png"]
    assert findings["clipped-black"][0].images == ["2017/black.png"]


def test_an_inverted_image_is_found_where_there_is_a_common_scene(tmp_path):
    write_set(tmp_path)
    image = radiograph(np.random.default_rng(0))
    save(tmp_path / "1050" / "negative.png", 16383 - image)
    assert found(tmp_path)["inverted"][0].images == ["1050/negative.png"]


def test_flat_frames_beside_the_images_are_offered(tmp_path):
    write_set(tmp_path, per_class=2)
    assert "flat-frames" not in found(tmp_path)
    for kind in ("flat", "dark"):
        save(tmp_path / "_calibration" / f"{kind}_00.tif", np.full((SIZE, SIZE), 9000, np.uint16))
    assert found(tmp_path)["flat-frames"][0].advice.endswith(
        '--set data.flat="_calibration/flat_*.tif" --set data.dark="_calibration/dark_*.tif"`.'
    )


# --- Leaks ------------------------------------------------------------------------------------


def test_copies_across_splits_and_under_other_labels(tmp_path):
    write_set(tmp_path, splits=("train", "test"))
    for source, target in (
        ("train/1050/1050-000.png", "test/1050/copy.png"),
        ("train/1050/1050-002.png", "train/1050/copy.png"),
        ("test/1050/1050-001.png", "test/2017/wrong.png"),
    ):
        shutil.copy(tmp_path / source, tmp_path / target)
    findings = found(tmp_path)
    (across,) = findings["duplicates-across-splits"]
    assert across.severity == "fix"
    assert across.images == [["test/1050/copy.png", "train/1050/1050-000.png"]]
    assert findings["duplicates"][0].images == [
        ["test/1050/1050-001.png", "test/2017/wrong.png"],
        ["train/1050/1050-002.png", "train/1050/copy.png"],
    ]
    assert findings["duplicates"][0].severity == "check"
    assert findings["duplicates-with-other-labels"][0].images == [
        ["test/1050/1050-001.png", "test/2017/wrong.png"]
    ]
    assert "near-duplicates" not in findings


def test_near_copies_across_splits_and_under_other_labels(tmp_path):
    write_set(tmp_path, splits=("train", "test"))
    original = np.asarray(Image.open(tmp_path / "train/1050/1050-000.png"))
    save(tmp_path / "test" / "2017" / "again.png", (original * 1.1).astype(np.uint16))
    findings = found(tmp_path)
    pair = [["test/2017/again.png", "train/1050/1050-000.png"]]
    assert findings["near-duplicates-across-splits"][0].images == pair
    assert findings["near-duplicates-with-other-labels"][0].images == pair
    assert "near-duplicates" not in findings
    assert "duplicates-across-splits" not in findings


def simulated(folder, plates_apart=True, seed=0):
    """A simulated set of 60 plates, three images each, split by plate or by image."""
    simulate_dataset(folder, images=180, image_size=32, seed=seed, images_per_plate=3)
    with open(folder / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    import pandas as pd

    table = pd.DataFrame(rows)
    table["split"] = split_table(table, group_by=None if plates_apart else "none", seed=seed)
    table.to_csv(folder / "manifest.csv", index=False)
    return folder


def test_a_set_split_by_image_is_reported_and_one_by_plate_is_not(tmp_path, runner):
    assert "shared-plate" not in found(simulated(tmp_path / "by_plate"))
    by_image = simulated(tmp_path / "by_image", plates_apart=False)
    shared = found(by_image)["shared-plate"]
    assert [f.severity for f in shared] == ["fix"] * len(shared)
    assert any(f.what.startswith("test shares") and "(by plate_id)" in f.what for f in shared)
    result = run(runner, by_image, code=1)
    assert "180 images, simulated" in result.stdout
    assert "--group-by plate_id" in result.stdout


def test_plates_are_told_by_their_names_without_blanks_and_may_be_unknown(tmp_path):
    data = write_set(tmp_path, per_class=6)
    with open(data / "manifest.csv", "w") as file:
        file.write("path,label,split,plate_id\n")
        for number, path in enumerate(sorted(data.rglob("*.png"))):
            split = ("train", "train", "test")[number % 3]
            plate = {0: "", 1: "A", 2: " A "}.get(number, f"P{number}")
            file.write(f"{path.relative_to(data)},{path.parent.name},{split},{plate}\n")
    (shared,) = found(data)["shared-plate"]
    assert shared.images == ["A"]
    assert shared.what == (
        "test shares 1 of its 4 plates (by plate_id) with train: A, with 1 image of test."
    )


def test_series_of_file_names_are_believed_when_they_tell_images_apart(tmp_path):
    name = "{label}-B{number:03d}_0.png"
    write_set(tmp_path / "alone", per_class=6, splits=("train", "test"), name=name)
    assert "shared-series" not in found(tmp_path / "alone")
    data = write_set(tmp_path / "crossing", per_class=6, splits=("train", "test"), name=name)
    os.rename(data / "train/1050/1050-B002_0.png", data / "train/1050/1050-B001_1.png")
    (shared,) = found(data)["shared-series"]
    assert shared.images == ["1050-B001"]
    # One series per class is numbering, and says nothing.
    numbered = write_set(
        tmp_path / "numbered", splits=("train", "test"), name="{label}_{number}.png"
    )
    assert "shared-series" not in found(numbered)
    assert "unknown-plates" in found(numbered)
    told = found(numbered, series=r"_(\d)\d*\.png$")["shared-series"]
    assert "(by _(\\d)\\d*\\.png$)" in told[0].what


def test_a_set_that_is_not_split_is_told_how_it_would_be(tmp_path):
    series = write_set(tmp_path / "series", per_class=6, name="{label}-B{number:03d}_0.png")
    for label in ("1050", "2017"):
        first = series / label / f"{label}-B000_0.png"
        shutil.copy(first, first.with_name(f"{label}-B001_1.png"))
    findings = found(series)
    assert "data.group_by" in findings["not-split"][0].advice
    assert findings["duplicates"][0].severity == "fix"  # one of them may come to lie in test
    with open(series / "manifest.csv", "w") as file:
        file.write("path,label,plate_id\n")
        for path in sorted(series.rglob("*.png")):
            file.write(f"{path.relative_to(series)},{path.parent.name},{path.parent.name}\n")
    (refused,) = found(series)["cannot-split"]
    assert refused.severity == "fix"
    assert "'1050' has 1" in refused.what


# --- Classes, shortcuts, quality --------------------------------------------------------------


def test_classes_that_differ_between_splits_and_unequal_classes(tmp_path):
    write_set(tmp_path, splits=("train", "test"))
    rng = np.random.default_rng(0)
    for number in range(2):
        save(tmp_path / "test" / "5083" / f"x-{number}.png", radiograph(rng))
        save(tmp_path / "train" / "6082" / f"x-{number}.png", radiograph(rng))
        save(tmp_path / "train" / "Al 6082" / f"y-{number}.png", radiograph(rng))
    findings = found(tmp_path)
    missing = {f.values["split"]: (f.severity, f.values["missing"]) for f in
               findings["classes-differ"]}  # fmt: skip
    assert missing == {"train": ("fix", ["5083"]), "test": ("check", ["6082", "Al 6082"])}
    assert findings["imbalance"][0].values == {"1050": 12, "2017": 12, "6082": 2, "Al 6082": 2}


def test_labels_that_differ_by_signs_only(tmp_path):
    write_set(tmp_path)
    os.rename(tmp_path / "2017", tmp_path / "10-50")
    assert "'10-50' and '1050'" in found(tmp_path)["labels-alike"][0].what


@pytest.mark.parametrize("names", [("A+", "A-"), ("1.5 mm", "15 mm"), ("AlSi1,0", "AlSi10")])
def test_signs_and_decimal_points_tell_labels_apart(tmp_path, names):
    write_set(tmp_path)
    for old, new in zip(("1050", "2017"), names, strict=True):
        os.rename(tmp_path / old, tmp_path / new)
    assert "labels-alike" not in found(tmp_path)


@pytest.mark.parametrize("kind", ["size", "format", "border"])
def test_what_tells_the_class_without_the_metal_is_found(tmp_path, kind):
    rng = np.random.default_rng(0)
    for number in range(60):
        label = ("1050", "2017")[number % 2]
        image = radiograph(rng)
        suffix = ".png"
        if label == "1050":
            if kind == "size":
                image = image[:44]
            elif kind == "format":
                suffix = ".tif"
            elif kind == "border":
                image[0] = 0
        save(tmp_path / label / f"x-{number}{suffix}", image)
    findings = found(tmp_path)
    (shortcut,) = findings[f"shortcut-{kind}"]
    assert shortcut.values["balanced_accuracy"] == pytest.approx(1, abs=0.03)
    assert shortcut.values["chance"] == 0.5
    others = {"size", "format", "border", "brightness"} - {kind}
    assert not {f"shortcut-{other}" for other in others} & set(findings)


def test_a_shortcut_to_a_rare_class_is_found_among_many_images(tmp_path, monkeypatch):
    monkeypatch.setattr(shortcuts, "MAX_IMAGES", 100)
    rng = np.random.default_rng(0)
    for number in range(400):
        save(tmp_path / "1050" / f"x-{number}.png", radiograph(rng))
    for number in range(12):
        save(tmp_path / "2017" / f"x-{number}.png", radiograph(rng)[:44])
    (shortcut,) = found(tmp_path)["shortcut-size"]
    assert shortcut.values["balanced_accuracy"] == pytest.approx(1, abs=0.03)


def test_random_labels_have_no_shortcut(tmp_path):
    write_set(tmp_path, per_class=60, levels=(0.5, 0.5))
    assert not [name for name in found(tmp_path) if "shortcut" in name or "equal" in name]


@pytest.mark.parametrize(("layout", "erases"), [("step", False), ("full", True)])
def test_equalisation_erases_the_signal_without_a_bare_reference(tmp_path, layout, erases):
    # PHYSICS: if plate and wedge fill the field, the rank image is the same for every plate.
    overrides = {"layout.name": layout}
    simulate_dataset(
        tmp_path / "set", preset="easy", images=240, image_size=32, overrides=overrides, seed=1
    )
    findings = found(tmp_path / "set")
    assert ("equalization-erases" in findings) == erases
    assert ("equalization-keeps" in findings) != erases


def test_noisy_and_blurred_images_and_drift(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(40):
        image = radiograph(rng, noise=40 + 2 * number)
        if number == 20:
            image = radiograph(rng, noise=900)
        save(tmp_path / "1050" / f"a_{number}.png", image)
        steady = radiograph(rng, level=0.4, noise=40)
        if number == 30:
            blurred = gaussian_filter(steady.astype(np.float32), 10)
            steady = (blurred + rng.normal(0, 40, blurred.shape)).astype(np.uint16)
        save(tmp_path / "2017" / f"b_{number}.png", steady)
    findings = found(tmp_path)
    assert findings["low-snr"][0].images == ["1050/a_20.png"]
    assert findings["low-sharpness"][0].images == ["2017/b_30.png"]
    drifts = findings["drift-snr"][0].values
    assert set(drifts) == {"1050/a"}
    # Medians of the first and the last ten: 49 and 109 counts of noise.
    assert drifts["1050/a"] == pytest.approx(49 / 109 - 1, abs=0.08)


def test_a_drift_is_found_in_the_order_of_time_where_it_is_known(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number, hour in enumerate(rng.permutation(24)):
        save(tmp_path / "1050" / f"a_{number}.png", radiograph(rng, noise=40 + 4 * int(hour)))
        rows.append((f"1050/a_{number}.png", "1050", f"2026-03-01T{hour:02}:00:00"))
    assert "drift-snr" not in found(tmp_path)
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "acquired"), *rows])
    assert set(found(tmp_path)["drift-snr"][0].values) == {"1050/a"}


@pytest.mark.parametrize(
    ("zones", "order"), [(("Z", "+02:00"), [1, 0, 3, 2]), (("Z", ""), [0, 1, 2, 3])]
)
def test_images_are_in_the_order_of_utc_or_of_names_if_zones_are_missing(zones, order):
    hours = ("12", "13", "14", "15")  # UTC: 12, 11, 14, 13
    times = [f"2026-03-01T{hour}:00:00{zones[n % 2]}" for n, hour in enumerate(hours)]
    table = pd.DataFrame({"path": [f"a/{n}.png" for n in range(4)], "acquired": times})
    assert sorted_rows(FakeAudited(table), np.arange(4)).tolist() == order


class FakeAudited:
    """The names and times of images."""

    def __init__(self, table):
        self.table, self.paths = table, table["path"].to_numpy()

    def __len__(self):
        return len(self.table)


# --- The command ------------------------------------------------------------------------------


def test_real_castings_have_247_test_images_from_training(shared_data, runner):
    result = run(runner, shared_data / "castings", "--json", code=1)
    report = json.loads(result.stdout)
    (across,) = [f for f in report["findings"] if f["name"] == "duplicates-across-splits"]
    assert across["values"] == {"earlier": "train", "later": "test", "count": 247}
    copies = [copy for copy, _ in across["images"]]
    assert sum("class_1" in copy for copy in copies) == 229
    for copy, original in across["images"][::40]:
        one, two = (Image.open(shared_data / "castings" / name) for name in (copy, original))
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_real_threat_objects_share_series_between_splits(shared_data, tmp_path):
    # Small copies of every tenth, as the series lie in the names.
    for path in sorted((shared_data / "threatobjects").rglob("*.jpg"))[::10]:
        target = tmp_path / path.relative_to(shared_data / "threatobjects")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").resize((64, 64)).save(target)
    (shared,) = found(tmp_path)["shared-series"]
    assert set(shared.images) == {"B0079", "B0080", "B0081"}


def test_text_and_json_say_the_same_and_exit_codes_follow(tmp_path, runner):
    data = write_set(tmp_path / "set", splits=("train", "test"))
    text = run(runner, data, code=0).stdout
    assert "48 images; train 24, test 24" in text
    assert "images of 48×48, uint16, gray, png" in text
    assert "No problems to fix" in text
    shutil.copy(data / "train/1050/1050-000.png", data / "test/1050/copy.png")
    text = run(runner, data, code=1).stdout
    report = json.loads(run(runner, data, "--json", code=1).stdout)
    assert report["must_fix"] == 1
    assert report["classes"]["1050"]["images"] == 25
    assert report["splits"] == {"test": 25, "train": 24}
    joined = " ".join(text.split())
    for finding in report["findings"]:
        assert finding["what"] in joined
        assert finding["advice"] in joined


def test_unlabelled_folders_flat_or_split(tmp_path, runner):
    rng = np.random.default_rng(0)
    for number in range(12):
        save(tmp_path / "flat" / f"scan-{number}.tif", radiograph(rng), byteorder=">")
    report = json.loads(run(runner, tmp_path / "flat", "--json", code=0).stdout)
    assert report["images"] == report["readable"] == 12
    assert report["depths"] == {"uint16": 12}
    for name in ("train", "test"):
        shutil.copytree(tmp_path / "flat", tmp_path / "split" / name)
    report = json.loads(run(runner, tmp_path / "split", "--json", code=1).stdout)
    assert [f["values"]["count"] for f in report["findings"] if f["severity"] == "fix"] == [12]


@pytest.mark.parametrize("name", ["a b.png", "it's.png", 'say "x".png', "μ–铝.png", "a\nb.png"])
def test_odd_names_are_reported_on_lines_that_hold(tmp_path, runner, name):
    data = write_set(tmp_path / "set", per_class=2)
    (data / "1050" / name).write_text("not an image")
    text = run(runner, data, code=1).stdout
    assert "1 image cannot be read" in text
    report = json.loads(run(runner, data, "--json", code=1).stdout)
    assert [f["images"] for f in report["findings"] if f["name"] == "unreadable"] == [
        [f"1050/{name}"]
    ]


def test_what_is_no_data_set_is_an_error_of_one_line(tmp_path, runner):
    data = write_set(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("name\na.png\n")
    loop = write_set(tmp_path / "loop", per_class=1)
    (loop / "1050" / "again").symlink_to(loop)
    for arguments, message in (
        ([tmp_path / "absent"], "does not exist"),
        ([tmp_path / "empty"], "no image in"),
        ([tmp_path / "table.csv"], "must have the columns"),
        ([loop], "leads in a circle"),
        ([data, "--series", "("], "or a regular expression"),
        ([data, "--series", "B(\\d+)_"], "does not match 48 of 48"),
    ):
        result = run(runner, *arguments, code=1)
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert message in result.stderr


def test_the_option_that_chooses_a_page_is_named_once(tmp_path):
    stack = [Image.new("I;16", (20, 20), level) for level in (5, 6)]
    for number in range(4):
        stack[0].save(tmp_path / f"{number}.tif", save_all=True, append_images=stack[1:])
    (finding,) = found(tmp_path)["unreadable"]
    assert "0.tif, 1.tif, 2.tif and 1 more (it must have one page, got 2; choose" in finding.what
    assert finding.what.count("--page (data.page)") == 1


def test_no_readable_image_at_all(tmp_path, runner):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a.png", "b.tif"):
        (data / name).write_text("no image")
    result = run(runner, data, "--figures", tmp_path / "look", code=1)
    assert "2 images cannot be read: a.png, b.tif (it is not a PNG" in " ".join(
        result.stdout.split()
    )
    assert [path.name for path in (tmp_path / "look").iterdir()] == ["classes.png"]
    run(runner, tmp_path, "--json", code=1)


def test_one_image_and_one_pixel_are_enough(tmp_path, runner):
    save(tmp_path / "one.png", np.array([[7]], np.uint8))
    text = run(runner, tmp_path, code=1).stdout
    assert "1 image" in text
    assert "No contrast in 1 image" in text


def test_an_interrupted_or_failed_scan_ends_at_once(tmp_path, monkeypatch):
    import alloyk.auditing.scan as scan

    def broken(path):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(scan, "measure_image", broken)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        audit_dataset(write_set(tmp_path, per_class=60))


def test_figures_are_drawn_whole_and_only_of_what_there_is(tmp_path, runner):
    data = write_set(tmp_path / "set", splits=("train", "test"))
    original = np.asarray(Image.open(data / "train/1050/1050-000.png"))
    save(data / "test" / "1050" / "again.png", (original * 1.1).astype(np.uint16))
    out = tmp_path / "look"
    run(runner, data, "--figures", out, code=1)
    names = {"classes.png", "intensities.png", "quality.png", "examples.png"}
    assert {p.name for p in out.iterdir()} == names | {"near_duplicates.png"}
    for path in out.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 250
    (data / "test" / "1050" / "again.png").unlink()
    run(runner, data, "--figures", out, code=0)
    assert {p.name for p in out.iterdir()} == names


# --- Anything at all --------------------------------------------------------------------------

SLOW_FOLDERS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SLOW_FOLDERS
@given(
    contents=st.lists(st.binary(max_size=200), min_size=1, max_size=6),
    heads=st.lists(
        st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*"]),
        min_size=6, max_size=6,
    ),
)  # fmt: skip
def test_random_bytes_are_findings_and_never_more(tmp_path, contents, heads):
    folder = tmp_path / "random"
    shutil.rmtree(folder, ignore_errors=True)
    write_set(folder, per_class=1)
    for number, content in enumerate(contents):
        (folder / "1050" / f"{number}.png").write_bytes(heads[number] + content)
    audited = audit_dataset(folder)
    assert len(audited) == 2 + len(contents)
    find_all(audited)
    broken = [path for row, path in enumerate(audited.paths) if row in audited.scan.errors]
    assert {"1050/1050-000.png", "2017/2017-000.png"}.isdisjoint(broken)
    for row, reason in audited.scan.errors.items():
        assert audited.paths[row].rpartition("/")[2] in reason


@SLOW_FOLDERS
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["1050/1050-000.png", "2017/2017-000.png", "../x.png", "gone.png", ""]),
            st.sampled_from(["1050", "2017", "", "unknown", "10 50"]),
            st.sampled_from(["train", "val", "test", "", "odd"]),
            st.sampled_from(["p1", "p2", "", "nan"]),
        ),
        max_size=5,
    ),
    header=st.permutations(["path", "label", "split", "plate_id"]).flatmap(
        lambda names: st.integers(0, 4).map(lambda n: names[:n])
    ),
)
def test_any_manifest_is_audited_or_refused(tmp_path, rows, header):
    folder = tmp_path / "manifest"
    shutil.rmtree(folder, ignore_errors=True)
    write_set(folder, per_class=1)
    places = {"path": 0, "label": 1, "split": 2, "plate_id": 3}
    with open(folder / "list.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([row[places[name]] for name in header] for row in rows)
    refusal = None
    try:
        audited = audit_dataset(folder / "list.csv")
    except AlloykError as error:
        refusal = str(error)
    if refusal is not None:
        assert "\n" not in refusal
        return
    assert len(audited) == len(rows)
    find_all(audited)


# --- Small classes ----------------------------------------------------------------------------


def _noise_classes(root, counts):
    rng = np.random.default_rng(0)
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for i in range(count):
            pixels = rng.normal(120, 10, (32, 32)).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i}.png")
    return root


def _findings(root):
    return {finding.name: finding for finding in find_all(audit_dataset(root))}


def test_three_images_of_each_class_are_few(tmp_path):
    found = _findings(_noise_classes(tmp_path, {"a": 3, "b": 3, "c": 30}))
    assert found["few-images"].severity == "check"
    assert found["few-images"].values == {"a": 3, "b": 3}
    assert "2 classes with fewer than 10 images: a (3), b (3)" in found["few-images"].what
    assert found["too-few-to-train"].severity == "fix"
    assert "2 classes with fewer than 4 images, which training" in found["too-few-to-train"].what


def test_four_images_of_each_class_can_be_trained_on(tmp_path):
    assert "too-few-to-train" not in _findings(_noise_classes(tmp_path, {"a": 4, "b": 30}))


def test_a_class_of_one_image_is_not_told_to_split_image_by_image(tmp_path):
    found = _findings(_noise_classes(tmp_path, {"a": 1, "b": 9}))
    assert "class 'a' must have at least 3 images" in found["cannot-split"].what
    assert "--group-by none" not in found["cannot-split"].advice
    assert "Add images of the smallest class" in found["cannot-split"].advice
