"""A voted classifier from finished runs.

`combine` makes it, a run like any other; `voting` is the arithmetic, `soft_voting` one Keras model.
"""

from alloyk.voting.combine import ensemble_runs

__all__ = ["ensemble_runs"]
