"""A plate reads the same in all eight orientations, in every file format."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alloyk.preprocessing import build_preprocessing
from alloyk.preprocessing.orientation import Upright, ramp, step_share
from alloyk.simulator.dataset.simulation import simulate_arrays

ORIENTATIONS = [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]


@pytest.fixture(scope="module")
def scaled():
    """A function: plates of a preset as the simulator shows them, scaled, `(n, 64, 64, 1)`."""
    scaling = build_preprocessing((64, 64), normalize="robust", repair=True)

    def simulated(preset, seed):
        counts, _ = simulate_arrays(preset=preset, images=60, image_size=64, seed=seed)
        return scaling.predict(counts.astype(np.float32)[..., None], verbose=0)

    return simulated


@pytest.fixture(scope="module")
def plates(scaled):
    return scaled("study", seed=5)


def upright(images):
    return np.asarray(Upright()(images))


@pytest.mark.parametrize("preset", ["study", "alloys5", "hard5"])
def test_plates_of_the_simulator_are_upright(scaled, preset):
    images = scaled(preset, seed=6)
    np.testing.assert_array_equal(upright(images), images)


@pytest.mark.parametrize(("quarters", "mirrored"), ORIENTATIONS)
def test_all_eight_orientations_become_one(plates, quarters, mirrored):
    turned = np.rot90(plates, quarters, axes=(1, 2))
    turned = turned[:, :, ::-1] if mirrored else turned
    np.testing.assert_array_equal(upright(turned.copy()), plates)


def test_images_that_are_not_square_are_mirrored_but_not_turned(plates):
    wide = plates[:, 8:-8]
    for flipped in (wide[:, ::-1], wide[:, :, ::-1], wide[:, ::-1, ::-1]):
        np.testing.assert_array_equal(upright(flipped.copy()), wide)


def test_profiles_against_their_formulas():
    step = np.repeat([[0.2, 0.8]], 32, axis=1).astype(np.float32)
    slope = np.linspace(0, 1, 256, dtype=np.float32)[None]
    assert float(step_share(step)[0, 0]) == pytest.approx(1, abs=1e-5)
    assert float(step_share(slope)[0, 0]) == pytest.approx(0.75, abs=1e-3)
    assert float(ramp(slope)[0, 0]) == pytest.approx(1)
    assert float(ramp(step * 0)[0, 0]) == 0


def test_it_is_the_same_in_a_tflite_file(plates):
    layers = keras.Sequential([keras.Input((64, 64, 1), batch_size=1), Upright()])
    converter = tf.lite.TFLiteConverter.from_keras_model(layers)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    for quarters in range(4):
        image = np.rot90(plates[quarters], quarters).copy()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_array_equal(found[0], plates[quarters])
