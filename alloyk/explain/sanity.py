"""Does a map depend on what the network has learnt? If not, it is a picture of the image alone.

The parameters are put out of order, first of the head, then of every layer, and the maps are made
again. Maps that hardly change would look as convincing for a network that has learnt nothing.

Reference: [Adebayo et al., 2018](https://arxiv.org/abs/1810.03292).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np

HEAD = ("hidden", "logits")
# Above this the maps are said not to depend on the weights: half of the ranks' variance is shared.
MOST_CORRELATION = 0.7


@contextmanager
def shuffled_weights(
    network: keras.Model, rng: np.random.Generator, *, head_only: bool
) -> Iterator:
    """Every weight tensor with its entries in random order while the block runs.

    Shuffling keeps the size of weights and of batch-norm statistics, so that signals neither die
    nor explode on their way, and destroys what was learnt.
    """
    layers = [
        layer
        for layer in network._flatten_layers()
        if layer.weights and not isinstance(layer, keras.Model)
        if not head_only or layer.name in HEAD
    ]
    kept = [layer.get_weights() for layer in layers]
    try:
        for layer, weights in zip(layers, kept, strict=True):
            layer.set_weights([rng.permuted(w.ravel()).reshape(w.shape) for w in weights])
        yield
    finally:
        for layer, weights in zip(layers, kept, strict=True):
            layer.set_weights(weights)


def sanity_check(
    network: keras.Model,
    make_maps: Callable[[], np.ndarray],
    maps: np.ndarray,
    *,
    draws: int = 3,
    seed: int = 0,
) -> dict:
    """Compare maps with those of the same network with its weights out of order.

    Args:
        network: Whose weights are shuffled meanwhile.
        make_maps: Makes the maps `(n, h, w)` of the network as it is then.
        maps: Those of the trained network.
        draws: How many times the weights are shuffled.
        seed: Of the shuffling.

    Returns:
        ``head`` and ``all``: the mean over images and draws of Spearman's rank correlation of the
        maps' absolute values, or None where no pair of maps has one; ``empty``: the share of
        shuffled maps that are the same everywhere; ``passed``: whether ``all`` is below
        ``limit``.
    """
    rng = np.random.default_rng(seed)
    found: dict = {}
    empty = []
    for name, head_only in (("head", True), ("all", False)):
        correlations = []
        for _ in range(draws):
            with shuffled_weights(network, rng, head_only=head_only):
                others = make_maps()
            empty += [_is_flat(other) for other in others]
            pairs = zip(maps, others, strict=True)
            correlations += [rank_correlation(one, other) for one, other in pairs]
        defined = [value for value in correlations if value is not None]
        found[name] = float(np.mean(defined)) if defined else None
    return {
        **found,
        "empty": float(np.mean(empty)),
        "images": len(maps),
        "draws": draws,
        "limit": MOST_CORRELATION,
        "passed": found["all"] is None or found["all"] < MOST_CORRELATION,
    }


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's rank correlation of two maps' absolute values; None where one is flat.

    >>> rank_correlation(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[-1.0, -4.0], [9.0, 16.0]]))
    1.0
    """
    from scipy.stats import rankdata

    if _is_flat(one) or _is_flat(other):
        return None
    ranks = [rankdata(np.abs(values).ravel()) for values in (one, other)]
    return float(np.round(np.corrcoef(*ranks)[0, 1], 12))


def _is_flat(values: np.ndarray) -> bool:
    size = np.abs(values)
    return not np.isfinite(values).all() or float(np.ptp(size)) <= 1e-6 * float(size.max(initial=0))


def describe_sanity(found: dict) -> str:
    """One sentence on what `sanity_check` found."""

    def number(value):
        return "undefined" if value is None else f"{value:.2f}"

    measured = (
        f"rank correlation with the maps of the same network with weights out of order: "
        f"{number(found['head'])} (head), {number(found['all'])} (all layers)"
    )
    if found["passed"]:
        return f"Sanity check passed, the maps depend on the weights: {measured}."
    return (
        "Sanity check FAILED, the maps hardly depend on what was learnt; take them for pictures "
        f"of the images, not for explanations: {measured}."
    )
