"""Write the table of a stream of images, whether all images or one shard on a cluster."""

from collections.abc import Iterator
from typing import NamedTuple

from alloyk.errors import AlloykError
from alloyk.inference.classifier import Stream
from alloyk.inference.tables import Table
from alloyk.messages import counted


class Rows:
    """Iterates over the rows of a stream as text, a few rows at a time.

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
    """The outcome of classifying many images.

    Attributes:
        images: Number of images.
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

    def raise_if_all_failed(self) -> None:
        """Raise AlloykError if no image could be classified: the table has no row to keep."""
        if self.errors == self.images:
            raise AlloykError(
                f"none of {counted(self.images)} could be classified; the first: {self.first_error}"
            )

    def raise_if_any_failed(self) -> None:
        """Raise AlloykError if an image could not be classified."""
        if self.errors:
            raise AlloykError(
                f"{self.errors} of {counted(self.images)} could not be classified, see the column "
                f"error; the first: {self.first_error}"
            )
