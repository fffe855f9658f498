"""Give a run of `scripts/train_on_jax.py` its model file: what `alloyk train` does at the end.

    python scripts/finish_jax_run.py RUN

Requires the images of the training, where RUN's configuration (`data.path`) says that they are.
Builds the network on TensorFlow, gives it the weights of the best epoch, requires the probabilities
that were found on JAX within `--tolerance`, fits the detector of unlike images, and writes
`model.keras`, predictions and evaluation. Every command then takes the run.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from alloyk.config import resolve_config
from alloyk.errors import AlloykError
from alloyk.inference.novelty import FEATURES
from alloyk.models.pooled import with_features
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.runs.folder import RunFolder
from alloyk.runs.run_data import refuse_changed_data
from alloyk.training.build import build_network
from alloyk.training.keras_setup import set_up_keras
from alloyk.training.predicting import predict_split
from alloyk.training.run import complete_run
from alloyk.training.splits import load_splits, open_training_data, standardization_for


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    options = parser.parse_args()
    folder = RunFolder(options.run)
    weights = folder.path / "weights.npz"
    if not weights.is_file():
        sys.exit(
            f"Error: RUN must be of scripts/train_on_jax.py, got {options.run}, which "
            f"has no {weights.name}"
        )
    config = resolve_config(folder.config_file)
    set_up_keras(config)
    dataset = open_training_data(config)
    refuse_changed_data(options.run, dataset)
    preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
    splits = load_splits(config, dataset, preprocessing)
    network = build_network(config, standardization_for(config, splits[0]), len(dataset.classes))
    with np.load(weights) as arrays:
        network.set_weights([arrays[name] for name in arrays.files])
    found, before = predict_split(network, splits[2]).probabilities, folder.predictions
    difference = float(np.abs(found - before.probabilities).max())
    print(f"largest difference of a probability: {difference:.1e}")
    if difference > options.tolerance:
        sys.exit(
            f"Error: the largest difference must be at most {options.tolerance}, see --tolerance"
        )
    featured = with_features(network, FEATURES) or network
    complete_run(options.run, dataset, preprocessing, splits, network, featured, folder.facts)


if __name__ == "__main__":
    try:
        main()
    except AlloykError as error:
        sys.exit(f"Error: {error}")
