"""A further process of a search. Light to import: Keras loads only once it is set up."""

import logging
import sys

from alloyk.errors import AlloykError
from alloyk.runtime.interrupts import noted_interrupts
from alloyk.runtime.tensorflow import load_tensorflow
from alloyk.tuning.task import Task

_logger = logging.getLogger(__name__)


def work(number: int, level: int, task: Task) -> None:
    """Take trials of a search until none is left; an error is one line, as that of a command.

    Args:
        number: Number of the process, for its messages.
        level: Level of the messages.
        task: The search.
    """
    logging.basicConfig(format=f"worker {number}: %(message)s")
    logging.getLogger("alloyk").setLevel(level)
    try:
        with noted_interrupts():
            take_trials(task)
    except AlloykError as error:
        _logger.warning("has ended: %s", error)
    except KeyboardInterrupt:  # which the first process reports
        sys.exit(130)


def take_trials(task: Task) -> None:
    """Take trials of a search until none is left, in a process in which Keras is not loaded yet.

    Raises:
        AlloykError: The search cannot go on.
    """
    load_tensorflow()
    from alloyk.tuning.experiment import Experiment

    Experiment(task.path, task.overrides, planned=task.planned, folds=task.folds).run_trials(task)
