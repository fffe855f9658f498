"""Raw statistics by their formulas, the distance by scikit-learn, the share of false alarms."""

import io
import zipfile
from dataclasses import fields

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from tiny_run import raw_image, write_dataset, write_run

from alloyk.errors import ModelError
from alloyk.exporting import export_run
from alloyk.inference import load
from alloyk.inference.novelty import BLOCK, FAR, FEATURES
from alloyk.inference.novelty_file import MEMBER, detector_content, read_detector, write_detector
from alloyk.inference.novelty_fitting import LOCAL, MAX_DIRECTIONS, fit_novelty, with_threshold
from alloyk.inference.raw_statistics import NAMES, raw_statistics
from alloyk.inference.tables import format_csv, format_json
from alloyk.models.pooled import COARSE_SIDE, coarse_image

RNG = np.random.default_rng


def plate(size=(64, 80), noise=2.0, seed=0):
    level = np.broadcast_to(np.linspace(1000, 4000, size[1]), size)
    return np.rint(level + noise * np.sqrt(level) * RNG(seed).standard_normal(size))


def statistic(name, image):
    return raw_statistics(image)[NAMES.index(name)]


def test_statistics_of_a_slope_with_known_noise():
    image = plate()
    assert np.exp(statistic("height", image)) == pytest.approx(64)
    assert np.exp(statistic("width", image)) == pytest.approx(80)
    low, high = np.percentile(image, (1, 99))
    assert np.exp(statistic("level", image)) == pytest.approx(high)
    assert statistic("contrast", image) == pytest.approx((high - low) / high)
    assert np.exp(statistic("noise", image)) == pytest.approx(2, rel=0.05)
    assert statistic("defects", image) < 1e-3
    assert statistic("median", image) == pytest.approx((np.median(image) - low) / (high - low))


def test_the_noise_of_a_large_image_is_that_of_strips_of_it(monkeypatch):
    image = plate((640, 80))
    whole = statistic("noise", image)
    monkeypatch.setattr("alloyk.inference.raw_statistics.STRIP_PIXELS", 80 * 16)
    assert statistic("noise", image) == whole
    monkeypatch.setattr("alloyk.inference.raw_statistics.NOISE_PIXELS", image.size // 4)
    assert statistic("noise", image) != whole
    assert np.exp(statistic("noise", image)) == pytest.approx(2, rel=0.05)


def test_defects_are_counted_and_move_no_other_statistic():
    image = plate()
    before = raw_statistics(image)
    image[20, 30] = 0
    image[40] = 16383  # a row of 64
    image[:, 7] = 0  # a column of 80
    after = raw_statistics(image)
    expected = (1 + 80 + 64 - 1) / image.size
    defects = NAMES.index("defects")
    assert after[defects] - before[defects] == pytest.approx(expected, rel=0.1)
    assert np.exp(after[NAMES.index("noise")]) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (3, 3)])
def test_statistics_of_small_and_constant_images_are_finite(size):
    assert np.isfinite(raw_statistics(np.zeros(size))).all()


def correlated(count, seed=1, d=6):
    mixing = RNG(0).standard_normal((d, d))
    labels = RNG(seed).integers(0, 2, count)
    features = RNG(seed + 1).standard_normal((count, d)) @ mixing + 20 * (1 + labels[:, None])
    return features, labels


def test_the_distance_is_that_to_the_tenth_neighbour_by_scikit_learn():
    features, _ = correlated(400)
    detector = fit_novelty(features, np.zeros((1, len(NAMES))))
    new = correlated(20, seed=7)[0]
    search = NearestNeighbors(n_neighbors=10).fit(normalize(features))
    expected = search.kneighbors(normalize(new))[0][:, -1]
    np.testing.assert_allclose(
        detector.neighbour_distances(new), expected, atol=5e-3
    )  # kept as float16


