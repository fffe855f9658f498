"""On which devices and machines a training runs: `train.strategy`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from alloyk import pipeline
from alloyk.config.sections import TrainConfig
from alloyk.errors import AlloykError, ConfigError
from alloyk.messages import few
from alloyk.runtime.cluster import VARIABLE, Cluster, cluster_from_environment
from alloyk.runtime.peers import Peers
from alloyk.training.multi_worker import refuse_untested_keras, started_strategy
from alloyk.training.optimizers import without_loss_scaling


@dataclass(frozen=True)
class Distribution:
    """The devices of a training run.

    Attributes:
        strategy: TensorFlow's strategy for them.
        part: The devices of this process among all.
        peers: The other processes; None if there are none.
    """

    strategy: tf.distribute.Strategy
    part: pipeline.Part = pipeline.WHOLE
    peers: Peers | None = None

    @property
    def is_one_device(self) -> bool:
        """Whether the training runs on one device only."""
        return self.part.total == 1

    def batches(self, make: Callable[[pipeline.Part], tf.data.Dataset]) -> Any:
        """Batches for all devices of this process, from a function of their part."""
        if self.is_one_device:
            return make(self.part)
        return self.strategy.distribute_datasets_from_function(lambda _context: make(self.part))


def cluster_of(settings: TrainConfig) -> Cluster | None:
    """The workers of a training run; None if it runs in this process only.

    Raises:
        ConfigError: `multi-worker` is set without a description of several workers.
    """
    if settings.strategy in ("single", "mirrored"):
        return None
    cluster = cluster_from_environment()
    if cluster is None and settings.strategy == "multi-worker":
        raise ConfigError(
            f"train.strategy=multi-worker needs two or more workers in {VARIABLE}, got none; start "
            "the command with scripts/launch_ssh or scripts/launch_slurm"
        )
    if cluster is not None:
        _refuse_unsupported(settings)
    return cluster


def _refuse_unsupported(settings: TrainConfig) -> None:
    """Raise for settings that would let workers differ."""
    refuse_untested_keras()
    where = f"with several workers ({VARIABLE})"
    if settings.time_budget_minutes is not None:
        raise ConfigError(
            f"train.time_budget_minutes must be unset {where}, whose clocks differ; set "
            "train.epochs instead"
        )
    if settings.devices is not None:
        raise ConfigError(
            f"train.devices must be unset {where}, got {', '.join(settings.devices)}; every worker "
            "uses all GPUs in CUDA_VISIBLE_DEVICES"
        )
    if settings.mixed_precision is True:
        raise ConfigError(
            f"train.mixed_precision must be false or auto {where}, got true; workers compute in "
            "float32"
        )


@contextmanager
def distribution_of(settings: TrainConfig, peers: Peers | None = None) -> Iterator[Distribution]:
    """The devices of a training run; with `peers`, TensorFlow's server runs inside the block."""
    if peers is None:
        yield local_distribution(settings)
        return
    here = local_devices()
    part = pipeline.Part(peers.cluster.index * here, here, peers.count * here)
    # TensorFlow holds Python's lock while it waits for the others, which then get no sign of life.
    peers.gather("ready for TensorFlow", None)
    with started_strategy() as strategy:
        yield Distribution(strategy, part, peers)


def local_devices() -> int:
    """Devices of this worker: its GPUs, or the CPU."""
    return max(len(tf.config.list_physical_devices("GPU")), 1)


def local_distribution(settings: TrainConfig) -> Distribution:
    """The devices of a training run in this process only.

    Raises:
        AlloykError: There is no such device, or `multi-worker` is set.
    """
    if settings.strategy == "multi-worker":
        raise ConfigError(
            "train.strategy=multi-worker is for alloyk train only, got another command; set "
            "train.strategy=auto"
        )
    strategy = choose_strategy(settings.devices, settings.strategy)
    count = strategy.num_replicas_in_sync
    return Distribution(strategy, pipeline.Part(0, count, count))


def choose_strategy(devices: tuple[str, ...] | None, name: str = "auto") -> tf.distribute.Strategy:
    """One device, or one replica on each of several GPUs.

    Args:
        devices: Names such as `GPU:0`; None takes every GPU, or the CPU where there is none.
        name: `single`, `mirrored`, or `auto` for mirrored where there are several devices.

    Raises:
        AlloykError: A device does not exist (TensorFlow would take another one without a word), or
            their number does not fit the strategy.
    """
    there = [device.name.split(":", 1)[1] for device in tf.config.list_logical_devices()]
    absent = [name for name in devices or () if name not in there]
    if absent:
        raise AlloykError(
            f"train.devices must name devices of this machine, got {few(absent)}; use "
            f"{', '.join(there)}, or leave train.devices out"
        )
    names = devices or [gpu.name.split(":", 1)[1] for gpu in tf.config.list_logical_devices("GPU")]
    if name == "single":
        if devices and len(devices) > 1:
            raise ConfigError(
                f"train.strategy=single needs one of train.devices, got {', '.join(devices)}; name "
                "one, or set train.strategy=mirrored"
            )
        names = names[:1]
    if name == "mirrored" and len(names) < 2:
        raise ConfigError(
            f"train.strategy=mirrored needs two or more devices, got {few(names) or 'CPU:0'}; set "
            "train.strategy=auto"
        )
    if len(names) > 1:
        return tf.distribute.MirroredStrategy([str(name) for name in names])
    return tf.distribute.OneDeviceStrategy(str(names[0])) if names else tf.distribute.get_strategy()


def refuse_uneven_batches(batch_size: int, part: pipeline.Part) -> None:
    """Raise if a batch cannot be divided evenly over the devices."""
    devices = part.total
    if batch_size % devices:
        raise ConfigError(
            f"train.batch_size, the total over {devices} devices, must be divisible by their "
            f"number, got {batch_size}; set train.batch_size={devices * 16}"
        )


def synchronize_batch_norm(network: keras.Model, synchronized: bool) -> None:
    """Compute batch-norm statistics over the batch of all devices, or of each device alone."""
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized


def clip_over_all_devices(optimizer: keras.optimizers.Optimizer) -> None:
    """Clip the gradient of the whole batch; Keras clips that of each device before the sum."""
    optimizer = without_loss_scaling(optimizer)
    norm = optimizer.global_clipnorm
    if norm is None:
        return
    sum_over_devices = optimizer._all_reduce_sum_gradients

    def summed_and_clipped(grads_and_vars: Any) -> list[Any]:
        pairs = list(sum_over_devices(grads_and_vars))
        gradients, _ = tf.clip_by_global_norm([gradient for gradient, _ in pairs], norm)
        return [(gradient, pair[1]) for gradient, pair in zip(gradients, pairs, strict=True)]

    optimizer.global_clipnorm = None
    optimizer._all_reduce_sum_gradients = summed_and_clipped
