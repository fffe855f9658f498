"""Train one network for the alloy and for numbers at once: the sum of losses, and its weights.

| weighting | loss of an image, L the alloy's loss, z the standardised error of a number |
|---|---|
| fixed | w L + Σ w_t z_t² |
| learned | e^(−s) L + s/2 + Σ (e^(−s_t) z_t² + s_t) / 2 |

s = log σ² are trained with the network: the likelihood of the alloy as a softmax of logits / σ²,
and of a number as a Gaussian of variance σ², each σ of its own (Kendall, Gal and Cipolla, 2018,
https://arxiv.org/abs/1705.07115, section 3.2). A number that is not known (NaN) adds nothing.
"""

from collections.abc import Sequence

import keras
from keras import ops

from alloyk.models.precision import in_float32, precision
from alloyk.targets import ALLOY, LOGITS, Target


class MultitaskLoss(keras.losses.Loss):
    """The table above, for dictionaries of outputs.

    Args:
        class_loss: Loss over labels and logits.
        targets: The numbers; their spreads are what errors are measured in.
        weights: Weights of the alloy and of each target, positive; None where they are learned.
        log_variances: The s of the alloy and of each target, a variable `(1 + targets,)`; None
            where weights are fixed.

    Shapes: y_true `{"logits": (batch,) int, column: (batch,) float}`; y_pred `{"logits": (batch,
        num_classes), column: (batch, 1)}`.
    """

    def __init__(
        self,
        class_loss: keras.losses.Loss,
        targets: Sequence[Target],
        *,
        weights: Sequence[float] | None = None,
        log_variances=None,
    ):
        super().__init__(name="multitask")
        if (weights is None) == (log_variances is None):
            found = "neither" if weights is None else "both"
            raise ValueError(f"one of `weights` and `log_variances` must be given, got {found}")
        self.class_loss, self.targets = class_loss, tuple(targets)
        self.weights, self.log_variances = weights, log_variances

    def call(self, y_true, y_pred):
        """Return the loss of each image, `(batch,)`."""
        losses = [self.class_loss.call(y_true[LOGITS], y_pred[LOGITS])]
        known = [ops.ones_like(losses[0])]
        for target in self.targets:
            error, is_known = error_of(y_true[target.column], y_pred[target.column])
            losses.append(ops.square(error / target.spread))
            known.append(is_known)
        if self.weights is not None:
            return sum(weight * loss for weight, loss in zip(self.weights, losses, strict=True))
        total = 0.0
        for i, (loss, is_known) in enumerate(zip(losses, known, strict=True)):
            s = self.log_variances[i]
            likelihood = 1.0 if i == 0 else 0.5
            total += likelihood * ops.exp(-s) * loss + 0.5 * s * is_known
        return total


def error_of(y_true, y_pred):
    """Error of each estimate, 0 where the truth is NaN, and 1 or 0 for known or not; `(batch,)`."""
    estimate = ops.reshape(y_pred, (-1,))
    truth = ops.cast(ops.reshape(y_true, (-1,)), estimate.dtype)
    known = ops.isfinite(truth)
    return ops.where(known, estimate - truth, 0.0), ops.cast(known, estimate.dtype)


class MultitaskNetwork(keras.Model):
    """A functional model with a dictionary of outputs, trained with `MultitaskLoss`.

    Args:
        inputs: Keras input.
        outputs: `{"logits": …, column: …}`.
        targets: What the columns are.
        weights: As in `MultitaskLoss`; None learns them.
        name: Name of the model.
    """

    def __init__(self, inputs, outputs, *, targets: Sequence[Target], weights, name=None):
        super().__init__(inputs, outputs, name=name)
        self.targets, self.fixed_weights = tuple(targets), weights
        self.log_variances = None
        if weights is None:
            self.log_variances = self.add_weight(
                shape=(1 + len(self.targets),), initializer="zeros", name="log_variances"
            )
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        self.absolute_errors = [
            keras.metrics.Mean(name=error_name(target.column)) for target in self.targets
        ]

    def compile(self, optimizer, loss):
        """Take the loss over labels and logits; that of the numbers is added here."""
        super().compile(optimizer=optimizer)
        self.multitask_loss = MultitaskLoss(
            loss, self.targets, weights=self.fixed_weights, log_variances=self.log_variances
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.multitask_loss(y, y_pred, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.accuracy.update_state(y[LOGITS], y_pred[LOGITS])
        for metric, target in zip(self.absolute_errors, self.targets, strict=True):
            error, known = error_of(y[target.column], y_pred[target.column])
            metric.update_state(ops.abs(error), sample_weight=known)
        return self.get_metrics_result()

    def in_float32(self) -> "MultitaskNetwork":
        """Return the network in float32: itself, or a copy of one in mixed precision.

        The copy is not compiled.
        """
        plain = keras.Model(self.input, self.output)
        copy = in_float32(plain)
        if copy is plain:
            return self
        with precision("float32"):
            found = MultitaskNetwork(
                copy.input, copy.output, targets=self.targets, weights=self.fixed_weights,
                name=self.name,
            )  # fmt: skip
        if found.log_variances is not None:
            found.log_variances.assign(self.log_variances)
        return found

    def loss_weights(self) -> dict[str, float]:
        """Current weight of each task's loss: the fixed weight, or the learned e^(−s)."""
        weights = self.fixed_weights
        if self.log_variances is not None:
            weights = ops.convert_to_numpy(ops.exp(-self.log_variances)).tolist()
        names = (ALLOY, *(target.column for target in self.targets))
        return dict(zip(names, weights, strict=True))


def error_name(column: str) -> str:
    """Name of the mean absolute error of a column, in logs and in `history.csv`."""
    return f"mae_{column}"
