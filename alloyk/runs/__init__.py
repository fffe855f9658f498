"""A run folder: the files of one training run, read and written as typed objects."""
