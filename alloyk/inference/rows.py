"""The rows of a table for many images: one way for all of them here, and for a shard elsewhere."""

from collections.abc import Iterator
from typing import NamedTuple

from alloyk.errors import AlloykError
from alloyk.inference.classifier import Stream
from alloyk.inference.tables import Table


class Rows:
    """Iterates over the text of the rows of a stream, some at a time.

    Attributes:
        images: Number of images so far.
        errors: Number of those that could not be classified.
        first_error: The first one's error.
    """

    def __init__(self, stream: Stream, table: Table) -> None:
        self._stream, self._table = stream, table
        self.images, self.errors, self.first_error = 0, 0, ""

    def __iter__(self) -> Iterator[str]:
        for part in self._stream:
            if part.errors:
                self.first_error = self.first_error or next(iter(part.errors.values()))
            self.errors += len(part.errors)
            self.images += len(part)
            yield self._table.add(part)


class Outcome(NamedTuple):
    """What became of all images.

    Attributes:
        images: Their number.
        errors: Number of those that could not be classified.
        first_error: The first one's error.
        notes: Sentences for the user about the images.
        simulated: Whether the model was trained on simulated images.
    """

    images: int
    errors: int
    first_error: str
    notes: tuple[str, ...]
    simulated: bool

    def refuse_none(self) -> None:
        """Raise if no image could be classified: there is no row to keep."""
        if self.errors == self.images:
            raise AlloykError(
                f"none of the {self.images} images could be classified; the first: "
                f"{self.first_error}"
            )

    def refuse_any(self) -> None:
        """Raise if an image could not be classified."""
        if self.errors:
            raise AlloykError(
                f"{self.errors} of {self.images} images could not be classified, see the column "
                f"error; the first: {self.first_error}"
            )
