"""Check that maps depend on what the network has learned.

The weights are shuffled, first those of the head, then those of every layer, and the maps are
computed again. Maps that do not change would look as convincing for an untrained network.

Reference: [Adebayo et al., 2018](https://arxiv.org/abs/1810.03292).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from alloyk.models.nested import nested_layers

HEAD = ("hidden", "logits")
# Above this, maps count as independent of the weights: half of the ranks' variance is shared.
MAX_CORRELATION = 0.7


@contextmanager
def shuffled_weights(
    network: keras.Model, rng: np.random.Generator, *, head_only: bool
) -> Iterator[None]:
    """Shuffle the entries of every weight tensor while the block runs.

    Shuffling keeps the size of weights and of batch-norm statistics, so signals neither vanish nor
    explode, and destroys what was learned.
    """
    layers = [
        layer
        for layer in nested_layers(network)
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
) -> dict[str, Any]:
    """Compare maps with those of the same network with shuffled weights.

    Args:
        network: The network; its weights are shuffled and restored.
        make_maps: Computes the maps `(n, h, w)` with the current weights.
        maps: Maps of the trained network.
        draws: How many times the weights are shuffled.
        seed: Seed of the shuffling.

    Returns:
        `head` and `all`: the mean over images and draws of Spearman's rank correlation of the
        maps' absolute values, or None where no pair of maps has one; `empty`: the share of
        shuffled maps that are the same everywhere; `passed`: whether `all` is below
        `limit`, None where all trained maps are flat, so that nothing can be compared.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, float | None] = {}
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
        "limit": MAX_CORRELATION,
        "passed": None if all(map(_is_flat, maps)) else (found["all"] or 0) < MAX_CORRELATION,
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


def describe_sanity(found: Mapping[str, Any]) -> str:
    """Describe the result of `sanity_check` in one sentence."""

    def number(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.2f}"

    measured = (
        "rank correlation with maps of the same network with shuffled weights: "
        f"{number(found['head'])} (head), {number(found['all'])} (all layers)"
    )
    if found["passed"] is None:
        return "Sanity check not possible: the maps are empty, so there is nothing to compare."
    if found["passed"]:
        return f"Sanity check passed, the maps depend on the weights: {measured}."
    return (
        "Sanity check FAILED: the maps depend little on the weights and explain nothing: "
        f"{measured}."
    )
