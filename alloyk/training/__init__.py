"""From a configuration to a run folder: `run` trains once, `cross_validation` once per fold."""

from alloyk.training.run import run_training, set_up_keras, train_network

__all__ = ["run_training", "set_up_keras", "train_network"]
