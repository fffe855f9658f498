"""Train a configuration into a run folder: `run` once, `cross_validation` once per fold."""
