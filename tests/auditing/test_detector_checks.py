"""Bad pixels, bad lines, borders and orientations that were planted, and images that have none."""

import numpy as np
import pytest
from PIL import Image

from alloyk.auditing import audit_dataset
from alloyk.auditing.defects import find_defects
from alloyk.auditing.detector import DETECTOR_CHECKS
from alloyk.auditing.measure import measure_array

SIZE = 64


def radiograph(rng, size=SIZE, noise=40.0):
    """Counts of a wedge with a plate over a corner of it; 16 bit."""
    rows, columns = np.mgrid[:size, :size] / size
    edge = rng.uniform(0.35, 0.6)
    counts = 12000 + 9000 * columns
    counts = np.where((rows > edge) & (columns < 0.8), 0.6 * counts, counts)
    return np.clip(counts + rng.normal(0, noise, counts.shape), 0, 65535).astype(np.uint16)


def defects_of(image):
    return measure_array(image[..., None], "png").defects


def write(root, change=lambda image, label, number: image, count=20):
    rng = np.random.default_rng(3)
    for label in ("1050", "2017"):
        (root / label).mkdir(parents=True)
        for i in range(count):
            image = np.ascontiguousarray(change(radiograph(rng), label, i))
            Image.fromarray(image).save(root / label / f"{i:02}.png")
    return root


def found(root):
    audited = audit_dataset(root)
    return {finding.name: finding for check in DETECTOR_CHECKS for finding in check(audited)}


def with_pixel(image, row=20, column=30, value=0):
    image[row, column] = value
    return image


def with_row(image, row=41):
    image[row] = 0
    return image


def with_border(image, width=3):
    for side in (np.s_[:width], np.s_[-width:]):
        image[side] = 500
        image[:, side] = 500
    return image


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("value", [0, 65535])
def test_a_bad_pixel_is_found_and_nothing_else(seed, value):
    rng = np.random.default_rng(seed)
    image = radiograph(rng)
    assert not defects_of(image)
    row, column = rng.integers(8, SIZE - 8, 2)
    found = defects_of(with_pixel(image, row, column, value))
    assert found.pixels.tolist() == [[row, column]]
    assert (found.rows, found.columns, found.border) == ((), (), (0, 0, 0, 0))


def test_bad_lines_are_found():
    rng = np.random.default_rng(0)
    image = with_row(radiograph(rng))
    image[:, 9] = 65535
    assert (defects_of(image).rows, defects_of(image).columns) == ((41,), (9,))


@pytest.mark.parametrize("width", [1, 2, 4])
def test_the_width_of_a_border_is_measured(width):
    image = with_border(radiograph(np.random.default_rng(1)), width)
    assert defects_of(image).border == (width,) * 4


def test_small_images_and_images_of_one_value_have_none():
    assert not defects_of(np.full((64, 64), 7, np.uint16))
    assert not defects_of(np.arange(64, dtype=np.uint16).reshape(8, 8))
    assert not find_defects(np.zeros((20, 20), np.float32), np.zeros((18, 18)), 0.0)


def test_clean_images_give_no_finding(tmp_path):
    assert found(write(tmp_path)) == {}


def test_a_pixel_that_is_bad_everywhere_belongs_to_the_detector(tmp_path):
    finding = found(write(tmp_path, lambda image, *_: with_pixel(image)))["fixed-defects"]
    assert finding.severity == "note"
    assert finding.values == {"places": [["pixel", 20, 30]]}


def test_a_defect_of_one_class_only_must_be_fixed(tmp_path):
    root = write(tmp_path, lambda i, label, _: with_row(i) if label == "2017" else i)
    finding = found(root)["defects-tell-class"]
    assert finding.severity == "fix"
    assert finding.values["shares"] == {"1050": 0.0, "2017": 1.0}
    assert (
        "Row 41 is bad far more often in some classes than in others (2017: 100 %, 1050: 0 %)"
        in finding.what
    )
    assert len(finding.images) == 20


def test_defects_of_another_detector_move(tmp_path):
    root = write(tmp_path, lambda i, _, n: with_pixel(i, 10) if n % 2 else with_pixel(i, 50))
    finding = found(root)["defects-move"]
    assert finding.severity == "check"
    assert {tuple(p) for p in finding.values["places"]} == {("pixel", 10, 30), ("pixel", 50, 30)}


def test_scattered_bad_pixels_are_noted(tmp_path):
    def change(image, label, number):
        return with_pixel(image, 5 + 2 * number, 8 + (30 if label == "1050" else 0))

    assert set(found(write(tmp_path, change))) == {"scattered-defects"}


def test_open_beam_beside_the_wedge_is_no_border():
    """The plate's shadow reaches through it."""
    rows, columns = np.mgrid[:64, :64]
    image = 9000 * np.exp(-columns / 30)
    image[:, 58:] = 9000
    image = np.random.default_rng(0).poisson(np.where(rows < 30, image, image / 4))
    assert defects_of(image.astype(np.float64)).border == (0, 0, 0, 0)


@pytest.mark.parametrize("glare", [0.08, 0.15])
def test_a_border_may_follow_the_scene_a_little(glare):
    """Light scattered into the shadow of a collimator."""
    image = radiograph(np.random.default_rng(1)).astype(np.float64)
    image[:3] = 60 + glare * image[:3]
    assert defects_of(image).border == (3, 0, 0, 0)


def test_a_white_border_may_be_noisy():
    rng = np.random.default_rng(1)
    image = radiograph(rng).astype(np.float64)
    image[:, :1] = rng.normal(16383, 500, (len(image), 1))
    assert defects_of(image).border == (0, 0, 1, 0)


def test_a_border_is_reported_with_its_width_and_its_share(tmp_path):
    finding = found(write(tmp_path, lambda image, *_: with_border(image)))["border"]
    assert finding.severity == "check"
    assert finding.values["widths"] == [[3, 3, 3, 3]]
    root = write(tmp_path / "b", lambda i, label, _: with_border(i) if label == "1050" else i)
    assert found(root)["border"].severity == "fix"


TURNS = {
    "rotated by 180°": lambda image: image[::-1, ::-1],
    "flipped left-right": lambda image: image[:, ::-1],
    "flipped up-down": lambda image: image[::-1],
    "rotated by 90°": np.rot90,
    "rotated by 270°": lambda image: np.rot90(image, 3),
}


@pytest.mark.parametrize("name", TURNS)
def test_images_that_lie_another_way_round_are_named(tmp_path, name):
    def change(image, label, number):
        return TURNS[name](image) if label == "2017" and number < 6 else image

    finding = found(write(tmp_path, change))["mixed-orientations"]
    assert finding.values["turns"] == {name: 6}
    assert sorted(finding.images) == [f"2017/{i:02}.png" for i in range(6)]
    assert finding.values["shares"] == {"1050": 0.0, "2017": 0.3}
