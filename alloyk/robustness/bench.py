"""Classify disturbed test images of a run, and count errors and silent errors."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alloyk.data import ImageDataset
from alloyk.errors import DataError
from alloyk.files import files_together
from alloyk.imaging import read_image
from alloyk.imaging.gray import to_gray
from alloyk.inference import Classifier, load
from alloyk.inference.metadata import read_metadata, refuse_channels
from alloyk.messages import shown
from alloyk.metrics.selective import CONFIDENT
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.robustness.kinds import KINDS, Kind
from alloyk.robustness.simulated import detectable, simulated_images, strengths_of
from alloyk.robustness.table import (
    CLEAN,
    Row,
    draw_rows,
    format_markdown,
    mean_accuracy,
    write_rows,
)
from alloyk.runs.destination import refuse_other_files, refuse_other_run
from alloyk.runs.file_names import STRESS_FIGURE, STRESS_TABLE, STRESS_TEXT
from alloyk.runs.folder import RunFolder
from alloyk.runs.run_data import open_run_data, refuse_in_run_data

MAX_IMAGES = 300


@dataclass(frozen=True)
class StressResult:
    """What `stress_run` found.

    Attributes:
        rows: The clean images first, then each kind from weak to strong, then other set-ups.
        folder: Where table and figure are.
        simulated: Whether the images are simulated.
    """

    rows: tuple[Row, ...]
    folder: Path
    simulated: bool

    @property
    def summary(self) -> float:
        """Mean accuracy over all disturbances whose images still show their label."""
        return mean_accuracy(self.rows)


def stress_run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    most_images: int = MAX_IMAGES,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> StressResult:
    """Disturb the raw test images of a run and classify them.

    Args:
        run: Run folder.
        data: Where the run's data set is now; by default where it was in training.
        out: Folder for `stress.csv`, `stress.md` and `stress.png`; by default `stress` in the run.
        most_images: Images at most, chosen at random from the test split.
        seed: Seed of the choice and of the disturbances.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        AlloykError: The run has no model, its test images are gone or cannot be read, or `out`
            lies in another run or in the data set, or holds other files.
    """
    folder = RunFolder(run)
    target = Path(out) if out else folder.stress_folder
    if out:
        refuse_other_run(target, folder.path)
        refuse_in_run_data(target, folder.path)
    refuse_other_files(target, (STRESS_TABLE, STRESS_TEXT, STRESS_FIGURE), "stress test")
    refuse_channels(
        read_metadata(folder.require_model()), folder.path, "stress",
        "run it for a model of each channel, trained with one value in data.channels.values",
    )  # fmt: skip
    dataset = open_run_data(folder.path, data, split="test")
    images, labels = _test_images(dataset, most_images, seed)
    classifier = load(folder.path)
    full_scale = _full_scale(images)
    plan = [(name, kind, strength) for name, kind in KINDS.items() for strength in kind.strengths]
    further = list(strengths_of(dataset.root, dataset.channels))
    rows = [_row(classifier, images, labels, CLEAN, 0, "")]
    with progress.task("stress", len(plan) + len(further), "disturbances") as advance:
        for name, kind, strength in plan:
            changed = disturbed(images, kind, strength, full_scale, seed)
            rows.append(
                _row(classifier, changed, labels, name, strength, kind.unit, kind.recognisable)
            )
            advance(1)
        for name, setup, strength in further:
            changed, true = simulated_images(
                dataset.root, setup, strength, len(images), seed, dataset.channels
            )
            row = _row(classifier, changed, true, name, strength, setup.unit, setup.recognisable)
            share = detectable(dataset.root, setup, strength, dataset.channels)
            rows.append(replace(row, detectable=share))
            advance(1)
    with files_together(target, []) as unfinished:
        write_rows(rows, Path(unfinished) / STRESS_TABLE)
        text = format_markdown(rows, simulated=dataset.simulated)
        (Path(unfinished) / STRESS_TEXT).write_text(text, encoding="utf-8")
        draw_rows(rows, Path(unfinished) / STRESS_FIGURE, simulated=dataset.simulated)
    return StressResult(tuple(rows), target, dataset.simulated)


def disturbed(
    images: Sequence[np.ndarray], kind: Kind, strength: float, full_scale: float, seed: int
) -> list[np.ndarray]:
    """The images `(height, width, 1)` after a disturbance, of the type and range they had.

    Image number i gets the same random numbers whatever the other images are.
    """
    changed = []
    for number, image in enumerate(images):
        key = zlib.crc32(f"{kind.unit} {strength} {kind.change.__qualname__}".encode())
        rng = np.random.default_rng([seed, number, key])
        counts = image.dtype.kind in "iu"
        # A data set may mix depths.
        top = min(full_scale, float(np.iinfo(image.dtype).max)) if counts else full_scale
        result = kind.change(image[..., 0].astype(np.float64), strength, top, rng)
        if counts:
            result = np.rint(np.clip(result, min(0, int(image.min())), top))
        changed.append(result.astype(image.dtype)[..., None])
    return changed


def _test_images(
    dataset: ImageDataset, most: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Gray raw images and labels of the test split."""
    table = dataset.split("test")
    if table.empty:
        raise DataError(f"the test split of {shown(dataset.root)} must have images, got none")
    chosen = np.arange(len(table))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    paths = dataset.paths("test")
    images = []
    for place in chosen:
        image = read_image(paths[int(place)])
        gray = to_gray(image)
        images.append((np.rint(gray) if image.dtype.kind in "iu" else gray).astype(image.dtype))
    return images, table["label"].to_numpy()[chosen]


def _full_scale(images: Sequence[np.ndarray]) -> float:
    """Largest count of the detector: the next power of two above the brightest pixel, less one."""
    brightest = max(float(image.max()) for image in images)
    if images[0].dtype.kind not in "iu":
        return brightest
    return float(2 ** int(brightest).bit_length() - 1)


def _row(
    classifier: Classifier,
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    name: str,
    strength: float,
    unit: str,
    recognisable: bool = True,
) -> Row:
    found = classifier.predict(images)
    right = (np.array(found.labels) == labels) & recognisable
    confident = found.probabilities.max(axis=1) >= CONFIDENT
    unlike = None if found.unlike is None else found.unlike >= 1
    silent = confident & ~right if unlike is None else confident & ~right & ~unlike
    return Row(
        name,
        strength,
        unit,
        len(images),
        float(right.mean()) if recognisable else None,
        None if unlike is None else float(unlike.mean()),
        float(silent.mean()),
    )
