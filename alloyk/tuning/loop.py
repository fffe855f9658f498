"""The loop of one worker: take a trial, train it, record it, until none is left.

Any number of workers, on any machine that sees the folder, run this loop at once. A trial is taken
under the lock of the search, and its own folder is locked while it is trained. The operating system
releases that lock when a worker dies, so that another one takes the trial over.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from alloyk.errors import AlloykError, ImageError
from alloyk.locks import InUseError, locked_folder, locked_path
from alloyk.messages import counted
from alloyk.runs.search_records import Trial, TrialRecords
from alloyk.runtime.interrupts import raise_noted_interrupt

WAIT_S = 0.2
LOCK_LIMIT_S = 120.0
STANDSTILL_S = 24 * 3600.0
"""Maximum wait for trials of other workers whose files do not change; longer than any epoch."""

_logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """The outcome of a trial.

    Attributes:
        result: Its best value.
        epochs: Epochs trained, those of the trial that it continues included.
        seconds: Time of its own epochs.
        weights: SHA-256 of its weights, if another process must reproduce them.
        folds: The best value of each fold, of which `result` is the mean.
    """

    result: float
    epochs: int | None = None
    seconds: float | None = None
    weights: str | None = None
    folds: tuple[float, ...] | None = None


class TimeIsUp(Exception):  # noqa: N818
    """The time budget is spent; the trial stays as it is and can be resumed."""


class Suggestions(Protocol):
    """Where the values of new trials come from."""

    def next(self, records: TrialRecords) -> dict[str, Any] | None:
        """The values of the next trial; None at the end, or until a running trial has ended."""


class Train(Protocol):
    """Trains a trial in its folder."""

    def __call__(self, trial: Trial, records: TrialRecords, deadline: float | None) -> Outcome: ...


def search_lock(out: Path) -> AbstractContextManager[None]:
    """The lock under which trials are taken and ended."""
    return locked_path(out / "search", wait=True, limit_s=LOCK_LIMIT_S)


def run_trials(
    out: Path,
    suggestions: Suggestions,
    train: Train,
    *,
    deadline: float | None = None,
) -> bool:
    """Take and train trials until none is left; return whether the search is complete.

    Args:
        out: Folder of the search.
        suggestions: Where the values of new trials come from.
        train: Trains one trial. An exception is recorded as its failure, unless its cause is
            outside of the trial: then it stays unfinished.
        deadline: `time.time()` after which no trial starts.

    Raises:
        AlloykError: Trials of other workers make no progress, a file cannot be read or written.
        KeyboardInterrupt: The process was asked to end.
    """
    records = TrialRecords(out)
    while deadline is None or time.time() < deadline:
        with _taken(records, suggestions, deadline) as trial:
            if trial is None:
                return not records.running()
            try:
                outcome, problem = train(trial, records, deadline), None
            except TimeIsUp:
                return False
            except Exception as error:
                raise_noted_interrupt()  # it may have caused the error
                outcome, problem = None, _problem(error)
                if _is_from_outside(error):
                    raise AlloykError(
                        f"trial {trial.name} is unfinished: {problem}; correct this, and give the "
                        "command again to resume it"
                    ) from error
                _logger.warning("trial %s failed: %s", trial.name, problem)
                _logger.debug("trial %s", trial.name, exc_info=True)
            with search_lock(out):
                records.refresh()
                if outcome is None:
                    records.end(trial, None, error=problem)
                else:
                    records.end(trial, outcome.result, epochs=outcome.epochs,
                                seconds=outcome.seconds, weights=outcome.weights,
                                folds=outcome.folds)  # fmt: skip
    return False


def _problem(error: Exception) -> str:
    """The message of an error on one line, with its type where the message may need it."""
    message = " ".join(str(error).split())
    return message if isinstance(error, AlloykError) else f"{type(error).__name__}: {message}"


def _is_from_outside(error: BaseException | None) -> bool:
    """Whether an error may be gone the next time, with the same values: of the system, of a file.

    An `OSError` without a number is a library's word for content that it cannot use.
    """
    while error is not None:
        if isinstance(error, ImageError) or (isinstance(error, OSError) and error.errno):
            return True
        error = error.__cause__
    return False


@contextmanager
def _taken(
    records: TrialRecords, suggestions: Suggestions, deadline: float | None
) -> Iterator[Trial | None]:
    """The next trial, its folder locked in the block; None if there is none."""
    with ExitStack() as stack:
        while True:
            with search_lock(records.out):
                records.refresh()
                trial = _abandoned(records, stack)
                if trial is None and (values := suggestions.next(records)) is not None:
                    trial = records.begin(values)
                    stack.enter_context(locked_folder(records.folder(trial)))
            if trial is not None or not records.running():
                break
            if deadline is not None and time.time() > deadline:
                break
            _refuse_standstill(records)
            time.sleep(WAIT_S)
        yield trial


def _abandoned(records: TrialRecords, stack: ExitStack) -> Trial | None:
    """A trial that no worker has, now locked by this one."""
    for trial in records.running():
        try:
            stack.enter_context(locked_folder(records.folder(trial)))
        except InUseError:
            continue
        return trial
    return None


def _refuse_standstill(records: TrialRecords) -> None:
    """Raise if no running trial of another worker makes progress."""
    running = records.running()
    folders = [records.folder(trial) for trial in running]
    changed = []
    for file in (file for one in folders for file in one.glob("[!.]*")):
        with suppress(FileNotFoundError):  # replaced, or removed, by its worker
            changed.append(file.stat().st_mtime)
    if changed and time.time() - max(changed) > STANDSTILL_S:
        names = ", ".join(trial.name for trial in running)
        raise AlloykError(
            f"no progress of {counted(len(running), 'running trial')} ({names}) for "
            f"{STANDSTILL_S / 3600:g} h; stop their workers and run the command again"
        )
