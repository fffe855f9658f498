"""From a configuration to a run folder: `run` trains once, `cross_validation` once per fold."""

from alloyk.training.fit import set_up_keras, train_network
from alloyk.training.run import run_training

__all__ = ["run_training", "set_up_keras", "train_network"]
