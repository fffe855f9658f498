"""From the bytes of an image to the answer of the server, whatever protocol brings them."""

import asyncio
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from alloyk.alloys import display_name
from alloyk.errors import AlloykError, ConfigError, DataError
from alloyk.imaging import assume_raw, read_image, shown
from alloyk.inference import Classifier
from alloyk.inference.abstention import abstaining, threshold_for
from alloyk.inference.sources import Item
from alloyk.inference.tables import objects
from alloyk.inference.training_counts import UnlikeTraining
from alloyk.serving.batching import Batches
from alloyk.serving.budget import Budget
from alloyk.serving.limits import BusyError, Limits
from alloyk.serving.live import LiveFolder, Seen
from alloyk.serving.pictures import equalised_picture, gradcam_of, raw_picture
from alloyk.serving.uploads import Upload

Result = TypeVar("Result")
Answer = dict[str, Any]


class Service:
    """Answers for images.

    Args:
        classifier: The model.
        limits: What is taken from clients.
        abstain: Error rate for which classes are left out, unless a request names another.
        watch: A folder whose images are classified as they arrive.

    Attributes:
        description: What clients may know about the model.
        live: The watched folder, or None.

    Raises:
        AlloykError: The model has no threshold for `abstain`, or there is no folder `watch`.
    """

    def __init__(
        self,
        classifier: Classifier,
        limits: Limits,
        *,
        abstain: float | None = None,
        watch: str | Path | None = None,
    ) -> None:
        self._classifier, self.limits, self._abstain = classifier, limits, abstain
        if abstain is not None:
            threshold_for(abstain, classifier.metadata, classifier.path)
        self._batches = Batches(classifier, limits.waiting)
        self._pixels = Budget(2 * limits.pixels)
        self._gradcam = gradcam_of(classifier)
        self._decoders = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "alloyk-decode")
        self.live = None if watch is None else LiveFolder(watch, self._look_at)
        self._watching: asyncio.Task[None] | None = None
        height, width, channels = classifier.input_shape
        self.description: Answer = {
            "model": classifier.path.name,
            "classes": list(classifier.classes),
            "names": {label: display_name(label) for label in classifier.classes},
            "estimates": list(classifier.spreads),
            "input": {"height": height, "width": width, "channels": channels},
            "simulated": classifier.simulated,
            "thresholds": {f"{r:g}": t for r, t in classifier.metadata.thresholds.items()},
            "abstain": abstain,
            "detects_unlike": classifier.detector is not None,
            "gradcam": self._gradcam is not None,
            "watching": None if self.live is None else self.live.folder.resolve().name,
            "limits": {"body_bytes": limits.body_bytes, "pixels": limits.pixels},
        }

    async def start(self) -> None:
        """Start to answer."""
        await self._batches.start()
        if self.live is not None:
            self._watching = asyncio.create_task(self.live.run())

    async def stop(self) -> None:
        """End."""
        if self._watching is not None:
            self._watching.cancel()
        await self._batches.stop()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self,
        data: bytes,
        name: str,
        *,
        page: int | None = None,
        abstain: float | None = None,
        pictures: bool = False,
    ) -> Answer:
        """Classify the bytes of one image file.

        Raises:
            DataError: It cannot be decoded or does not fit the model.
            ConfigError: There is no threshold for the error rate `abstain`.
            BusyError: It takes too long, or too many others wait.
        """
        chosen = self._classifier.metadata.page if page is None else page
        opened = functools.partial(Upload, data, name, pixels=self.limits.pixels, page=chosen)
        return await self._in_time(self._answer_upload(opened, name, abstain, pictures))

    async def _answer_upload(
        self, opened: Callable[[], Upload], name: str, abstain: float | None, pictures: bool
    ) -> Answer:
        upload = await self._decoding(opened)
        self._classifier.refuse_other_size(upload.size, shown(name))  # before it is decoded
        async with self._pixels.hold(upload.pixels):
            return await self._answer(upload.decoded, name, abstain, pictures)

    async def pictures_of(self, seen: Seen) -> Answer:
        """Return the answer for an image of the watched folder, with its pictures."""
        read = functools.partial(self._read, seen.path)
        return await self._in_time(self._answer(read, seen.answer["path"], None, True))

    async def _look_at(self, path: Path, name: str) -> Answer:
        try:
            return await self._answer(functools.partial(self._read, path), name, None, False)
        except BusyError:
            raise
        except AlloykError as error:
            return {"path": name, "error": str(error)}

    def _read(self, path: Path) -> np.ndarray:
        """Read a file of the watched folder, which is trusted."""
        page = self._classifier.metadata.page
        with assume_raw(self._classifier.metadata.raw):
            return read_image(path, page=None if page == "each" else page)

    async def _in_time(self, work: Any) -> Answer:
        try:
            found: Answer = await asyncio.wait_for(work, self.limits.answer_seconds)
        except (ConfigError, DataError) as error:  # a client need not know where the model is
            path = self._classifier.path
            raise type(error)(str(error).replace(shown(path), path.name)) from error
        except TimeoutError:
            raise BusyError(
                f"the image was not classified within {self.limits.answer_seconds:g} s; try again"
            ) from None
        return found

    async def _answer(
        self, read: Callable[[], np.ndarray], name: str, abstain: float | None, pictures: bool
    ) -> Answer:
        model = self._classifier
        rate = self._abstain if abstain is None else abstain
        threshold = None if rate is None else threshold_for(rate, model.metadata, model.path)
        image = await self._decoding(read)
        found = await self._batches.classify(image, name)
        if found.errors:
            raise DataError(found.errors[0])
        if threshold is not None:
            found = abstaining(found, threshold)
        (answer,) = objects(found)
        counts = UnlikeTraining(model.metadata.depths, model.metadata.brightest)
        counts.see(Item(0, name, name), image)
        answer["notes"] = list(counts.notes())
        if pictures:
            drawn = await self._decoding(functools.partial(_drawn, image))
            if self._gradcam is not None:
                best = int(found.probabilities[0].argmax())
                draw = functools.partial(self._gradcam, image, best)
                drawn["gradcam"] = await self._batches.alone(draw)
            answer["pictures"] = drawn
        return answer

    async def _decoding(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)


def _drawn(image: np.ndarray) -> Answer:
    return {
        "size": [int(image.shape[1]), int(image.shape[0])],
        "raw": raw_picture(image),
        "equalised": equalised_picture(image),
    }
