"""Radiographs of aluminium plates behind a wedge, from tabulated physics, in NumPy.

`settings` holds the parameters, `physics` the model; `dataset` writes labelled images, and
`ceiling` computes the accuracy of an ideal classifier. `docs/simulator.md` describes the model.
"""
