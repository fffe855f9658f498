"""Radiographs of aluminium plates behind a wedge, from tabulated physics, in NumPy.

`settings` holds every parameter, `physics` the model, `dataset` writes labelled images and
`ceiling` computes the best possible accuracy. ``docs/simulator.md`` describes the model.
"""
