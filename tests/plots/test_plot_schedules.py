"""The figure of how settings changed during the training of a population."""

import numpy as np
import pytest

from alloyk.plots import plot_schedules


def test_it_shows_every_value_over_its_epochs():
    ax = plot_schedules(
        [(0, 2), (0, 2), (2, 4)],
        {"optimizer.learning_rate": [0.1, 0.01, 0.08], "model.dropout": [0.3, 0.2, 0.24]},
        [(0, 2), (2, 4)],
        {"optimizer.learning_rate": [0.1, 0.08], "model.dropout": [0.3, 0.24]},
        logarithmic=["optimizer.learning_rate"],
    )
    first, second = ax.get_figure().axes
    assert (first.get_title("left"), first.get_yscale()) == ("optimizer.learning_rate", "log")
    assert (second.get_title("left"), second.get_yscale()) == ("model.dropout", "linear")
    (lines,) = first.collections
    drawn = [segment.tolist() for segment in lines.get_segments()]
    assert drawn == [[[0, 0.1], [2, 0.1]], [[0, 0.01], [2, 0.01]], [[2, 0.08], [4, 0.08]]]
    (line,) = second.patches
    assert np.asarray(line.get_data().values) == pytest.approx([0.3, 0.24])
    assert list(line.get_data().edges) == [0, 2, 4]