def test_features_outside_the_directions_of_the_bank_are_far():
    """Of 200 numbers, training varies in 64; what new images have elsewhere is not lost."""
    spread = np.zeros((300, 200))
    spread[:, :64] = 1 + 0.1 * RNG(0).standard_normal((300, 64))
    detector = fit_novelty(spread, np.zeros((1, len(NAMES))))
    assert detector.bank.shape == (300, 64)
    search = NearestNeighbors(n_neighbors=10).fit(normalize(spread))
    new = spread[:20] + np.r_[np.zeros(64), np.full(136, 0.5)]
    expected = search.kneighbors(normalize(new))[0][:, -1]
    assert expected.min() > 0.5
    np.testing.assert_allclose(detector.neighbour_distances(new), expected, atol=5e-3)


def test_many_images_have_the_distances_of_few():
    detector = fit_novelty(correlated(40)[0], np.zeros((1, len(NAMES))))
    new = correlated(BLOCK + 20, seed=7)[0]
    few = np.concatenate([detector.neighbour_distances(part) for part in np.array_split(new, 9)])
    np.testing.assert_allclose(detector.neighbour_distances(new), few, atol=1e-3)


def test_new_images_of_the_same_kind_are_called_unlike_as_often_as_stated():
    features, _ = correlated(2000)
    statistics = np.tile(np.arange(float(len(NAMES))), (2000, 1))
    detector = fit_novelty(features, statistics)
    detector = with_threshold(
        detector, detector.distances(correlated(1000, seed=11)[0]), statistics[:1000]
    )
    assert detector.false_alarms <= 0.01
    new = detector.scores(
        correlated(20000, seed=21)[0], np.tile(np.arange(float(len(NAMES))), (20000, 1))
    )
    assert (new >= 1).mean() == pytest.approx(0.01, abs=0.006)
    far = detector.scores(-features.mean(axis=0, keepdims=True), statistics[:1])
    assert far[0] > 1


def test_the_distance_of_the_picture_is_that_of_mahalanobis_by_scipy():
    features, _ = correlated(400, d=10)
    detector = fit_novelty(features, np.zeros((1, len(NAMES))), picture_size=6)
    assert detector.bank.shape == (400, 4)
    new = correlated(20, seed=7, d=10)[0]
    pictures = features[:, 4:]
    covariance = np.cov(pictures.T, bias=True)
    floor = 1e-3 * np.trace(covariance) / 6
    inverse = np.linalg.inv(covariance + floor * np.eye(6))
    expected = [mahalanobis(one, pictures.mean(axis=0), inverse) for one in new[:, 4:]]
    np.testing.assert_allclose(detector.picture_distances(new), expected, rtol=1e-4)


def test_the_distance_of_the_features_is_that_of_mahalanobis_by_scipy():
    features, _ = correlated(400)
    detector = fit_novelty(features, np.zeros((1, len(NAMES))))
    new = correlated(20, seed=7)[0]
    covariance = np.cov(features.T, bias=True)
    floor = 1e-3 * np.trace(covariance) / 6
    inverse = np.linalg.inv(covariance + floor * np.eye(6))
    expected = [mahalanobis(one, features.mean(axis=0), inverse) for one in new]
    np.testing.assert_allclose(detector.feature_distances(new), expected, rtol=1e-3)


def test_many_features_are_measured_in_their_leading_directions():
    wide = RNG(3).standard_normal((300, 60)) * np.r_[np.full(4, 10.0), np.full(56, 0.1)]
    detector = fit_novelty(wide, np.zeros((1, len(NAMES))))
    assert detector.feature_whitening.shape == (60, MAX_DIRECTIONS)
    far = wide[:1].copy()
    far[0, 0] += 1000
    assert detector.feature_distances(far) > 5 * detector.feature_distances(wide).max()


def test_features_that_are_only_stronger_than_in_training_are_unlike():
    features, _ = correlated(2000, d=10)
    statistics = np.tile(np.arange(float(len(NAMES))), (2000, 1))
    detector = fit_novelty(features, statistics, picture_size=6)
    detector = with_threshold(
        detector, detector.distances(correlated(1000, seed=11, d=10)[0]), statistics[:1000]
    )
    strong = correlated(50, seed=21, d=10)[0]
    strong[:, :4] *= 5  # of the same direction: the neighbours are as near as before
    assert (detector.neighbour_distances(strong) < detector.threshold).all()
    assert (detector.scores(strong, statistics[:50]) >= 1).all()


