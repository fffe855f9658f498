"""Simulated data sets: which images are sampled, how they are rendered, what is written."""
