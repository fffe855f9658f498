"""Keras' `fit` under TensorFlow's MultiWorkerMirroredStrategy.

Keras 3 does not support it (https://github.com/keras-team/keras/issues/20585): two private
functions of its TensorFlow trainer fail with several workers. `let_keras_fit_over_workers` replaces
them, for the versions of Keras with which `tests/training/test_multi_worker.py` has passed.
"""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from alloyk.errors import ConfigError
from alloyk.runtime.peers import GRACE_S, end_process

TESTED_KERAS = ("3.15",)
"""Versions of Keras whose private functions were tested."""


def refuse_untested_keras(version: str = keras.__version__) -> None:
    """Raise if the private functions of this version of Keras were never tested.

    >>> refuse_untested_keras("3.99.0")
    Traceback (most recent call last):
    ...
    alloyk.errors.ConfigError: train.strategy=multi-worker needs Keras 3.15, got 3.99.0; ...
    """
    if ".".join(version.split(".")[:2]) not in TESTED_KERAS:
        tested = " or ".join(TESTED_KERAS)
        raise ConfigError(
            f"train.strategy=multi-worker needs Keras {tested}, got {version}; install "
            f"keras=={TESTED_KERAS[-1]}.*, or train on one machine"
        )


def let_keras_fit_over_workers() -> None:
    """Replace two private functions of Keras; with other strategies they do what they did."""
    # Not above: this module is imported on other backends too.
    from keras.src.backend.tensorflow import trainer as keras_trainer

    trainer = keras_trainer.TensorFlowTrainer
    if getattr(trainer._maybe_symbolic_build, "by_alloyk", False):
        return
    build, reduce = trainer._maybe_symbolic_build, keras_trainer.reduce_per_replica

    def maybe_symbolic_build(self: Any, iterator: Any = None, data_batch: Any = None) -> None:
        """Build from the shapes of a batch; Keras reduces a batch, and its parts may differ."""
        strategy = self.distribute_strategy
        if iterator is None or not _is_over_workers(strategy):
            build(self, iterator=iterator, data_batch=data_batch)
            return
        spec = iterator._distributed_dataset.element_spec
        with strategy.scope():
            self._symbolic_build(data_batch=tf.nest.map_structure(_of_one_replica, spec))

    def reduce_per_replica(values: Any, strategy: Any, reduction: str) -> Any:
        """Reduce the scalars of a step; Keras reduces them over an axis that they do not have."""
        if reduction not in ("auto", "mean") or not _is_over_workers(strategy):
            return reduce(values, strategy, reduction)
        return tf.nest.map_structure(lambda value: strategy.reduce("MEAN", value, None), values)

    maybe_symbolic_build.by_alloyk = True  # type: ignore[attr-defined]
    trainer._maybe_symbolic_build = maybe_symbolic_build
    keras_trainer.reduce_per_replica = reduce_per_replica


def _is_over_workers(strategy: Any) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _of_one_replica(spec: Any) -> Any:
    """Shape and number type of a batch on one device."""
    return getattr(spec, "_value_specs", (spec,))[0]


@contextlib.contextmanager
def started_strategy() -> Iterator[tf.distribute.Strategy]:
    """Start TensorFlow's server of this worker, as `TF_CONFIG` says, and connect to the others."""
    let_keras_fit_over_workers()
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if threading.current_thread() is threading.main_thread():
        with _signals_that_end(handlers):
            yield strategy
    else:
        yield strategy


@contextlib.contextmanager
def _signals_that_end(handlers: Mapping[Any, Any]) -> Iterator[None]:
    """Let signals end a process whose main thread waits inside TensorFlow.

    TensorFlow replaces the handler of SIGTERM when its server starts, and Python runs a handler
    only between two steps of its main thread. Here the handlers of before are set again, and a
    thread ends the process if they have not done so in time.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    ended = threading.Event()

    def watch() -> None:
        while received := reading.recv(1):
            if received[0] in handlers and not ended.wait(GRACE_S / 2):
                end_process(128 + received[0])

    threading.Thread(target=watch, daemon=True, name="signals").start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        writing.close()
