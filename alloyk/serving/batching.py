"""Classify single images of many clients in batches, on one thread."""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from alloyk.inference import Classification, Classifier
from alloyk.serving.limits import BusyError

Result = TypeVar("Result")

MAX_BATCH = 16


class _Job(NamedTuple):
    image: np.ndarray
    name: str
    done: "asyncio.Future[Classification]"


class Batches:
    """A queue before a classifier: what waits while it works is classified together.

    The classifier and its layers are used by one thread only; nothing waits for a batch to fill.

    Args:
        classifier: The model.
        waiting: Maximum number of images that wait.
    """

    def __init__(self, classifier: Classifier, waiting: int) -> None:
        self._classifier = classifier
        self._queue: asyncio.Queue[_Job] = asyncio.Queue(waiting)
        self._thread = ThreadPoolExecutor(1, "alloyk-model")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to take images."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End; images that wait get no answer."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def classify(self, image: np.ndarray, name: str) -> Classification:
        """Return the result of one raw image.

        Raises:
            BusyError: Too many images wait.
        """
        job = _Job(image, name, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            raise BusyError("too many images are waiting; try again in a second") from None
        return await job.done

    async def on_model_thread(self, work: Callable[[], Result]) -> Result:
        """Run other work with the model on its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _work(self) -> None:
        while True:
            jobs = [await self._queue.get()]
            while len(jobs) < MAX_BATCH and not self._queue.empty():
                jobs.append(self._queue.get_nowait())
            jobs = [job for job in jobs if not job.done.done()]  # whose client has gone
            if not jobs:
                continue
            images, names = [job.image for job in jobs], [job.name for job in jobs]
            try:
                found = await self.on_model_thread(
                    functools.partial(self._classified, images, names)
                )
            except asyncio.CancelledError:
                for job in jobs:
                    job.done.cancel()
                raise
            except Exception as error:
                # A fault of the model or of this program: all requests get it.
                for job in jobs:
                    if not job.done.done():
                        job.done.set_exception(error)
                continue
            for number, job in enumerate(jobs):
                if not job.done.done():
                    job.done.set_result(found.select([number]))

    def _classified(self, images: list[np.ndarray], names: list[str]) -> Classification:
        return self._classifier.predict(images, names=names, keep_going=True)
