"""Splits: exact sizes, no shared plate, the same draw for the same seed, or a refusal."""

import subprocess
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloyk.data import split_table
from alloyk.data.apportion import apportion, deal, deal_pure_groups
from alloyk.data.splits import nominal_thickness
from alloyk.errors import AlloykError

RATIOS = (0.70, 0.15, 0.15)


def plates(labels=("1050", "2017"), thicknesses=(1, 2, 5), per_stratum=20, images_per_plate=5):
    rows = [
        (f"{label}/p{label}-{mm}-{plate}_{image:02}.png", label, f"p{label}-{mm}-{plate}", mm)
        for label, mm, plate, image in product(
            labels, thicknesses, range(per_stratum), range(images_per_plate)
        )
    ]
    return pd.DataFrame(rows, columns=["path", "label", "plate_id", "thickness_mm"])


def counts(table, split, columns=("label", "thickness_mm")):
    return table.groupby([*columns, split.to_numpy()]).size().unstack(fill_value=0)


def test_six_equal_strata_are_split_exactly():
    table = plates(per_stratum=1000, images_per_plate=1)
    split = split_table(table, RATIOS, "none", seed=3)
    assert split.value_counts().to_dict() == {"train": 4200, "val": 900, "test": 900}
    assert (counts(table, split)[["train", "val", "test"]] == [700, 150, 150]).all(axis=None)


def test_plates_never_cross_splits_in_any_of_200_draws():
    table = plates(per_stratum=7, images_per_plate=3)
    seen = set()
    for seed in range(200):
        split = split_table(table, RATIOS, seed=seed)
        assert (split.groupby(table["plate_id"]).nunique() == 1).all()
        assert (counts(table, split) > 0).all(axis=None)
        seen.add(tuple(split))
    assert len(seen) == 200  # the seed decides


def test_remainders_are_dealt_out_so_that_the_sum_holds():
    # Ten plates in each of six strata: 7 + 1.5 + 1.5. Rounding each stratum alone would give all
    # halves to val: 42, 12, 6.
    table = plates(per_stratum=10, images_per_plate=1)
    assert split_table(table, RATIOS).value_counts().to_dict() == {"train": 42, "val": 9, "test": 9}


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    shares=st.sampled_from([RATIOS, (0.8, 0.2), (0.5, 0.3, 0.2), (0.2,) * 5, (0.34, 0.33, 0.33)]),
)
def test_apportion_rounds_every_quota_and_the_total(sizes, shares):
    sizes, shares = np.array(sizes), np.array(shares)
    result = apportion(sizes, shares)
    np.testing.assert_array_equal(result.sum(axis=1), sizes)
    quotas = np.outer(sizes, shares)
    large = np.floor(quotas).min(axis=1) >= 1  # where no part had to be given its one
    assert (np.abs(result - quotas)[large] < 1).all()
    if large.all():
        assert (np.abs(result.sum(axis=0) - quotas.sum(axis=0)) < 1).all()
    enough = sizes >= len(shares)
    assert (result[enough] > 0).all()


def test_the_split_depends_on_the_paths_alone():
    table = plates(per_stratum=5)
    split = split_table(table, RATIOS, seed=1)
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(
        split_table(shuffled, RATIOS, seed=1).sort_index(), split.sort_index()
    )
    code = (
        "import sys; sys.path.insert(0, 'tests/data'); from test_splits import *;"
        "print(''.join(s[1] for s in split_table(plates(per_stratum=5), RATIOS, seed=1)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "77"}, capture_output=True, text=True
    )
    assert other.stdout.strip() == "".join(s[1] for s in split), other.stderr


def test_plates_of_unequal_size_leave_the_images_near_their_ratio():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 40, 80)
    table = pd.DataFrame({"plate_id": np.repeat(np.arange(80), sizes)})
    table["path"] = [f"{i:05}.png" for i in range(len(table))]
    table["label"] = np.where(table["plate_id"] < 40, "1050", "2017")
    shares = split_table(table, RATIOS).value_counts(normalize=True)
    for name, ratio in zip(("train", "val", "test"), RATIOS, strict=True):
        assert shares[name] == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize(
    ("sizes", "images"),
    [
        ([50] + [10] * 9, [100, 20, 20]),
        ([50, 50] + [10] * 4, [100, 20, 20]),
        ([100, 10, 10], [100, 10, 10]),
        # The shares 231, 49.5, 49.5 cannot be had.
        ([100] * 3 + [1] * 30, [206, 24, 100]),
    ],
)
def test_plates_of_very_unequal_size_come_near_the_ratio_too(sizes, images):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        parts = deal_pure_groups(np.array(sizes)[:, None], np.array(RATIOS), rng)
        found = np.bincount(parts, sizes)
        assert found[0] == images[0]
        assert sorted(found[1:]) == images[1:]


def test_plates_of_nearly_equal_size_are_dealt_like_equal_ones():
    for size in (9, 10):
        sizes = np.array([10] * 19 + [size])
        parts = deal_pure_groups(sizes[:, None], np.array(RATIOS), np.random.default_rng(0))
        assert np.bincount(parts).tolist() == [14, 3, 3]


def test_one_plate_per_alloy_and_thickness_is_refused_with_the_way_on():
    table = plates(per_stratum=1, images_per_plate=30)
    with pytest.raises(AlloykError) as error:
        split_table(table, RATIOS)
    message = str(error.value)
    assert "by plate_id into train, val, test needs at least 3 groups of each class" in message
    assert "class '1050' at 1 mm has 1 (and 5 more with too few)" in message
    assert 'group_by="none"' in message
    assert "\n" not in message
    split = split_table(table, RATIOS, "none")
    assert split.value_counts().to_dict() == {"train": 126, "val": 27, "test": 27}


