"""Optimizers of Keras that update a weight and its moments with one operator of TensorFlow.

Keras makes about ten operators of an update, each of which passes over the weights or the moments
in memory. TensorFlow's own do it in one pass, by the same formulas (`scripts/bench_fused.py`). With
another backend, on a GPU, on several devices, and for gradients or weights of another kind, the
update is Keras' own.

Keras computes the learning rate of a schedule again for each weight that decays; these optimizers
compute it once a step, which makes the graph smaller.
"""

from typing import Any

import keras


class Fused:
    """Mixin before a Keras optimizer: one operator for each weight, one learning rate for all.

    Subclasses give `fused_step`, which replaces `update_step` where possible.
    """

    _rate_of_step: Any = None

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the weights from their gradients, all with one learning rate."""
        if keras.backend.backend() == "tensorflow" and not _distributed():
            self._rate_of_step = self._get_current_learning_rate()
        try:
            super().apply(grads, trainable_variables)  # type: ignore[misc]
        finally:
            self._rate_of_step = None

    def _get_current_learning_rate(self) -> Any:
        """The value of `learning_rate`; while a step is applied, the one computed at its start."""
        if self._rate_of_step is not None:
            return self._rate_of_step
        return super()._get_current_learning_rate()  # type: ignore[misc]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a weight from its gradient."""
        if keras.backend.backend() != "tensorflow" or not self.can_fuse(gradient, variable):
            super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]
            return
        self.fused_step(gradient, variable, learning_rate)

    def can_fuse(self, gradient: Any, variable: Any) -> bool:
        import tensorflow as tf

        return (
            not _distributed()
            and isinstance(gradient, tf.Tensor)
            and isinstance(variable, tf.Variable)
            and gradient.dtype == variable.dtype == tf.float32
        )

    def fused_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """The update by one operator."""
        raise NotImplementedError

    def _handle(self, moments: Any, variable: Any) -> Any:
        """TensorFlow's handle of a weight's moment."""
        return moments[self._get_variable_index(variable)].value.handle  # type: ignore[attr-defined]


def _distributed() -> bool:
    """Whether this is called under a strategy of TensorFlow, such as for several devices."""
    import tensorflow as tf

    return tf.distribute.has_strategy()


class _FusedAdam(Fused):
    """Kingma and Ba (2015, end of section 2), as Keras has it."""

    # Of the Keras optimizer that follows among the bases.
    iterations: Any
    beta_1: float
    beta_2: float
    epsilon: float
    _momentums: Any
    _velocities: Any

    def fused_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import tensorflow as tf

        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._handle(self._momentums, variable),
            v=self._handle(self._velocities, variable),
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Adam(_FusedAdam, keras.optimizers.Adam):
    """`keras.optimizers.Adam`."""


class AdamW(_FusedAdam, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`."""


class SGD(Fused, keras.optimizers.SGD):
    """`keras.optimizers.SGD`."""

    def fused_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import tensorflow as tf

        if not self.momentum:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=variable.handle, alpha=learning_rate, delta=gradient
            )
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self._handle(self.momentums, variable),
            lr=learning_rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class RMSprop(Fused, keras.optimizers.RMSprop):
    """`keras.optimizers.RMSprop`.

    TensorFlow's operator always has momentum. Without it, what would be the momentum is written
    into variables that are not part of the optimizer's state, one for each shape.
    """

    def build(self, variables: Any) -> None:
        """Create the state of the optimizer for the weights."""
        super().build(variables)
        self.unused: dict[tuple[int, ...], Any] = {}
        if keras.backend.backend() == "tensorflow" and not self.momentum:
            import tensorflow as tf

            shapes = {tuple(variable.shape) for variable in variables}
            self.unused = {shape: tf.Variable(tf.zeros(shape)) for shape in shapes}

    def fused_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import tensorflow as tf

        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._handle(self._velocities, variable),
            mom=self._handle(self._momentums, variable)
            if self.momentum
            else self.unused[tuple(variable.shape)].handle,
            lr=learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
        )
