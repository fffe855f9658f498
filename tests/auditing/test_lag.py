"""A ghost of the image before is found; likeness of consecutive images is not taken for one."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from alloyk.auditing import audit_dataset
from alloyk.auditing.lag import LAG, lag

SIZE = 64


def scene(top, left, height=0.3, width=0.3):
    """Counts of a wedge with a plate over a part of it, seen with scatter."""
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    plate = (rows > top) & (rows < top + height) & (columns > left) & (columns < left + width)
    blurred = gaussian_filter(plate.astype(np.float32), 1)
    scattered = gaussian_filter(plate.astype(np.float32), 8)
    return (12000 + 3000 * columns) * (1 - 0.4 * (0.9 * blurred + 0.1 * scattered))


def at_random(rng, number):
    return rng.uniform(0.05, 0.6, 2)


def in_turns(rng, number):
    """Four images of a plate, nearly at one place, then another plate."""
    places = np.random.default_rng(number // 4).uniform(0.05, 0.6, 2)
    return places + rng.normal(0, 0.02, 2)


def moving(direction):
    return lambda rng, number: (0.3, 0.3 + direction * 0.25 * (number / 30 - 1))


def stepping(rng, number):
    """A plate that moves by half its width, and jumps back at the end."""
    return 0.3, (0.05 + 0.13 * number) % 0.6


def write(root, where, ghost=0.0, count=60, seed=0, names="{number:03d}"):
    """Consecutive images, each with a fraction of the light of the one before."""
    rng = np.random.default_rng(seed)
    before = 0.0
    for number in range(count):
        light = scene(*where(rng, number))
        counts = light + ghost * before + rng.normal(0, 60, light.shape)
        before = light
        label = ("1050", "2017")[number % 2]
        path = root / label / f"{names.format(number=number)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(counts.astype(np.uint16)).save(path)
    return root


def findings(root, **options):
    return list(lag(audit_dataset(root, **options)))


@pytest.mark.parametrize("ghost", [0.01, 0.03])
def test_a_ghost_of_the_image_before_is_measured(tmp_path, ghost):
    (finding,) = findings(write(tmp_path, at_random, ghost))
    assert finding.severity == "check"
    assert finding.values["fraction"] == pytest.approx(ghost, rel=0.25)
    assert f"{100 * finding.values['fraction']:.1f} % as strong" in finding.what


@pytest.mark.parametrize("where", [at_random, in_turns, moving(1), moving(-1), stepping])
@pytest.mark.parametrize("seed", range(3))
def test_images_that_resemble_their_neighbours_have_no_lag(tmp_path, where, seed):
    assert findings(write(tmp_path, where, seed=seed)) == []


def test_a_ghost_of_the_image_after_is_none(tmp_path):
    # As if the order of the names were not that of the exposures.
    reverse = write(tmp_path / "a", at_random, 0.03)
    for path in sorted(reverse.glob("*/*.png")):
        path.rename(path.with_stem(f"{999 - int(path.stem)}"))
    assert findings(reverse) == []


def test_the_order_of_time_is_taken_where_it_is_known(tmp_path):
    write(tmp_path, at_random, 0.03)
    rng, rows = np.random.default_rng(1), []
    for path, name in zip(
        sorted(tmp_path.glob("*/*.png"), key=lambda path: path.stem),
        rng.permutation(60),
        strict=True,
    ):
        renamed = path.rename(path.with_stem(f"x{name}"))
        time = f"2026-03-01T{len(rows) // 60:02}:{len(rows) % 60:02}:00"
        rows.append((str(renamed.relative_to(tmp_path)), path.parent.name, time))
    assert findings(tmp_path) == []
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "acquired"), *rows])
    (finding,) = findings(tmp_path)
    assert finding.values["fraction"] == pytest.approx(0.03, rel=0.25)


def test_classes_taken_one_after_the_other_with_the_same_names(tmp_path):
    for label in ("1050", "2017"):
        part = write(tmp_path / "parts" / label, at_random, 0.02, seed=int(label))
        (tmp_path / "data" / label).mkdir(parents=True)
        for path in part.glob("*/*.png"):
            path.rename(tmp_path / "data" / label / path.name)
    (finding,) = findings(tmp_path / "data")
    assert finding.values["fraction"] == pytest.approx(0.02, rel=0.25)


def test_an_unreadable_image_and_few_images_are_no_error(tmp_path):
    root = write(tmp_path / "some", at_random, 0.03)
    next(root.glob("*/030.png")).write_bytes(b"no image")
    assert len(findings(root)) == 1
    assert findings(write(tmp_path / "few", at_random, 0.03, count=10)) == []


def test_a_ghost_too_faint_to_matter_is_not_reported(tmp_path):
    assert findings(write(tmp_path, at_random, LAG / 4, count=120)) == []
