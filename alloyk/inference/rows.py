"""Write the table of a stream of images, whether all images or one shard on a cluster."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from alloyk.errors import AlloykError
from alloyk.imaging import PageChoice
from alloyk.inference.classifier import Classifier, Stream
from alloyk.inference.metadata import ModelMetadata
from alloyk.inference.tables import TABLES, Table
from alloyk.messages import counted
from alloyk.progress import NO_PROGRESS, Progress


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


def several_rows(names: Sequence[Any], page: PageChoice | None, metadata: ModelMetadata) -> bool:
    """Whether a table may have several rows: then it has a column for their errors.

    Args:
        names: Image files.
        page: What is read of files with several pages; None as in training.
        metadata: That of the model.
    """
    return len(names) > 1 or (metadata.page if page is None else page) == "each"


def write_table(
    classifier: Classifier,
    images: Sequence[Any],
    names: Sequence[str],
    kind: str,
    write: Callable[[str], object],
    *,
    page: PageChoice | None = None,
    progress: Progress = NO_PROGRESS,
    **options: Any,
) -> Outcome:
    """Classify images, and write their table part by part.

    Args:
        classifier: The model.
        images: Image files or pixels.
        names: What to call them.
        kind: Key of `TABLES`.
        write: Writes text; not called before an image is classified.
        page: As in `Classifier.stream`.
        progress: Progress display of several images, see `alloyk.progress`.
        **options: As in `Classifier.stream`.

    Raises:
        AlloykError: No image could be classified, or the only one could not.
    """
    several = several_rows(names, page, classifier.metadata)
    stream = classifier.stream(
        images, names=names, page=page, progress=progress if several else NO_PROGRESS,
        keep_going=several, **options,
    )  # fmt: skip
    table = TABLES[kind](several)
    rows = Rows(stream, table)
    held = ""
    for text in rows:
        held += text
        if rows.errors < rows.images:
            write(held)
            held = ""
    outcome = Outcome(
        rows.images, rows.errors, rows.first_error, stream.notes, classifier.simulated
    )
    outcome.raise_if_all_failed()
    write(table.end())
    return outcome
