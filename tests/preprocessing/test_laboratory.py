"""What a laboratory does to an image hardly changes what the default network sees."""

import numpy as np
import pytest

from alloyk.preprocessing import build_preprocessing
from alloyk.robustness.bench import disturbed
from alloyk.robustness.kinds import KINDS
from alloyk.simulator.dataset.simulation import simulate_arrays

FULL_SCALE = 16383.0

# Kind, strength, and the largest mean change of the image, of its range.
CHANGES = [
    ("dead pixels", 1e-4, 0.001),
    ("hot pixels", 1e-4, 0.001),
    ("dead rows", 1, 0.002),
    ("hot columns", 1, 0.002),
    ("dark border", 1, 0.006),
    ("dark border", 2, 0.012),
    ("gain", 0.6, 0.001),
    ("offset", 0.03, 0.01),
    ("bit depth", 8, 0.003),
    ("JPEG", 90, 0.01),
    ("turn", 1, 0.001),
    ("turn", 2, 0.001),
    ("turn", 3, 0.001),
    ("flip left-right", 1, 0.001),
    ("flip up-down", 1, 0.001),
]


@pytest.fixture(scope="module")
def seen():
    """Raw plates, and what the network sees of raw images."""
    counts, _ = simulate_arrays(preset="study", images=40, image_size=64, seed=8)
    layers = build_preprocessing((64, 64), normalize="robust", repair=True, upright=True)
    layers.predict(np.zeros((40, 64, 64, 1), np.float32), batch_size=40, verbose=0)
    plates = [image[..., None] for image in counts]

    def network_input(images):
        return layers.predict(np.stack(images).astype(np.float32), batch_size=40, verbose=0)

    return plates, network_input


@pytest.mark.parametrize(("name", "strength", "largest"), CHANGES)
def test_the_network_sees_nearly_the_same_image(seen, name, strength, largest):
    plates, network_input = seen
    changed = network_input(disturbed(plates, KINDS[name], strength, FULL_SCALE, 0))
    difference = np.abs(changed - network_input(plates)).mean(axis=(1, 2, 3))
    assert difference.max() <= 4 * largest, f"worst image {difference.max():.4f}"
    assert difference.mean() <= largest, f"mean {difference.mean():.4f}"
