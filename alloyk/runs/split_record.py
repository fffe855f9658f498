"""The split record: which images a run was trained on, as `split.csv` holds them.

A split that is drawn when a data set is loaded changes once images are added, and a folder of the
same name may hold other images. Therefore a run records every image with its label, its split and
the SHA-256 of its file.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.data import PLATE, SPLITS, ImageDataset
from alloyk.data.text_table import parse_text_table, text_of_table
from alloyk.errors import ModelError
from alloyk.files import whole_file
from alloyk.imaging import image_files, open_image_file
from alloyk.messages import shown

if TYPE_CHECKING:
    import pandas as pd

SKIPPED = "skipped"
"""Value of `split` for an unreadable image that was left out."""

_COLUMNS = ("path", "label", "split", "sha256")
# Runs may use one image in different splits: it then counts as in the first of these.
_PRECEDENCE = (*SPLITS, SKIPPED)
_DIGITS = 12


@dataclass(frozen=True, eq=False)
class SplitRecord:
    """The images of a training run.

    Attributes:
        table: `path` as index; the columns `label`, `split` and `sha256`, and `plate_id`
            where it is known. All of them are text.
    """

    table: "pd.DataFrame"

    def of(self, *splits: str) -> "pd.DataFrame":
        """Return the rows of some splits."""
        return self.table[self.table["split"].isin(splits)]

    @property
    def used(self) -> "pd.DataFrame":
        """The rows of images that were not skipped."""
        return self.of(*SPLITS)


def write_split_record(
    file: Path, dataset: ImageDataset, digests: Mapping[str, str] | None = None
) -> None:
    """Write the record of a data set: `path,label,split,plate_id,sha256`.

    Args:
        file: The file to write.
        dataset: The data set.
        digests: Full path → SHA-256 of files that have been read; the others are read here.

    Raises:
        ModelError: An image cannot be read, or the file cannot be written.
    """
    import pandas as pd

    columns = [name for name in ("path", "label", "split", PLATE) if name in dataset.table.columns]
    table = dataset.table[columns].copy()
    known = table["path"].map(lambda path: (digests or {}).get(str(dataset.root / path)))
    unread = known.isna()
    if unread.any():
        known[unread] = image_digests(dataset.root, table.loc[unread, "path"]).to_numpy()
    table["sha256"] = known
    skipped = pd.DataFrame({"path": dataset.skipped, "split": SKIPPED}, dtype=object)
    _write(file, pd.concat([table, skipped]))


def write_merged_record(file: Path, records: Sequence[SplitRecord]) -> None:
    """Write what several runs together were trained on, such as the members of a vote.

    An image that one of them used for training counts as such, whatever it was for another one;
    validation comes before test. Of images with the same path but different content, the first
    keeps the path; the others, if used for training or validation, get the first digits of their
    SHA-256 before it.

    Args:
        file: The file to write.
        records: Their records, one or more.

    Raises:
        ModelError: The file cannot be written.
    """
    import pandas as pd

    merged: dict[str, dict[Any, str]] = {}
    for record in records:
        for row in record.table.reset_index().astype(str).to_dict("records"):
            path = row.pop("path")
            known = merged.get(path, {})
            if known.get("sha256") and row["sha256"] and known["sha256"] != row["sha256"]:
                if row["split"] not in ("train", "val"):
                    continue
                path = f"{row['sha256'][:_DIGITS]}/{path}"
                known = merged.get(path, {})
            merged[path] = {
                **row,
                **{name: value for name, value in known.items() if value},
                "split": min(row["split"], known.get("split", SKIPPED), key=_precedence),
            }
    table = pd.DataFrame([{"path": path, **row} for path, row in merged.items()], dtype=object)
    columns = [name for name in (*_COLUMNS[:-1], PLATE, _COLUMNS[-1]) if name in table]
    _write(file, table[columns])


def _precedence(split: str) -> int:
    return _PRECEDENCE.index(split) if split in _PRECEDENCE else len(_PRECEDENCE)


def _write(file: Path, table: "pd.DataFrame") -> None:
    with whole_file(file) as unfinished:
        unfinished.write_bytes(text_of_table(table).encode())


def read_split_record(file: Path) -> SplitRecord | None:
    """Read a split record; None where there is no file.

    Raises:
        ModelError: The file cannot be read, lacks a column, or has a path twice.
    """
    if not file.exists():
        return None
    try:
        table = parse_text_table(file.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {shown(file)}: {' '.join(str(error).split())}") from error
    if not set(_COLUMNS) <= set(table.columns) or table["path"].duplicated().any():
        raise ModelError(
            f"{shown(file)} must have the columns {','.join(_COLUMNS)} and each path once; "
            "restore it, or train again into a new folder"
        )
    if PLATE in table:
        table[PLATE] = table[PLATE].str.strip()
    return SplitRecord(table.set_index("path"))


def image_digests(root: Path, paths: Iterable[str]) -> "pd.Series[str]":
    """Return the SHA-256 of each image's file, in the order of `paths`; a stack is read once.

    For an image with a file for each channel, it is the SHA-256 of their concatenated digests.
    """
    import pandas as pd

    files = [image_files(root / path) for path in paths]
    distinct = list(dict.fromkeys(file for channels in files for file in channels))
    with ThreadPool() as pool:
        digests = dict(zip(distinct, pool.map(_sha256, distinct), strict=True))
    found = ([digests[file] for file in channels] for channels in files)
    return pd.Series([one[0] if len(one) == 1 else _digest_of(one) for one in found], dtype=object)


def _sha256(path: Path) -> str:
    try:
        with open_image_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot read {shown(path)}: {why}") from error


def _digest_of(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
