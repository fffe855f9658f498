"""Writes `tiny.tflite` beside this file: a model of a few kilobytes, for tests without TensorFlow.

    python tests/serving/make_tiny_model.py

It takes one raw image of 40x48 of `tiny_run.raw_image`. Its features are block means of the image,
its decisions are spread over three classes, it has thresholds for abstaining and a detector.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    import keras
    import numpy as np
    from tiny_run import CLASSES, raw_image

    from alloyk.exporting.conversion import write_tflite
    from alloyk.inference.metadata import PROBABILITIES, ModelMetadata, write_metadata
    from alloyk.inference.novelty import FEATURES
    from alloyk.inference.novelty_file import write_detector
    from alloyk.inference.novelty_fitting import fit_novelty, with_threshold
    from alloyk.inference.raw_statistics import raw_statistics
    from alloyk.models.pooled import COARSE_SIDE, coarse_image

    image = keras.Input((40, 48, 1), name="image")
    scaled = keras.layers.Rescaling(1 / 9000, offset=-1.0)(image)
    features = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(scaled))
    scored = keras.ops.concatenate([features, coarse_image(scaled)], axis=-1)
    dense = keras.layers.Dense(len(CLASSES))
    logits = dense(features)
    model = keras.Model(image, {"logits": logits, FEATURES: scored})
    raw = np.stack([raw_image(n)[..., None] for n in range(200)]).astype(np.float32)
    rng = np.random.default_rng(5)
    means = np.asarray(model(raw)[FEATURES])
    blocks = means[:, : -(COARSE_SIDE**2)]
    weights = rng.normal(0, 1, (blocks.shape[1], len(CLASSES)))
    weights *= 2 / (blocks @ weights).std(axis=0)
    dense.set_weights([weights, -(blocks @ weights).mean(axis=0)])

    out = HERE / "tiny.tflite"
    write_tflite(model, out, (40, 48, 1))
    metadata = ModelMetadata(
        CLASSES, PROBABILITIES, simulated=False, depths=("uint16",), brightest=(11000.0, 16383.0),
        thresholds={0.05: 0.6, 0.02: 0.9},
    )  # fmt: skip
    write_metadata(out, metadata)
    statistics = np.stack([raw_statistics(one) for one in raw])
    detector = fit_novelty(means[:100], statistics[:100], COARSE_SIDE**2)
    write_detector(out, with_threshold(detector, detector.distances(means[100:]), statistics[100:]))


if __name__ == "__main__":
    main()