def test_all_distances_together_keep_the_false_alarm_rate():
    features, _ = correlated(2000, d=10)
    statistics = np.tile(np.arange(float(len(NAMES))), (2000, 1))
    detector = fit_novelty(features, statistics, picture_size=6)
    detector = with_threshold(
        detector, detector.distances(correlated(1000, seed=11, d=10)[0]), statistics[:1000]
    )
    assert detector.false_alarms <= 0.01
    new = correlated(20000, seed=21, d=10)[0]
    scores = detector.scores(new, np.tile(np.arange(float(len(NAMES))), (20000, 1)))
    assert (scores >= 1).mean() == pytest.approx(0.01, abs=0.006)
    strange = new[:100].copy()
    # Features as before, a picture five deviations away.
    strange[:, 4:] = features[:, 4:].mean(axis=0) + 5 * features[:, 4:].std(axis=0)
    assert (detector.neighbour_distances(strange) == detector.neighbour_distances(new[:100])).all()
    assert (detector.scores(strange, statistics[:100]) >= 1).all()


def test_pictures_that_never_change_in_training_are_finite():
    features = np.ones((30, 8))
    detector = fit_novelty(features, np.zeros((1, len(NAMES))), picture_size=4)
    detector = with_threshold(detector, detector.distances(features), np.zeros((30, len(NAMES))))
    assert np.isfinite(detector.scores(features, np.zeros((30, len(NAMES))))).all()
    assert (
        detector.scores(features + np.r_[np.zeros(4), np.ones(4)], np.zeros((30, len(NAMES)))).min()
        >= 1
    )


def test_the_coarse_image_is_the_mean_of_equal_parts():
    images = RNG(0).random((2, 24, 36, 3)).astype(np.float32)
    expected = resize(images.mean(axis=-1).transpose(1, 2, 0), (8, 8), pixels=(24, 36))
    found = np.asarray(coarse_image(images)).reshape(2, 8, 8)
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-6)


def resize(image, size, pixels):
    """Area means through the least common multiple of both sizes."""
    for axis, (old, new) in enumerate(zip(pixels, size, strict=True)):
        fine = np.repeat(image, new, axis=axis)
        shape = (*fine.shape[:axis], new, old, *fine.shape[axis + 1 :])
        image = fine.reshape(shape).mean(axis=axis + 1)
    return image


def test_a_detector_of_an_earlier_version_is_read(tmp_path):
    """Its files lack the coarse image; the network now gives one all the same."""
    content = io.BytesIO()
    np.savez(
        content, bank=np.eye(4, dtype=np.float16), threshold=0.5, lowest=np.zeros(6),
        highest=np.ones(6), false_alarms=0.01,
    )  # fmt: skip
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("alloyk_novelty.npz", content.getvalue())
    detector = read_detector(tmp_path / "model.keras")
    features = np.array([[1, 0, 0, 0, 7, 7], [-1, 0, 0, 0, 7, 7]], np.float32)
    statistics = np.full((2, len(NAMES)), 0.5)
    statistics[:, NAMES.index("median")] = 7  # such a file does not have its range
    # The fourth neighbour of four: at a right angle, and opposite.
    np.testing.assert_allclose(detector.scores(features, statistics), [2**0.5 / 0.5, 4])


def wedge_curves(count, seed=0, contrasts=(0.4, 0.9)):
    """Curves of plates of two kinds, each as thick as it is dark, with small tolerances."""
    kind = RNG(seed).integers(0, 2, count)
    logarithms = np.log(np.array(contrasts))[kind] + 0.01 * RNG(seed + 1).standard_normal(count)
    curves = np.exp(np.stack([logarithms - 1.5, logarithms, np.full(count, 1.6)], axis=1))
    return curves * np.exp(1e-3 * RNG(seed + 2).standard_normal(curves.shape))


def with_curves(curves, validation):
    """A detector with thresholds, of features that say nothing."""
    features = correlated(1000)[0]
    nothing = np.zeros((1000, len(NAMES)))
    detector = fit_novelty(features, nothing, curves=curves)
    new = correlated(len(validation), seed=11)[0]
    return with_threshold(detector, detector.distances(new), nothing[: len(new)], validation)


