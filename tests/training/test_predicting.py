"""Prediction of a split in parts that fit into memory."""

import keras
import numpy as np
import pytest

from alloyk.inference.novelty import FEATURES
from alloyk.inference.novelty_fitting import fit_novelty
from alloyk.models import build_model
from alloyk.models.pooled import COARSE_SIDE, with_features
from alloyk.pipeline import KeptImages
from alloyk.training import predicting
from alloyk.training.predicting import predict_split
from alloyk.training.splits import Split


@pytest.fixture(scope="module")
def split():
    images = np.random.default_rng(0).normal(size=(300, 16, 16, 1)).astype(np.float32)
    return Split(KeptImages(images), np.zeros(300, int))


@pytest.fixture(scope="module")
def network():
    backbone = build_model("cnn", (16, 16, 1), 3, width=4, seed=0)
    return with_features(keras.Sequential([keras.Input((16, 16, 1)), backbone]), FEATURES)


def test_a_split_in_parts_gives_what_it_gives_as_a_whole(network, split, monkeypatch):
    outputs = network.predict(split.images.array, verbose=0)
    detector = fit_novelty(outputs[FEATURES], np.zeros((300, 7)), COARSE_SIDE**2)
    monkeypatch.setattr(predicting, "CHUNK_IMAGES", 128)
    found = predict_split(network, split, detector)
    expected = keras.ops.softmax(outputs["logits"])
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)
    expected = detector.distances(outputs[FEATURES])
    assert found.distances.shape == (300, 3)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-3, atol=1e-3)
    assert predict_split(network, split).distances is None
