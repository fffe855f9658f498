"""A folder that a server watches for its page: the newest results, in memory."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alloyk.messages import shown
from alloyk.serving.arrivals import PATIENCE_S, POLL_S, SETTLE_S, Arrival, Arrivals
from alloyk.serving.limits import BusyError

logger = logging.getLogger(__name__)

KEPT = 200

Answer = dict[str, Any]


def utf8_name(name: str) -> str:
    r"""Return the name of a file as text that JSON can hold: bytes that are not UTF-8 are replaced.

    >>> print(ascii(utf8_name(os.fsdecode(b"plate \xff.png"))))
    'plate \ufffd.png'
    """
    return os.fsencode(name).decode(errors="replace")


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
        patience_s: Seconds for which a finished file that cannot be read is tried again.
        poll_s: Seconds between two listings of the folder.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(
        self,
        folder: str | Path,
        classify: Callable[[Path, str], Awaitable[Answer]],
        settle_s: float = SETTLE_S,
        patience_s: float = PATIENCE_S,
        poll_s: float = POLL_S,
    ) -> None:
        self.folder = Path(folder)
        self._arrivals = Arrivals(folder, settle_s, patience_s)
        self._classify, self._poll_s = classify, poll_s
        self._seen: deque[Seen] = deque(maxlen=KEPT)
        self._count = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            ready = await asyncio.to_thread(self._arrivals.ready)
            for arrival in ready[:-KEPT]:  # not kept: a long backlog would delay new ones
                self._arrivals.mark_processed(arrival)
            for arrival in ready[-KEPT:]:
                await self._classify_file(arrival)
            await asyncio.sleep(self._arrivals.pause_s(self._poll_s))

    async def _classify_file(self, arrival: Arrival) -> None:
        path = self.folder / arrival.name
        name = utf8_name(arrival.name)
        try:
            answer = await self._classify(path, name)
        except BusyError:  # clients come first; it is ready at the next look too
            return
        except Exception:  # of this program: the folder is watched on
            logger.exception("cannot classify %s", shown(path))
            answer = {"path": name, "error": "the server failed; its log says why"}
        failed = "error" in answer
        if not await asyncio.to_thread(self._arrivals.is_final, arrival, failed=failed):
            return
        self._arrivals.mark_processed(arrival)
        self._count += 1
        self._seen.append(Seen(self._count, path, answer))

    def after(self, number: int) -> list[Seen]:
        """Return the results after a number, the oldest first; at most `KEPT`."""
        return [one for one in self._seen if one.number > number]

    def numbered(self, number: int) -> Seen | None:
        """Return one of the results that are kept."""
        return next((one for one in self._seen if one.number == number), None)
