"""The detector of unlike images as a member of a model file; files of earlier versions are read."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import ModelError, reason
from alloyk.inference.members import read_member, write_member
from alloyk.inference.novelty import NoveltyDetector
from alloyk.inference.raw_statistics import NAMES
from alloyk.messages import shown

MEMBER = "alloyk_novelty.npz"

LATER = (
    "picture_mean", "picture_whitening", "picture_threshold",
    "feature_mean", "feature_whitening", "feature_threshold",
    "curve_bank", "curve_mean", "curve_whitening", "curve_threshold", "missing_curve_score",
    "bank_directions",
)  # fmt: skip
"""Fields that files of earlier versions lack."""

FIRST_NAMES = NAMES[:6]
"""The raw statistics of files that do not name theirs."""

ANY = 1e9
"""End of the range of a statistic that a file of an earlier version lacks: any value is in it."""


def detector_content(detector: NoveltyDetector) -> bytes:
    """The detector as the bytes of an `.npz` file."""
    values: dict[str, Any] = {
        one.name: np.asarray(getattr(detector, one.name)) for one in fields(detector)
    }
    content = io.BytesIO()
    np.savez_compressed(content, statistics=np.array(NAMES), **values)
    return content.getvalue()


def write_detector(model: Path, detector: NoveltyDetector) -> None:
    """Add the detector to a model file or a SavedModel folder."""
    write_member(model, MEMBER, detector_content(detector))


def has_detector(model: Path) -> bool:
    """Whether a `.keras` file holds a detector; False where the file cannot be read."""
    try:
        with zipfile.ZipFile(model) as archive:
            return MEMBER in archive.namelist()
    except (OSError, zipfile.error):
        return False


def read_detector(model: Path) -> NoveltyDetector | None:
    """Return the detector of a model file; None if it has none.

    Raises:
        ModelError: The detector is damaged.
    """
    try:
        try:
            content = read_member(model, MEMBER)
        except (KeyError, FileNotFoundError):
            return None
        return _detector_of(content)
    # zipfile, zlib and NumPy raise nearly anything on damaged bytes.
    except Exception as error:
        raise ModelError(
            f"the detector of unlike images in {shown(model)} is damaged ({reason(error)}); export "
            "or train the model again"
        ) from error


def _detector_of(content: bytes) -> NoveltyDetector:
    """The detector in the bytes of an `.npz` file."""
    with np.load(io.BytesIO(content)) as archive:
        # A field whose name is damaged must not count as one that an earlier version lacks.
        if (damaged := archive.zip.testzip()) is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        values: dict[str, Any] = {
            one.name: archive[one.name]
            for one in fields(NoveltyDetector)
            if one.name in archive or one.name not in LATER
        }
        names = archive["statistics"].tolist() if "statistics" in archive else FIRST_NAMES
    values["lowest"] = _with_all_statistics(values["lowest"], names, -ANY)
    values["highest"] = _with_all_statistics(values["highest"], names, ANY)
    for one in fields(NoveltyDetector):
        if one.type is float and one.name in values:
            values[one.name] = float(values[one.name])
    return NoveltyDetector(**values)


def _with_all_statistics(ends: np.ndarray, names: Sequence[str], missing: float) -> np.ndarray:
    """Ends of the ranges of all `NAMES`, channel after channel, from those of `names`."""
    by_channel = ends.reshape(-1, len(names))
    found = np.full((len(by_channel), len(NAMES)), missing)
    found[:, [NAMES.index(name) for name in names]] = by_channel
    return found.ravel()
