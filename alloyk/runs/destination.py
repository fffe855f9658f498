"""Whether a folder or file may take what a command writes.

Every command that writes where the user says asks here first, so that none replaces what it did
not make, mixes its files with others, or puts figures among the images of a data set.
"""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from alloyk.errors import ConfigError
from alloyk.messages import shown
from alloyk.runs.folder import RunFolder, owner_of

HEAD_BYTES = 1 << 16


def refuse_existing(out: Path, option: str = "--out") -> None:
    """Require a name that no file, folder or link has.

    Args:
        out: The file or folder to write.
        option: What it was given by, for the error.

    Raises:
        ConfigError: There is something under this name.
    """
    if os.path.lexists(out):
        raise ConfigError(f"{shown(out)} already exists; choose another {option}, or delete it")


def refuse_other_ending(out: Path, endings: Collection[str], option: str = "--out") -> None:
    """Require a name that ends as the file that will be written.

    Args:
        out: The file to write.
        endings: Endings in lower case, such as `.png`.
        option: What it was given by, for the error.

    Raises:
        ConfigError: The name ends otherwise.
    """
    if out.suffix.lower() not in endings:
        raise ConfigError(f"{option} must end in {' or '.join(endings)}, got {shown(out)}")


def refuse_foreign_folder(out: Path, run: Path, *, own_test: bool) -> None:
    """Require a folder that an evaluation of `run` may write to.

    It is absent or empty, lies in the run, is the run itself for its own test split, or holds an
    earlier evaluation of the same run.

    Args:
        out: The folder.
        run: The evaluated run.
        own_test: Whether the run's own test split is evaluated.

    Raises:
        ConfigError: The folder is or lies in another run, holds another run's evaluation or other
            files; or it is the run itself, whose own evaluation would be replaced.
    """
    run = run.resolve()
    if out.resolve() == run:
        if own_test:
            return
        raise ConfigError(
            f"--out must not be the evaluated run unless its own test split is evaluated, got "
            f"{shown(out)}; leave --out out for a folder in the run, or choose another --out"
        )
    refuse_other_run(out, run)
    if _is_empty(out) or run in out.resolve().parents:
        return
    found = RunFolder(out)
    if not found.metrics_file.is_file() and not any(out.glob("predictions*.csv")):
        raise ConfigError(
            f"--out must be a new or empty folder or an earlier evaluation, but {shown(out)} holds "
            "other files; choose another --out"
        )
    other = _evaluated_run(found, RunFolder(run))
    if other:
        raise ConfigError(
            f"--out must not hold the evaluation of another run, but {shown(out)} holds that of "
            f"{other}; choose another --out"
        )


def refuse_other_run(out: Path, run: Path | None = None, option: str = "--out") -> None:
    """Require a file or folder that is not, and is not in, a run other than `run`.

    Args:
        out: The file or folder.
        run: The run that it may belong to, if any.
        option: What it was given by, for the error.

    Raises:
        ConfigError: It is or does; the message names the run.
    """
    owner = owner_of(out)
    if owner is None or (run is not None and owner.path.resolve() == run.resolve()):
        return
    whose = "a run" if run is None else "another run"
    is_it = owner.path.resolve() == out.resolve()
    what = f"is {whose}" if is_it else f"lies in {whose}, {shown(owner.path)}"
    raise ConfigError(
        f"{option} must not replace files of {whose}, but {shown(out)} {what}; choose another "
        f"{option}"
    )


def refuse_run_file(out: Path, model: Path, option: str = "--out") -> None:
    """Require a file or folder that no run and no evaluation uses, nor another run holds.

    A file with another name may be in the run, such as an export.

    Args:
        out: The file or folder to write.
        model: The run that it is made from, or a model that may lie in one.
        option: What it was given by, for the error.

    Raises:
        ConfigError: It belongs to a run or to an evaluation.
    """
    own = owner_of(model)
    refuse_other_run(out, None if own is None else own.path, option)
    folder = RunFolder(Path(out).absolute().parent)
    if (folder.is_run or folder.has_evaluation) and folder.uses(out.name):
        raise ConfigError(
            f"{option} must not replace files of a run or an evaluation, but {shown(out)} is one; "
            f"choose another {option}"
        )


def refuse_in_data(out: Path, data: str | Path | None, option: str = "--out") -> None:
    """Require a file or folder outside a data set of folders, where a figure would be an image.

    Args:
        out: The file or folder to write.
        data: The data set; a manifest by itself names its images, so `out` may lie beside it.
        option: What it was given by, for the error.

    Raises:
        ConfigError: `out` is the data set or lies in it.
    """
    if data is None or not Path(data).is_dir():
        return
    root, place = Path(data).resolve(), out.resolve()
    if place == root or root in place.parents:
        raise ConfigError(
            f"{option} must not lie in the data set {shown(data)}, where figures would be taken "
            f"for images, got {shown(out)}; choose another {option}"
        )


def refuse_other_files(
    out: Path, names: Collection[str], what: str, option: str = "--out", *, complete: bool = True
) -> None:
    """Require a folder that is absent, empty or holds what an earlier call has written.

    Args:
        out: The folder.
        names: The files that are written.
        what: What they are together, for the error.
        option: What the folder was given by, for the error.
        complete: Whether all of them are always written.

    Raises:
        ConfigError: It is a file, holds other files, or only some of `names` though `complete`.
    """
    if _is_empty(out):
        return
    there = _shown_names(out) if out.is_dir() else {out.name}
    if there - set(names) or (complete and set(names) - there):
        raise ConfigError(
            f"{option} must be a new or empty folder or an earlier {what}, but {shown(out)} "
            f"{'holds other files' if out.is_dir() else 'is a file'}; choose another {option}"
        )


def refuse_other_content(
    out: Path, is_ours: Callable[[bytes], bool], what: str, option: str = "--out"
) -> None:
    """Require a file that is absent, empty or what an earlier call has written.

    Args:
        out: The file.
        is_ours: Whether its first `HEAD_BYTES` are those of such a file.
        what: What it must be, for the error.
        option: What it was given by, for the error.

    Raises:
        ConfigError: It holds something else.
    """
    try:
        with out.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return  # absent, or writing gives the reason
    if head and not is_ours(head):
        raise ConfigError(
            f"{option} must be a new file or {what}, but {shown(out)} holds something else; choose "
            f"another {option}"
        )


def refuse_unless_made_by(out: Path, marker: str, what: str) -> None:
    """Require a folder that is absent, empty or holds a file that marks it as our own.

    Args:
        out: The folder.
        marker: Name of the file.
        what: Meaning of the marker, for the error.

    Raises:
        ConfigError: It is another file or folder.
    """
    refuse_other_run(out)
    if not _is_empty(out) and not (out / marker).is_file():
        raise ConfigError(
            f"--out must be a new or empty folder or an earlier {what}, but {shown(out)} holds "
            "other files; choose another --out"
        )


def _is_empty(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not _shown_names(folder))


def _shown_names(folder: Path) -> set[str]:
    """Names in a folder, without hidden ones: locks, and what killed processes have left."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def _evaluated_run(evaluation: RunFolder, run: RunFolder) -> str | None:
    """Name of the run that a folder holds an evaluation of; None if it may be `run`."""
    theirs, ours = evaluation.facts, run.facts
    if theirs.run is not None:
        return None if theirs.run.resolve() == run.path.resolve() else shown(theirs.run)
    # Earlier versions did not record the run, but copied these of its facts.
    for name in ("parameters", "classes", "fingerprint"):
        old, own = getattr(theirs, name), getattr(ours, name)
        if old and own and old != own:
            return f"a run with other {name}"
    return None
