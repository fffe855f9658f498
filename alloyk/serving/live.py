"""A folder that a server watches for its page: the newest results, in memory."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alloyk.serving.arrivals import Arrival, Arrivals
from alloyk.serving.limits import BusyError
from alloyk.serving.watching import PATIENCE_S, POLL_S, SETTLE_S

logger = logging.getLogger(__name__)

KEPT = 200

Answer = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """An image of the folder.

    Attributes:
        number: Counted from 1.
        path: Its file.
        answer: The answer for it, or an `error`.
    """

    number: int
    path: Path
    answer: Answer


class LiveFolder:
    """Classifies what arrives in a folder, and keeps the newest results.

    Args:
        folder: The folder; it must exist.
        classify: From a file and its name to the answer for it, or an answer with `error`.
        settle_s: Seconds without a change after which a file is finished.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(
        self,
        folder: str | Path,
        classify: Callable[[Path, str], Awaitable[Answer]],
        settle_s: float = SETTLE_S,
    ) -> None:
        self.folder = Path(folder)
        self._arrivals = Arrivals(folder, settle_s)
        self._classify = classify
        self._seen: deque[Seen] = deque(maxlen=KEPT)
        self._count = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            ready = await asyncio.to_thread(self._arrivals.ready)
            for arrival in ready:
                await self._look_at(arrival)
            await asyncio.sleep(POLL_S)

    async def _look_at(self, arrival: Arrival) -> None:
        path = self.folder / arrival.name
        try:
            answer = await self._classify(path, arrival.name)
        except BusyError:  # clients come first; it is ready at the next look too
            return
        except Exception:  # of this program: the folder is watched on
            logger.exception("cannot classify %s", path)
            answer = {"path": arrival.name, "error": "the server failed; its log says why"}
        if self._arrivals.has_changed(arrival):
            return
        if "error" in answer and self._arrivals.postpone(arrival) < PATIENCE_S:
            return
        self._arrivals.done(arrival)
        self._count += 1
        self._seen.append(Seen(self._count, path, answer))

    def after(self, number: int) -> list[Seen]:
        """Return the results behind one, the oldest first; at most `KEPT`."""
        return [one for one in self._seen if one.number > number]

    def numbered(self, number: int) -> Seen | None:
        """Return one of the results that are kept."""
        return next((one for one in self._seen if one.number == number), None)
