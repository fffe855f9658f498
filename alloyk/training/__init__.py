"""From a configuration to a run folder: `run` trains once, `cross_validation` once per fold."""
