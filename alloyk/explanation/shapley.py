"""SHAP: the contribution of each pixel, or each region, to the log-odds of a class.

References: [Lundberg and Lee, 2017](https://arxiv.org/abs/1705.07874); the gradient explainer
computes expected gradients, [Erion et al., 2021](https://arxiv.org/abs/1906.10670).
"""

from types import ModuleType

import keras
import numpy as np
import tensorflow as tf

from alloyk.errors import AlloykError
from alloyk.explanation.model_parts import log_odds

# Hidden pixels are replaced by a blur of this width, as a fraction of the image's side: wider than
# edges and texture, narrower than the wedge.
BLUR = 0.15
EVALUATED_TOGETHER = 64


def _shap() -> ModuleType:
    """Import the library, which is an extra because its dependencies take 200 MB."""
    try:
        import shap
    except ImportError as error:
        raise AlloykError(
            "--method shap needs the package shap, which is not installed; run "
            "`scripts/install explain`, or `pip install shap` in alloyk's environment"
        ) from error
    return shap


class GradientSHAP:
    """SHAP values of every pixel by expected gradients.

    Args:
        network: From gray images `(n, H, W, 1)` to logits.
        background: `(m, H, W)` reference images: values are relative to the mean log-odds over
            them.
        samples: Points between background and image; the error falls with their square root.
        seed: Seed of the points.

    Attributes:
        settings: Parameters of the maps.
    """

    name = "shap gradient"
    signed = True
    batch = 1
    checked_images, draws = 4, 2

    def __init__(
        self, network: keras.Model, background: np.ndarray, *, samples: int = 200, seed: int = 0
    ):
        self._background = background[..., None].astype(np.float32)
        pixels = keras.Input(network.input_shape[1:])
        # A list, as SHAP calls it.
        self._model = keras.Model([pixels], log_odds(network(pixels)))
        self._explainer = _shap().GradientExplainer(self._model, self._background)
        self._seed = seed
        self.settings = {"samples": samples, "background_images": len(background)}

    def __call__(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Compute maps `(n, H, W)` in units of log-odds.

        Each sums to the log-odds minus `reference`, up to the sampling error.
        """
        values, _ = self._explainer.shap_values(
            images[..., None].astype(np.float32),
            nsamples=self.settings["samples"],
            ranked_outputs=classes[:, None],
            output_rank_order="custom",
            rseed=self._seed,
        )
        return np.asarray(values)[..., 0, 0]

    def reference(self, images: np.ndarray) -> np.ndarray:
        """Return the log-odds `(n, k)` that the values are relative to."""
        mean = np.mean(self._model.predict_on_batch([self._background]), axis=0)
        return np.broadcast_to(mean, (len(images), len(mean)))


class PartitionSHAP:
    """SHAP values of ever smaller rectangles (Owen values), each blurred or unchanged.

    Needs no background images and no gradients.

    Args:
        network: From gray images `(n, H, W, 1)` to logits.
        samples: Evaluations of the network per image; more give smaller rectangles.

    Attributes:
        settings: Parameters of the maps.
    """

    name = "shap partition"
    signed = True
    batch = 1
    checked_images, draws = 4, 2

    def __init__(self, network: keras.Model, *, samples: int = 1000):
        _shap()
        self._call = tf.function(
            lambda images: log_odds(network(images, training=False)),
            input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)],
        )
        self.settings = {"samples": samples}

    def __call__(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Compute maps `(n, H, W)`, in log-odds; each sums to the log-odds minus `reference`."""
        return np.stack([self._map(*pair) for pair in zip(images, classes, strict=True)])

    def _map(self, image: np.ndarray, number: int) -> np.ndarray:
        shap = _shap()
        masker = shap.maskers.Image(blurred(image)[..., None])
        explainer = shap.PartitionExplainer(
            lambda batch: self._call(batch.astype(np.float32)).numpy()[:, number], masker
        )
        found = explainer(
            image[None, ..., None].astype(np.float32),
            max_evals=self.settings["samples"],
            batch_size=EVALUATED_TOGETHER,
            silent=True,
        )
        return found.values[0, ..., 0]

    def reference(self, images: np.ndarray) -> np.ndarray:
        """Return the log-odds `(n, k)` that the values are relative to."""
        hidden = np.stack([blurred(image) for image in images])
        return self._call(hidden[..., None]).numpy()


def blurred(image: np.ndarray) -> np.ndarray:
    """Return an image `(H, W)` without edges and texture, float32, mirrored at its borders."""
    from scipy.ndimage import gaussian_filter

    sigma = [BLUR * side for side in image.shape]
    return gaussian_filter(image.astype(np.float32), sigma, mode="reflect")