def test_the_curve_distance_is_that_to_the_nearest_of_training_in_units_of_the_local_spread():
    curves = wedge_curves(3000)
    detector = fit_novelty(correlated(50)[0], np.zeros((1, len(NAMES))), curves=curves)
    # Along a kind of plate the tolerance is ten times the noise, across it is the noise.
    along = np.log(wedge_curves(3000, seed=9)) @ detector.curve_whitening
    search = NearestNeighbors(n_neighbors=1).fit(np.log(curves) @ detector.curve_whitening)
    expected = search.kneighbors(along)[0][:, 0]
    found = detector.curve_distances(wedge_curves(3000, seed=9))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    thicker = wedge_curves(500, seed=9, contrasts=(0.6, 0.6))
    assert detector.curve_distances(thicker).min() > 10 * found.max()


def test_plates_between_those_of_training_are_unlike_by_their_curves_alone():
    detector = with_curves(wedge_curves(2000), wedge_curves(1000, seed=5))
    assert detector.false_alarms <= 0.01
    features, nothing = correlated(1000, seed=21)[0], np.zeros((1000, len(NAMES)))
    same = detector.scores(features, nothing, wedge_curves(1000, seed=31))
    assert (same >= 1).mean() == pytest.approx(0.01, abs=0.01)
    between = wedge_curves(1000, seed=41, contrasts=(0.6, 0.6))
    assert (detector.scores(features, nothing, between) >= 1).all()
    assert (detector.scores(features, nothing) >= 1).mean() < 0.02


def test_an_image_without_a_curve_is_unlike_only_where_training_has_them():
    missing = np.full((1, 3), np.nan)
    one = correlated(1, seed=21)[0], np.zeros((1, len(NAMES))), missing
    assert with_curves(wedge_curves(500), wedge_curves(400, seed=5)).scores(*one) == FAR

    some = wedge_curves(500)
    some[:100] = np.nan
    assert with_curves(some, wedge_curves(400, seed=5)).scores(*one) < FAR
    assert with_curves(wedge_curves(LOCAL), wedge_curves(400, seed=5)).scores(*one) < FAR


def test_curves_are_judged_though_some_of_validation_have_none():
    validation = wedge_curves(1000, seed=5)
    validation[:20] = np.nan
    detector = with_curves(wedge_curves(2000), validation)
    assert detector.false_alarms <= 0.01
    one = correlated(1, seed=21)[0], np.zeros((1, len(NAMES)))
    assert detector.scores(*one, np.full((1, 3), np.nan)) < 1
    between = wedge_curves(1, seed=41, contrasts=(0.6, 0.6))
    assert detector.scores(*one, between) >= 1
    none = with_curves(wedge_curves(2000), np.full((400, 3), np.nan))
    assert not none.judges_curves


def test_a_detector_with_curves_is_the_same_when_read(tmp_path):
    detector = with_curves(wedge_curves(500), wedge_curves(400, seed=5))
    with zipfile.ZipFile(tmp_path / "model.keras", "w"):
        pass
    write_detector(tmp_path / "model.keras", detector)
    curves = np.concatenate([wedge_curves(50, seed=7), np.full((1, 3), np.nan)])
    read = read_detector(tmp_path / "model.keras")
    np.testing.assert_array_equal(read.curve_distances(curves), detector.curve_distances(curves))
    assert read.curve_threshold == detector.curve_threshold
    assert read.missing_curve_score == FAR
    assert len(detector_content(detector)) < 60_000


def same(one, other):
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name), equal_nan=True)
        for field in fields(one)
    )


