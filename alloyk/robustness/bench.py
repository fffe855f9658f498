"""Accuracy and silent errors of a run under each kind of disturbance: table, figure, one number."""

import csv
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alloyk.errors import DataError
from alloyk.files import files_together
from alloyk.imaging import read_image, shown
from alloyk.imaging.gray import to_gray
from alloyk.inference import Classifier, load
from alloyk.metrics.selective import CONFIDENT
from alloyk.plots.style import new_axes, save_figure
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.robustness.kinds import KINDS, Kind
from alloyk.robustness.simulated import simulated_images, strengths_of
from alloyk.runs.folder import STRESS_FIGURE, STRESS_TABLE, RunFolder
from alloyk.runs.run_data import open_run_data

MOST_IMAGES = 300
CLEAN = "clean"
COLUMNS = ("kind", "strength", "unit", "n", "accuracy", "unlike", "silent_errors")


@dataclass(frozen=True)
class Row:
    """One disturbance at one strength.

    Attributes:
        kind: Key of `KINDS`, or `clean`.
        strength: Its strength in `unit`.
        unit: What the strength counts.
        n: Number of images.
        accuracy: Share of right answers; None where the image no longer shows its label.
        unlike: Share of images that the run calls unlike those of training; None if it cannot.
        silent_errors: Share of answers that are confident and wrong, to images not called unlike.
    """

    kind: str
    strength: float
    unit: str
    n: int
    accuracy: float | None
    unlike: float | None
    silent_errors: float


@dataclass(frozen=True)
class StressResult:
    """What `stress_run` found.

    Attributes:
        rows: The clean images first, then each kind from weak to strong, then other set-ups.
        folder: Where table and figure are.
    """

    rows: tuple[Row, ...]
    folder: Path

    @property
    def summary(self) -> float:
        """Mean accuracy over all disturbances whose images still show their label."""
        return float(np.mean([r.accuracy for r in self.rows[1:] if r.accuracy is not None]))


def stress_run(
    run: str | Path,
    *,
    out: str | Path | None = None,
    most_images: int = MOST_IMAGES,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> StressResult:
    """Disturb the raw test images of a run and classify them.

    Args:
        run: Run folder.
        out: Folder for `stress.csv`, `stress.md` and `stress.png`; by default `stress` in the run.
        most_images: Images at most, chosen at random from the test split.
        seed: Seed of the choice and of the disturbances.
        progress: Shows how far it is, see `alloyk.progress`.

    Raises:
        AlloykError: The run has no model, or its test images are gone or cannot be read.
    """
    folder = RunFolder(run)
    folder.require_model()
    target = Path(out) if out else folder.stress_folder
    images, labels, root = _test_images(folder, most_images, seed)
    classifier = load(folder.path)
    full_scale = _full_scale(images)
    plan = [(name, kind, strength) for name, kind in KINDS.items() for strength in kind.strengths]
    further = list(strengths_of(root))
    rows = [_row(classifier, images, labels, CLEAN, 0, "")]
    with progress.task("stress", len(plan) + len(further), "disturbances") as advance:
        for name, kind, strength in plan:
            changed = disturbed(images, kind, strength, full_scale, seed)
            rows.append(
                _row(classifier, changed, labels, name, strength, kind.unit, kind.recognisable)
            )
            advance(1)
        for name, setup, strength in further:
            changed, true = simulated_images(root, setup, strength, len(images), seed)
            rows.append(
                _row(classifier, changed, true, name, strength, setup.unit, setup.recognisable)
            )
            advance(1)
    result = StressResult(tuple(rows), target)
    with files_together(target, []) as unfinished:
        _write_csv(rows, Path(unfinished) / STRESS_TABLE)
        text = format_markdown(result)
        (Path(unfinished) / "stress.md").write_text(text, encoding="utf-8")
        draw_rows(rows, Path(unfinished) / STRESS_FIGURE)
    return result


def format_markdown(result: StressResult) -> str:
    """The table with a line for each kind, and the summary below it."""
    clean = result.rows[0]
    lines = [
        "| disturbance | strengths | accuracy, % | unlike, % | silent errors, % |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row.kind for row in result.rows):
        rows = [row for row in result.rows if row.kind == name]
        strengths = ", ".join(f"{row.strength:g}" for row in rows)
        strengths = f"{strengths} {rows[0].unit}" if rows[0].unit else ""
        cells = [
            _percent([row.accuracy for row in rows]),
            _percent([row.unlike for row in rows]),
            _percent([row.silent_errors for row in rows]),
        ]
        lines.append(f"| {name} | {strengths} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Mean accuracy over all disturbances: {100 * result.summary:.1f} % "
        f"({clean.n} images each). Silent errors: wrong with a probability of {CONFIDENT:g} "
        "or more, and not called unlike.",
    ]
    return "\n".join(lines) + "\n"


def _percent(shares: Sequence[float | None]) -> str:
    """Shares of one kind, from weak to strong.

    >>> _percent([1.0, 0.985, None])
    '100.0 / 98.5 / –'
    """
    return " / ".join("–" if share is None else f"{100 * share:.1f}" for share in shares)


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
        result = kind.change(image[..., 0].astype(np.float64), strength, full_scale, rng)
        if image.dtype.kind in "iu":
            result = np.rint(np.clip(result, 0, full_scale))
        changed.append(result.astype(image.dtype)[..., None])
    return changed


def _test_images(
    folder: RunFolder, most: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray, Path]:
    """Gray raw images and labels of the test split, and the folder of the data set."""
    dataset = open_run_data(folder.path, split="test")
    table = dataset.split("test")
    if table.empty:
        raise DataError(f"the test split of {shown(folder.path)} must have images, got none")
    chosen = np.arange(len(table))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    paths = dataset.paths("test")
    images = []
    for place in chosen:
        image = read_image(paths[place])
        images.append(to_gray(image).astype(image.dtype))
    return images, table["label"].to_numpy()[chosen], dataset.root


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


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            shares = (row.accuracy, row.unlike, row.silent_errors)
            cells = ["" if share is None else f"{share:.6g}" for share in shares]
            writer.writerow([row.kind, row.strength, row.unit, row.n, *cells])


def read_rows(path: Path) -> tuple[Row, ...]:
    """Read the table that `stress_run` wrote.

    Raises:
        DataError: It is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(
                Row(
                    row["kind"],
                    float(row["strength"]),
                    row["unit"],
                    int(row["n"]),
                    float(row["accuracy"]) if row["accuracy"] else None,
                    float(row["unlike"]) if row["unlike"] else None,
                    float(row["silent_errors"]),
                )
                for row in csv.DictReader(file)
            )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{shown(path)} must be a table of `alloyk stress`, got {error!r}; write it again"
        ) from error


def draw_rows(rows: Sequence[Row], path: Path) -> None:
    """Accuracy by kind, one dot for each strength; the strongest is the darkest."""
    names = list(dict.fromkeys(row.kind for row in rows if row.accuracy is not None))[1:]
    ax = new_axes(7.0, 0.26 * len(names) + 1.2)
    for place, name in enumerate(names):
        own = [row.accuracy for row in rows if row.kind == name and row.accuracy is not None]
        for number, accuracy in enumerate(own):
            ax.plot(100 * accuracy, place, "o", color="C0", alpha=0.35 + 0.3 * number)
    if rows[0].accuracy is not None:
        ax.axvline(100 * rows[0].accuracy, color="0.5", linewidth=1, label=CLEAN)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("Accuracy (%)")
    ax.set_title("Accuracy under disturbance; darker dots are stronger", loc="left", fontsize=10)
    save_figure(ax, path)
