"""Combine classifiers: by their mean probability, or by the count of their votes."""

import numpy as np

# Iterations of `soft_weights`, and the change of a weight at which it stops.
MAX_STEPS = 5000
TOLERANCE = 1e-9


def soft_vote(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the members' probabilities.

    Args:
        probabilities: `(members, n, k)`.
        weights: `(members,)`, sum 1.

    Returns:
        `(n, k)`.
    """
    return np.tensordot(weights, probabilities, axes=1)


def hard_vote(
    decisions: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count one weighted vote per member; ties are broken by the mean probability.

    Args:
        decisions: `(members, n)` int, the class that each member predicted.
        probabilities: `(members, n, k)`.
        weights: `(members,)`, sum 1.

    Returns:
        Each class's share of the votes `(n, k)`, and the predicted classes `(n,)` int.
    """
    k = probabilities.shape[2]
    votes = decisions[..., None] == np.arange(k)
    shares = np.tensordot(weights, votes.astype(np.float64), axes=1)
    # Rounding must not break a tie.
    most = shares >= shares.max(axis=1, keepdims=True) - 1e-12
    mean = soft_vote(probabilities, weights)
    return shares, np.where(most, mean, -1.0).argmax(axis=1)


def soft_weights(probabilities: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Return the weights that minimise the log loss of the weighted mean.

    Found by expectation maximisation. The log loss is convex in the weights, so there is one
    minimum.

    Args:
        probabilities: `(members, n, k)` on images that no member was trained on.
        y_true: `(n,)` int.

    Returns:
        `(members,)`, sum 1; a member that does not lower the log loss gets 0.
    """
    eps = np.finfo(np.float64).eps
    of_true = np.clip(probabilities[:, np.arange(len(y_true)), y_true], eps, 1)
    weights = np.full(len(of_true), 1 / len(of_true))
    for _ in range(MAX_STEPS):
        joint = weights[:, None] * of_true
        responsibilities = joint / joint.sum(axis=0)
        updated = responsibilities.mean(axis=1)
        change = np.abs(updated - weights).max()
        weights = updated
        if change < TOLERANCE:
            break
    weights[weights < 1e-6] = 0
    return weights / weights.sum()


def hard_weights(decisions: np.ndarray, y_true: np.ndarray, classes: int) -> np.ndarray:
    """Weigh members by `log((k − 1) p / (1 − p))`, p = accuracy among k classes.

    The vote is then the most probable class where classes are equally frequent, members err
    independently, and the errors of each are spread evenly over the wrong classes: the weights of
    SAMME (Zhu, Zou, Rosset and Hastie, Multi-class AdaBoost, 2009). A member at chance, `p = 1/k`,
    or below gets 0; if no member is better, all weights are equal. Half an image of each class is
    added to each member's predictions, so that a member without an error gets a finite weight.

    Args:
        decisions: `(members, n)` int, on images that no member was trained on.
        y_true: `(n,)` int.
        classes: k.

    Returns:
        `(members,)`, sum 1.
    """
    right = (decisions == y_true).sum(axis=1) + 0.5
    wrong = (decisions != y_true).sum(axis=1) + 0.5 * (classes - 1)
    weights = np.maximum(np.log((classes - 1) * right / wrong), 0)
    return weights / weights.sum() if weights.any() else np.full(len(right), 1 / len(right))