def test_a_regular_expression_groups_by_its_first_group():
    table = pd.DataFrame(
        {
            "path": [f"c{c}/B{s:04}_{i:03}.jpg" for c in (0, 1) for s in range(8) for i in (0, 1)],
            "label": ["c0"] * 16 + ["c1"] * 16,
        }
    )
    series = table["path"].str.extract(r"/(B\d+)_", expand=False)
    for pattern in (r"^(B\d+)_", r"B\d{4}"):
        split = split_table(table, RATIOS, pattern)
        assert (split.groupby(series).nunique() == 1).all()  # series span both classes
        assert (counts(table, split, ["label"]) > 0).all(axis=None)


def days(count, images=12):
    """Both classes on each day."""
    rows = [(f"{label}/{day}_{i}.png", label, str(day)) for label in ("1050", "2017")
            for day in range(count) for i in range(images)]  # fmt: skip
    return pd.DataFrame(rows, columns=["path", "label", "day"])


@pytest.mark.parametrize("count", [3, 4, 5])
def test_few_days_with_all_classes_are_split_by_day(count):
    for seed in range(10):
        table = days(count)
        split = split_table(table, RATIOS, "day", seed)
        assert (split.groupby(table["day"]).nunique() == 1).all()
        assert split.value_counts().to_dict() == {"train": 24 * (count - 2), "val": 24, "test": 24}


def test_mixed_groups_that_cannot_be_split_are_explained():
    labels_of_days = {"0": "ab", "1": "ac", "2": "bc", "3": "abc"}  # the first three fill one split
    rows = [(f"{day}{c}.png", c, day) for day, labels in labels_of_days.items() for c in labels]
    table = pd.DataFrame(rows, columns=["path", "label", "day"])
    with pytest.raises(AlloykError, match="if the values of day begin again in each class"):
        split_table(table, RATIOS, "day")


def test_a_plate_at_two_thicknesses_stays_whole():
    table = plates(per_stratum=6)
    table["plate_id"] = table["plate_id"].str.replace(r"-\d-", "-", regex=True)
    split = split_table(table, RATIOS)
    assert (split.groupby(table["plate_id"]).nunique() == 1).all()


@pytest.mark.parametrize(
    ("change", "group_by", "message"),
    [
        ({}, "plate[", r"must be a column .* or a regular expression, got 'plate\[': unterminated"),
        ({}, r"series_(\d+)", r"does not match 60 of 60 \(first: 'p1050-1-0_00.png'\)"),
        ({"plate_id": ""}, None, "got none in 60 rows"),
        ({"plate_id": None}, None, "got none in 60 rows"),
    ],
)
def test_wrong_groups_are_explained(change, group_by, message):
    table = plates(thicknesses=(1,), per_stratum=6).assign(**change)
    with pytest.raises(AlloykError, match=message):
        split_table(table, RATIOS, group_by)


@pytest.mark.parametrize(
    "ratios", [(0.7, 0.3), (0.7, 0.2, 0.2), (-0.1, 0.6, 0.5), (0, 0.5, 0.5), (0.5, np.nan, 0.5)]
)
def test_wrong_ratios_are_refused(ratios):
    with pytest.raises(AlloykError, match="three numbers from 0 to 1 that sum to 1"):
        split_table(plates(), ratios)


def test_a_share_of_zero_leaves_that_split_empty():
    split = split_table(plates(per_stratum=10), (0.8, 0.0, 0.2))
    assert set(split) == {"train", "test"}


def test_a_class_of_two_images_cannot_fill_three_splits():
    table = plates(per_stratum=10, images_per_plate=1)
    table = pd.concat([table, table.iloc[:2].assign(path=["x", "y"], label="7075")])
    with pytest.raises(AlloykError, match=r"class '7075' must have at least 3 images, .* got 2"):
        split_table(table.reset_index(drop=True), RATIOS, "none")


def test_a_rare_thickness_does_not_stop_a_split_by_image():
    table = plates(per_stratum=10, images_per_plate=1)
    table.loc[0, "thickness_mm"] = 9
    split = split_table(table, RATIOS, "none")
    assert split.value_counts().to_dict() == {"train": 42, "val": 9, "test": 9}


def test_drawn_thicknesses_are_taken_for_their_nominal_ones():
    rng = np.random.default_rng(0)
    nominal = rng.choice([1.0, 1.2, 2.0, 5.0], 4000)
    drawn = nominal * (1 + np.clip(rng.normal(size=4000), -3, 3) * 0.04 / 3)
    found = nominal_thickness(drawn)
    assert len(set(found)) == 4
    np.testing.assert_allclose(found, nominal, rtol=0.01)
    assert np.isnan(nominal_thickness(np.array([1.0, np.nan]))[1])


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 30), min_size=40, max_size=200),
    labels=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_table_is_split_by_group_or_refused(groups, labels, seed):
    table = pd.DataFrame({"plate_id": groups})
    table["path"] = [f"{i}.png" for i in range(len(table))]
    table["label"] = (table["plate_id"] % labels).astype(str)
    try:
        split = split_table(table, RATIOS, seed=seed)
    except AlloykError:
        assert table.groupby("label")["plate_id"].nunique().min() < 3
        return
    assert (split.groupby(table["plate_id"]).nunique() == 1).all()
    assert (counts(table, split, ["label"]) > 0).all(axis=None)


def test_deal_makes_folds_of_equal_size():
    strata = np.repeat([0, 1, 2], [50, 25, 10])
    folds = deal(strata, np.full(5, 0.2), np.random.default_rng(0))
    for stratum, size in enumerate((10, 5, 2)):
        np.testing.assert_array_equal(np.bincount(folds[strata == stratum]), [size] * 5)
