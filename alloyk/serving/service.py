"""Answer a request from the bytes of an image, independent of the protocol."""

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
from alloyk.imaging import assume_files, decoded_pixels, image_size, read_image
from alloyk.inference import Classifier
from alloyk.inference.abstention import abstaining, threshold_for
from alloyk.inference.sources import Item
from alloyk.inference.tables import objects
from alloyk.inference.training_counts import UnlikeTraining
from alloyk.messages import shown
from alloyk.runtime.cores import available_cores
from alloyk.serving.batching import Batches
from alloyk.serving.budget import Budget
from alloyk.serving.limits import BusyError, Limits
from alloyk.serving.live import LiveFolder, Seen, utf8_name
from alloyk.serving.pictures import equalised_picture, gradcam_of, raw_picture
from alloyk.serving.uploads import Upload, refuse_many_pixels

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
        self._batches = Batches(classifier, limits.requests)
        self._pixels = Budget(2 * limits.pixels)
        self._gradcam = gradcam_of(classifier)
        self._decoders = ThreadPoolExecutor(min(4, available_cores()), "alloyk-decode")
        self.live = None if watch is None else LiveFolder(watch, self._classify_file)
        self._watching: asyncio.Task[None] | None = None
        # Clients need not know where the model and the folder are.
        self._places = {}
        if len(classifier.path.parts) > 1:
            self._places[shown(classifier.path)] = classifier.path.name
        if self.live is not None:
            for folder in (os.path.abspath(self.live.folder), self.live.folder.resolve()):
                self._places[f"{folder}/"] = ""
        height, width, channels = classifier.input_shape
        self.description: Answer = {
            "model": utf8_name(classifier.path.name),
            "classes": list(classifier.classes),
            "names": {label: display_name(label) for label in classifier.classes},
            "estimates": list(classifier.spreads),
            "input": {"height": height, "width": width, "channels": channels},
            "simulated": classifier.simulated,
            "thresholds": {f"{r:g}": t for r, t in classifier.metadata.thresholds.items()},
            "abstain": abstain,
            "detects_unlike": classifier.detector is not None,
            "gradcam": self._gradcam is not None,
            "watching": None if self.live is None else utf8_name(self.live.folder.resolve().name),
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
        return await self._in_time(self._answer_file(seen.path, seen.answer["path"], pictures=True))

    async def _classify_file(self, path: Path, name: str) -> Answer:
        try:
            return await self._answer_file(path, name, pictures=False)
        except BusyError:
            raise
        except AlloykError as error:
            return {"path": name, "error": self._without_places(error)}

    async def _answer_file(self, path: Path, name: str, *, pictures: bool) -> Answer:
        """Classify a file of the watched folder, which may have any format that is read."""
        page = self._classifier.metadata.page
        options: Any = {"page": None if page == "each" else page, "name": shown(name)}

        def opened(read: Callable[..., Result]) -> Result:
            with assume_files(self._classifier.metadata.files):
                return read(path, **options)

        size = await self._decoding(functools.partial(opened, image_size))
        self._classifier.refuse_other_size(size, shown(name))
        pixels = await self._decoding(functools.partial(opened, decoded_pixels))
        refuse_many_pixels(name, size, pixels, self.limits.pixels)
        async with self._pixels.hold(pixels):
            read = functools.partial(opened, read_image)
            return await self._answer(read, name, None, pictures)

    async def _in_time(self, work: Any) -> Answer:
        try:
            found: Answer = await asyncio.wait_for(work, self.limits.seconds)
        except (ConfigError, DataError) as error:
            raise type(error)(self._without_places(error)) from error
        except TimeoutError:
            raise BusyError(
                f"the image was not classified within {self.limits.seconds:g} s; try again"
            ) from None
        return found

    def _without_places(self, error: AlloykError) -> str:
        text = str(error)
        for place, name in self._places.items():
            text = text.replace(place, name)
        return text

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
                drawn["gradcam"] = await self._batches.on_model_thread(draw)
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
