"""Classify millions of files on a Ray cluster: the rows that this machine would give, by shard.

The processes see the files and the model on shared storage and return rows as text; only this
process writes, so the output need not be on that storage.
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from alloyk.errors import ModelError
from alloyk.files import sha256
from alloyk.imaging import PageChoice, RawLayout
from alloyk.inference import sources
from alloyk.inference.abstention import threshold_for
from alloyk.inference.classifier import Classifier, describe_model, load
from alloyk.inference.metadata import ModelMetadata
from alloyk.inference.rows import Outcome, Rows
from alloyk.inference.shards import ShardFolder, ShardRows, named_shards
from alloyk.inference.tables import TABLES
from alloyk.inference.training_counts import UnlikeTraining
from alloyk.locks import locked_path
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Advance, Progress
from alloyk.runtime.cores import available_cores
from alloyk.runtime.ray_cluster import (
    ray_cluster,
    refuse_missing_cluster,
    require_ray,
)
from alloyk.runtime.ray_map import Place, Shard, map_shards

PACKAGES = {
    "keras": ("keras", "tensorflow"),
    "savedmodel": ("tensorflow",),
    "tflite": ("ai-edge-litert",),
    "onnx": ("onnxruntime",),
}
"""Kind of model → packages that compute with it."""
READERS = ("numpy", "pillow")


class Options(NamedTuple):
    """What decides about the rows besides model and images.

    Attributes:
        several: Whether there is a column `error`, and an unreadable image ends nothing.
        abstain: As in `Classifier.predict`.
        page: The same.
        raw: The same.
        hdf5_path: The same.
    """

    several: bool
    abstain: float | None = None
    page: PageChoice | None = None
    raw: RawLayout | None = None
    hdf5_path: str | None = None


@dataclass(frozen=True)
class ShardClassifier:
    """Makes the function that classifies a shard, in a process of the cluster.

    Attributes:
        model: The model.
        digest: What `model_digest` gives for it.
        kind: Ending of the output.
        options: How to classify.
    """

    model: Path
    digest: str
    kind: str
    options: Options

    def __call__(self) -> Callable[[int, list[str]], ShardRows]:
        """Load the model.

        Raises:
            AlloykError: It cannot be loaded, or is another one.
        """
        _, file, _ = describe_model(self.model)
        if model_digest(file) != self.digest:
            raise ModelError(f"must see the same model at {shown(self.model)}, got another one")
        return partial(self.rows, load(self.model))

    def rows(self, classifier: Classifier, number: int, names: list[str]) -> ShardRows:
        """The rows of one shard."""
        several, abstain, page, raw, hdf5_path = self.options
        stream = classifier.stream(
            names, page=page, raw=raw, hdf5_path=hdf5_path, keep_going=several, abstain=abstain
        )  # fmt: skip
        rows = Rows(stream, TABLES[self.kind](several, started=number > 0))
        text = "".join(rows)
        return ShardRows(rows.images, rows.errors, rows.first_error, stream.counts.state(), text)


def predict_on_cluster(
    model: Path,
    names: Sequence[str],
    output: Path,
    options: Options,
    address: str,
    *,
    workers: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Outcome:
    """Write the table of `alloyk predict`; the same call continues one that was interrupted.

    Args:
        model: Run folder or model file, on storage that every machine sees.
        names: Image files, likewise.
        output: `.csv`, `.json` or `.jsonl` file.
        options: How to classify.
        address: `HOST:PORT` of a Ray cluster, or `local`.
        workers: Number of processes, see `map_shards`.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        AlloykError: The cluster or the model cannot be used, no image could be classified, or
            `OUTPUT.shards` holds another prediction.
    """
    ray = require_ray("--address", "ray")
    refuse_missing_cluster(address)
    kind, file, metadata = describe_model(model)
    threshold = None
    if options.abstain is not None:
        threshold = threshold_for(options.abstain, metadata, model)
    size = sources.SHARD_IMAGES
    task = ShardClassifier(model, model_digest(file), output.suffix.lower(), options)
    folder = ShardFolder(output)
    place = Place.of([str(model), *names], (*PACKAGES[kind], *READERS))
    with locked_path(folder.path):
        folder.open({
            "model": task.digest,
            "sources": _names_digest(place.folder, names),
            "options": {
                "abstain": options.abstain, "threshold": threshold, "page": options.page,
                "raw": asdict(options.raw) if options.raw else None,
                "hdf5_path": options.hdf5_path, "images per shard": size,
            },
            "versions": place.versions,
        })  # fmt: skip
        try:
            count = -(-len(names) // size)
            with progress.task("classifying", len(names)) as advance:
                left = _left(folder, named_shards(names, size), advance)
                if left:
                    with ray_cluster(ray, address, max(workers or 0, available_cores())):
                        _write(folder, map_shards(ray, left, task, place, workers), left, advance)
            outcome = _outcome(folder, count, metadata)
            if outcome.errors < outcome.images:
                end = TABLES[task.kind](options.several, started=True).end()
                folder.join(count, output, end)
            folder.remove()
        finally:
            folder.remove_if_empty()
    outcome.raise_if_all_failed()
    return outcome


def _left(folder: ShardFolder, shards: Iterable[Shard], advance: Advance) -> list[Shard]:
    """The shards that are not finished; the others count as done."""
    left = []
    for shard in shards:
        if folder.head(shard.number) is None:
            left.append(shard)
        else:
            advance(len(shard.content))
    return left


def _write(
    folder: ShardFolder,
    done: Generator[tuple[int, ShardRows], None, None],
    left: Sequence[Shard],
    advance: Advance,
) -> None:
    sizes = {shard.number: len(shard.content) for shard in left}
    with closing(done):
        for number, rows in done:
            folder.write(number, rows)
            advance(sizes[number])


def _outcome(folder: ShardFolder, count: int, metadata: ModelMetadata) -> Outcome:
    """The counts of all shards, in their order."""
    counts = UnlikeTraining(metadata.depths, metadata.brightest)
    images, errors, first_error = 0, 0, ""
    for number in range(count):
        head = folder.head(number)
        if head is None:
            raise ModelError(
                f"{shown(folder.path)} must keep its files to the end; run the command again"
            )
        images, errors = images + head.images, errors + head.errors
        first_error = first_error or head.first_error
        counts.add(head.counts)
    return Outcome(images, errors, first_error, tuple(counts.notes()), metadata.simulated)


def model_digest(file: Path) -> str:
    """SHA-256 of a model file, or of all files of a SavedModel.

    Raises:
        AlloykError: It cannot be read.
    """
    if not file.is_dir():
        return sha256(file)
    digest = hashlib.sha256()
    for one in sorted(path for path in file.rglob("*") if path.is_file()):
        digest.update(f"{one.relative_to(file)}\0{sha256(one)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _names_digest(folder: str | None, names: Sequence[str]) -> str:
    digest = hashlib.sha256((folder or "").encode(errors="surrogateescape"))
    for name in names:
        digest.update(b"\0" + name.encode(errors="surrogateescape"))
    return digest.hexdigest()
