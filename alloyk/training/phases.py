"""The phases of a training run: with the backbone frozen, then without."""

from typing import NamedTuple

from alloyk.config import Config
from alloyk.training.time_budget import EPOCHS_WITHOUT_END


class Phase(NamedTuple):
    """Epochs that are trained with the backbone frozen or not.

    Attributes:
        first: First epoch.
        end: Last epoch plus one.
        frozen: Whether the backbone is frozen.
    """

    first: int
    end: int
    frozen: bool


def phases_of(config: Config, until: int | None = None) -> list[Phase]:
    """The phases of a training run, in order."""
    epochs = EPOCHS_WITHOUT_END if config.train.time_budget_minutes else config.train.epochs
    frozen = min(config.model.freeze_epochs, epochs) if config.model.weights else 0
    end = epochs if until is None else min(until, epochs)
    phases = [Phase(0, min(frozen, end), True), Phase(frozen, end, False)]
    return [phase for phase in phases if phase.first < phase.end]
