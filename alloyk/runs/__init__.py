"""A run folder: the files of one training, read and written as typed objects."""