def test_a_model_without_a_detector_has_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w"):
        pass
    assert read_detector(tmp_path / "model.keras") is None
    assert read_detector(tmp_path) is None


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_damaged_detector_is_refused(tmp_path, kind):
    """Without an error, images unlike those of training would no longer be marked."""
    detector = with_curves(wedge_curves(20), wedge_curves(20, seed=5))
    content = detector_content(detector)
    if kind == "folder":
        model, file, start = tmp_path, tmp_path / MEMBER, 0
    else:
        model = file = tmp_path / "model.tflite"
        start = 30 + len(MEMBER)  # behind the local header of the zip archive
    write_detector(model, detector)
    whole = file.read_bytes()
    assert whole[start : start + len(content)] == content
    errors = []
    for place in RNG(0).integers(0, len(content), 200):
        damaged = bytearray(whole)
        damaged[start + place] ^= 1
        file.write_bytes(damaged)
        try:
            found = read_detector(model)
        except ModelError as error:
            errors.append(str(error))
        else:
            assert found is not None
            assert same(found, detector)  # the byte was a date or the like
    assert len(errors) == 200 if kind == "file" else len(errors) > 100
    text = f"the detector of unlike images in {model} is damaged ("
    assert all(error.startswith(text) for error in errors)
    if kind == "folder":
        before, _, after = whole.rpartition(b"curve_bank")  # in the table of contents
        file.write_bytes(before + b"curve_bans" + after)
        with pytest.raises(ModelError, match="is damaged"):
            read_detector(model)


def test_equal_curves_are_finite():
    curves = np.tile([0.2, 0.9, 5.0], (100, 1))
    detector = with_curves(curves, curves)
    scores = detector.scores(correlated(100)[0], np.zeros((100, len(NAMES))), curves)
    assert np.isfinite(scores).all()


def test_a_raw_statistic_outside_training_is_unlike():
    features, _ = correlated(200)
    statistics = np.stack([raw_statistics(plate(seed=seed)) for seed in range(20)])
    detector = fit_novelty(features, statistics)
    four_times = raw_statistics(4 * plate(seed=30))
    assert detector.raw_scores(four_times[None])[0, NAMES.index("level")] >= 1
    assert detector.raw_scores(raw_statistics(plate(seed=31))[None]).max() < 1


def test_an_inverted_image_is_told_by_the_place_of_its_median():
    """Level, contrast and noise can all be as in training."""
    features, _ = correlated(200)
    wedge = [plate(seed=seed) ** 2 / 4000 for seed in range(21)]  # the median is below the middle
    detector = fit_novelty(features, np.stack([raw_statistics(image) for image in wedge[:20]]))
    assert detector.raw_scores(raw_statistics(wedge[20])[None]).max() < 1
    inverted = raw_statistics(5000 - wedge[20])[None]
    assert detector.raw_scores(inverted)[0, NAMES.index("median")] >= 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained run with a detector for its own test images."""
    folder = tmp_path_factory.mktemp("novelty")
    run = write_run(folder / "run", write_dataset(folder / "data"))
    backend = load(run).backend
    from alloyk.models.pooled import with_features

    network = with_features(backend.model, FEATURES)
    images = np.stack([raw_image(number)[..., None] for number in range(100)]).astype(np.float32)
    features = np.asarray(network(images)[FEATURES])
    statistics = np.stack([raw_statistics(image) for image in images])
    detector = fit_novelty(features[:50], statistics[:50], COARSE_SIDE**2)
    write_detector(
        run / "model.keras",
        with_threshold(detector, detector.distances(features[50:]), statistics[50:]),
    )
    return run


def test_a_run_scores_each_image_and_says_so(run):
    strange = RNG(0).integers(0, 60000, (40, 48)).astype(np.uint16)
    found = load(run).predict([raw_image(200), strange], names=["plate", "strange"])
    assert found.unlike is not None
    assert found.unlike[0] < 1 <= found.unlike[1]
    assert any("1 image is unlike the training images" in note for note in found.notes)
    header, *rows = format_csv(found).splitlines()
    assert header.endswith(",unlike")
    assert float(rows[1].split(",")[-1]) == pytest.approx(found.unlike[1], rel=1e-6)
    assert '"unlike": ' in format_json(found)


@pytest.mark.parametrize(
    ("file_format", "name"),
    [
        pytest.param("savedmodel", "saved", marks=pytest.mark.slow),
        ("tflite", "f.tflite"),
    ],
)
def test_exported_files_give_the_same_scores(run, untimed, tmp_path, file_format, name):
    export_run(run, file_format, tmp_path / name)
    images = [raw_image(number) for number in range(300, 306)]
    expected, found = load(run).predict(images), load(tmp_path / name).predict(images)
    np.testing.assert_allclose(found.unlike, expected.unlike, rtol=1e-3)
