"""Recognise the columns and the splits that alloyk knows, in any spelling."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from alloyk.errors import DataError
from alloyk.messages import few

SPLITS = ("train", "val", "test")
PLATE = "plate_id"
THICKNESS = "thickness_mm"
KNOWN_COLUMNS = ("path", "label", "split", PLATE, THICKNESS)

# Folded names of columns that may identify the plates.
_PLATE_ALIKE = frozenset(
    {"plate", "plates", "plateids", "plate.id", "plateno", "platenr", "platenumber", "platename"}
    | {"sample", "sampleid", "specimen", "specimenid", "piece", "pieceid", "part", "partid"}
    | {"sheet", "sheetid", "workpiece", "workpieceid", "platte", "plattennr", "probe", "probenr"}
)

# Spelling → split; case, spaces, hyphens, underscores and words such as "set" are ignored.
SPLIT_SPELLINGS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "validating": "val",
    "dev": "val",
    "devel": "val",
    "development": "val",
    "test": "test",
    "testing": "test",
    "tst": "test",
    # German, French, Spanish, Portuguese, Italian, Chinese, Japanese
    "trainieren": "train",
    "validierung": "val",
    "validieren": "val",
    "testen": "test",
    "entraînement": "train",
    "entrainement": "train",
    "apprentissage": "train",
    "entrenamiento": "train",
    "validación": "val",
    "validacion": "val",
    "prueba": "test",
    "pruebas": "test",
    "treino": "train",
    "treinamento": "train",
    "validação": "val",
    "validacao": "val",
    "teste": "test",
    "testes": "test",
    "addestramento": "train",
    "validazione": "val",
    "训练": "train",
    "训练集": "train",
    "验证": "val",
    "验证集": "val",
    "测试": "test",
    "测试集": "test",
    "学習": "train",
    "訓練": "train",
    "検証": "val",
    "テスト": "test",
}
# Used for validation by some and for testing by others.
AMBIGUOUS_SPLITS = ("eval", "evaluation", "holdout")
_SEPARATORS = r"[\s\ufeff\u200b_\-\u2010-\u2015]"
_FILLER = ("set", "data", "dataset", "image", "images", "img", "imgs", "split")


def folded(name: str) -> str:
    """A column's name without case, width, spaces, hyphens and underscores.

    >>> folded(" Plate-ID"), folded("plate_id")
    ('plateid', 'plateid')
    """
    return re.sub(_SEPARATORS, "", unicodedata.normalize("NFKC", name)).casefold()


def known_names(file_name: str, columns: Sequence[str]) -> dict[str, str]:
    """Columns that are a known one in another spelling → the known name.

    Raises:
        DataError: Two columns are the same known one.
    """
    known = {folded(name): name for name in KNOWN_COLUMNS}
    found: dict[str, list[str]] = {}
    for column in columns:
        if folded(column) in known:
            found.setdefault(known[folded(column)], []).append(column)
    for name, spellings in found.items():
        if len(spellings) > 1:
            raise DataError(
                f"{file_name} must have one column {name}, got "
                f"{' and '.join(map(repr, spellings))}; rename or remove one"
            )
    return {spellings[0]: name for name, spellings in found.items() if spellings[0] != name}


def column_called(columns: Iterable[str], name: str) -> str | None:
    """The column of that name, or the only one that differs from it in spelling alone.

    >>> column_called(["path", "Batch_ID"], "batch id")
    'Batch_ID'

    Raises:
        DataError: Several columns differ from it in spelling alone.
    """
    columns = [str(column) for column in columns]
    if name in columns:
        return name
    alike = [column for column in columns if folded(column) == folded(name) != ""]
    if len(alike) > 1:
        raise DataError(
            f"the column {name!r} could be {' or '.join(map(repr, alike))}; write it exactly"
        )
    return alike[0] if alike else None


def spelled_alike(names: Iterable[str]) -> list[list[str]]:
    """The names that differ in spelling alone, together, each list and all of them sorted.

    A separator between digits counts: plate 1-12 is not plate 11-2. A number is the same with `.0`,
    which a spreadsheet or pandas appends where a column has empty cells.

    >>> spelled_alike(["Al 2017", "al2017", "1050", "1050.0", "1-12", "11-2"])
    [['1050', '1050.0'], ['Al 2017', 'al2017']]
    """
    found: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        parts = re.split(rf"(?<=\d){_SEPARATORS}+(?=\d)", unicodedata.normalize("NFKC", name))
        key = "-".join(map(folded, parts))
        found.setdefault(re.sub(r"^(\d+)\.0+$", r"\1", key), []).append(name)
    return sorted(spellings for spellings in found.values() if len(spellings) > 1)


def plate_alike(columns: Iterable[str]) -> list[str]:
    """The columns that may number the plates under another name.

    >>> plate_alike(["path", "label", "Plate no", "operator"])
    ['Plate no']
    """
    return [str(column) for column in columns if folded(str(column)) in _PLATE_ALIKE]


def split_called(name: str) -> str | None:
    """The split that a folder or a cell names, None where it names none.

    >>> [split_called(name) for name in ("Training", "TEST_SET", "dev", "2017")]
    ['train', 'test', 'val', None]
    """
    words = [word for word in _words(name) if word not in _FILLER] or [""]
    for suffix in ("", *_FILLER):
        split = SPLIT_SPELLINGS.get(words[0].removesuffix(suffix))
        if split and len(words) == 1:
            return split
    return None


def splits_among(names: Sequence[str]) -> Mapping[str, str]:
    """Which folder names are splits: name → split.

    Raises:
        DataError: Two names are one split.
    """
    found = {name: split for name in names if (split := split_called(name))}
    for split in SPLITS:
        alike = sorted(name for name in found if found[name] == split)
        if len(alike) > 1:
            raise DataError(
                f"only one folder must be the split {split}, got {' and '.join(map(repr, alike))}; "
                "merge or rename them"
            )
    return found


def refuse_unclear_splits(place: str, names: Sequence[str]) -> None:
    """Refuse folders that are splits by the look of it, but not clearly which.

    Raises:
        DataError: `seg_train` beside `seg_test`, or `evaluation` beside `training`.
    """
    ambiguous = [name for name in names if folded(name) in AMBIGUOUS_SPLITS]
    if ambiguous and any(split_called(name) for name in names):
        raise DataError(
            f"the split folders of {place} must be train, val and test, got {few(ambiguous)}, "
            "which may be val or test; rename it"
        )
    rests: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        # `01_train` and `02_test` differ in their numbers too.
        words = [] if split_called(name) else [w for w in _words(name) if not w.isdigit()]
        for word in words:
            if word in SPLIT_SPELLINGS:
                rest = tuple(other for other in words if other != word)
                rests.setdefault(rest, {})[SPLIT_SPELLINGS[word]] = name
    for alike in rests.values():
        if len(alike) > 1 and "train" in alike:
            raise DataError(
                f"the folders {few(sorted(alike.values()))} of {place} look like splits; rename "
                f"them to {', '.join(sorted(alike, key=SPLITS.index))}, or name one of them as "
                "the data set"
            )


def _words(name: str) -> list[str]:
    """The words and numbers in a name, without case; `TrainSet` is two words."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return re.findall(r"[^\W\d_]+|\d+", parted.casefold())
