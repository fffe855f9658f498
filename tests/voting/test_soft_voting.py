"""The members of a soft vote in one model: equal to their weighted mean, whatever they put out."""

import keras
import numpy as np
import pytest
from scipy.special import softmax

from alloyk.errors import ModelError
from alloyk.imaging import RawLayout
from alloyk.inference import load
from alloyk.inference.metadata import ModelMetadata, read_metadata, write_metadata
from alloyk.voting.soft_voting import save_soft_vote

COLUMN = "thickness_mm"


def write_member(path, seed, classes=("1050", "2017", "5083"), *, estimates=True, **reading):
    """A model from the mean of a raw image to logits, and to a thickness."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 1), name="raw_image")
    mean = keras.layers.Rescaling(0.01)(keras.layers.GlobalAveragePooling2D()(image))
    logits = keras.layers.Dense(3, bias_initializer="random_normal", name="logits")(mean)
    thickness = keras.layers.Dense(1, name=COLUMN)(mean)
    outputs = {"logits": logits, COLUMN: thickness} if estimates else logits
    keras.Model(image, outputs, name="classifier").save(path)
    spreads = {COLUMN: 1.5 + seed} if estimates else {}
    write_metadata(
        path, ModelMetadata(classes, "logits", simulated=bool(seed), spreads=spreads, **reading)
    )
    return path


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (9, 7)).astype(np.uint8) * k for k in (0, 1, 2)]


def members_said(paths, images):
    found = [load(path).predict(images) for path in paths]
    return [one.probabilities for one in found], [one.estimates for one in found]


def test_logits_of_the_vote_give_the_mean_and_numbers_are_averaged(tmp_path, images):
    paths = [write_member(tmp_path / f"{seed}.keras", seed) for seed in range(2)]
    save_soft_vote(paths, np.array([0.75, 0.25]), tmp_path / "vote.keras")
    probabilities, estimates = members_said(paths, images)
    found = load(tmp_path / "vote.keras").predict(images)
    mean = 0.75 * probabilities[0] + 0.25 * probabilities[1]
    np.testing.assert_allclose(found.probabilities, mean, atol=1e-6)
    number = 0.75 * estimates[0][COLUMN] + 0.25 * estimates[1][COLUMN]
    np.testing.assert_allclose(found.estimates[COLUMN], number, rtol=1e-5)
    metadata = read_metadata(tmp_path / "vote.keras")
    assert (metadata.output, metadata.spreads) == ("logits", {COLUMN: 1.5})
    assert metadata.simulated
    assert not (tmp_path / "vote.part.keras").exists()


def test_a_number_that_one_member_lacks_is_left_out(tmp_path, images):
    paths = [
        write_member(tmp_path / "one.keras", 0),
        write_member(tmp_path / "two.keras", 1, estimates=False),
    ]
    save_soft_vote(paths, np.array([0.5, 0.5]), tmp_path / "vote.keras")
    found = load(tmp_path / "vote.keras").predict(images)
    probabilities, _ = members_said(paths, images)
    np.testing.assert_allclose(found.probabilities, np.mean(probabilities, axis=0), atol=1e-6)
    assert not found.estimates


def test_classes_in_another_order_are_put_right(tmp_path, images):
    paths = [
        write_member(tmp_path / "one.keras", 0),
        write_member(tmp_path / "two.keras", 1, ("5083", "1050", "2017")),
    ]
    save_soft_vote(paths, np.array([0.5, 0.5]), tmp_path / "vote.keras")
    one, two = members_said(paths, images)[0]
    found = load(tmp_path / "vote.keras").predict(images)
    assert found.classes == ("1050", "2017", "5083")
    np.testing.assert_allclose(found.probabilities, (one + two[:, [1, 2, 0]]) / 2, atol=1e-6)


def test_a_member_without_weight_is_left_out(tmp_path, images):
    paths = [write_member(tmp_path / f"{seed}.keras", seed) for seed in range(2)]
    save_soft_vote(paths, np.array([0.0, 1.0]), tmp_path / "vote.keras")
    alone, vote = load(paths[1]).predict(images), load(tmp_path / "vote.keras").predict(images)
    np.testing.assert_allclose(vote.probabilities, alone.probabilities, atol=1e-6)
    members = [layer.name for layer in keras.saving.load_model(tmp_path / "vote.keras").layers]
    assert [name for name in members if name in ("member_1", "member_2")] == ["member_2"]


def test_a_probability_of_0_stays_a_number(tmp_path):
    image = keras.Input((None, None, 1))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    logits = keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant([[1, -1]]))(mean)
    keras.Model(image, logits).save(tmp_path / "sure.keras")
    write_metadata(tmp_path / "sure.keras", ModelMetadata(("a", "b"), "logits", simulated=False))
    save_soft_vote([tmp_path / "sure.keras"], np.ones(1), tmp_path / "vote.keras")
    found = load(tmp_path / "vote.keras").predict(np.full((4, 4), 200, dtype=np.uint8))
    np.testing.assert_allclose(found.probabilities, [softmax([200, -200])], atol=1e-12)


@pytest.mark.parametrize(
    ("key", "value"),
    [("page", "mean"), ("raw", RawLayout("uint16", (9, 7))), ("hdf5_path", "entry/frames")],
)
def test_a_vote_reads_files_as_its_members_do(tmp_path, key, value):
    one, two = (write_member(tmp_path / f"{seed}.keras", seed, **{key: value}) for seed in range(2))
    save_soft_vote([one, two], np.array([0.5, 0.5]), tmp_path / "vote.keras")
    assert getattr(read_metadata(tmp_path / "vote.keras"), key) == value
    other = write_member(tmp_path / "other.keras", 2)
    with pytest.raises(ModelError, match=rf"same data\.{key}, got .* and none; combine runs"):
        save_soft_vote([one, other], np.array([0.5, 0.5]), tmp_path / "vote.keras")
