"""Train along a schedule of settings that Population-Based Training has found."""

import logging
from collections.abc import Callable
from pathlib import Path

import keras

from alloyk.config import resolve_config
from alloyk.runs.lineage import Lineage
from alloyk.training.checkpoint import epochs_in, weights_digest
from alloyk.training.keras_setup import set_up_keras
from alloyk.training.release import networks_released

logger = logging.getLogger(__name__)


def replay(lineage: Lineage, checkpoint: Path, train: Callable[..., keras.Model]) -> keras.Model:
    """Train part after part, each from the checkpoint of the one before, as the search did.

    Args:
        lineage: The schedule.
        checkpoint: Folder of the run's checkpoint; parts that it has are not trained again.
        train: `train_network` with everything but the configuration.

    Returns:
        The network of the best epoch.
    """
    done = epochs_in(checkpoint)
    *earlier, last = zip(lineage.settings(), lineage.parts, strict=True)
    for settings, part in earlier:
        if part.until > done:
            with networks_released():
                _train(settings, part.until, train)
    network = _train(last[0], last[1].until, train)
    if weights_digest(network) == lineage.weights:
        logger.info("the weights are those of the search, bit for bit")
    else:
        logger.warning(
            "the weights must be those of the search, got others: the processor, TensorFlow's CPU "
            "kernels or the versions of the packages differ; the schedule is the same"
        )
    return network


def _train(settings: dict, until: int, train: Callable[..., keras.Model]) -> keras.Model:
    config = resolve_config(None, settings)
    set_up_keras(config)
    return train(config, until=until, changing=True)
