"""Groups, links and attributes of HDF5 files; links are followed, into other files too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.frames import missing_package

Entry = tuple[str, Any]
"""Path in a file, and the group, the array, or the `DataError` of a broken link."""

_LINKS = 32  # to follow one after another
_WRITES = "is writing, or did not close,"
_WAIT = "read it when the measurement has ended"


def opened(file: BinaryIO) -> Any:
    """Return the `h5py.File` of a file: by its path, as links need, or of bytes.

    Raises:
        DataError: h5py is not installed, or a program is writing the file.
    """
    try:
        import h5py
        import hdf5plugin  # noqa: F401 - registers decoders
    except ImportError as error:
        raise missing_package("HDF5", "h5py and hdf5plugin") from error
    name = getattr(file, "name", None)
    if not isinstance(name, str) or not Path(name).is_file():
        return h5py.File(file, "r")
    try:
        return h5py.File(name, "r")
    except OSError as error:
        if _is_written(error):
            raise DataError(f"a program {_WRITES} it; {_WAIT}") from error
        raise


def _is_written(error: OSError) -> bool:
    """Whether HDF5 refuses a file because of the program that writes it."""
    return "unable to lock file" in str(error) or "already open for" in str(error)


def in_memory(archive: Any) -> bool:
    """Whether a file is given as bytes, so that no other file can be found from it."""
    return bool(archive.driver == "fileobj")


def open_other(path: Path) -> Any:
    """Return the `h5py.File` that another one names.

    Raises:
        DataError: It cannot be opened; names it and gives the reason.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        if _is_written(error):
            raise DataError(
                f"its array is in other files, and a program {_WRITES} {path.name}; {_WAIT}"
            ) from error
        reason = " ".join(str(error).split())
        raise DataError(
            f"its array is in other files, of which {path} cannot be read: {reason}; replace that "
            "file"
        ) from error


def entry_at(start: Any, path: str, links: int = 0) -> Any:
    """Return the group or array at a path; None if nothing has this name.

    Args:
        start: File or group that the path is relative to.
        path: Names of groups and the entry, with `/` between them.
        links: Links followed so far.

    Raises:
        DataError: A link on the way leads to nothing; names its target.
    """
    import h5py

    entry = start.file if path.startswith("/") else start
    for part in path.split("/"):
        if part in ("", "."):
            continue
        link = entry.get(part, getlink=True) if isinstance(entry, h5py.Group) else None
        if link is None:
            return None
        place = f"{entry.name.rstrip('/')}/{part}"
        if links > _LINKS:
            raise DataError(f"its links at {place} lead in a circle; save the images again")
        if isinstance(link, h5py.ExternalLink):
            entry = _in_other_file(entry, part, link, place)
        elif isinstance(link, h5py.SoftLink):
            entry = entry_at(entry, link.path, links + 1)
            if entry is None:
                raise DataError(
                    f"its link {place} leads to {link.path}, which does not exist; save the images "
                    "again"
                )
        else:
            entry = entry[part]
    return entry


def _in_other_file(group: Any, part: str, link: Any, place: str) -> Any:
    """Return what an external link leads to."""
    if in_memory(group.file):
        raise DataError(
            f"its link {place} leads to {link.filename}, which is found only from a file on disk; "
            "save the images into one file"
        )
    try:
        return group[part]
    except (KeyError, OSError):
        folder = Path(group.file.filename).parent
        other = folder / link.filename
        if not other.is_file():
            raise DataError(
                f"its link {place} leads to {link.filename}, which is missing; put it into "
                f"{folder}, or save the images into one file"
            ) from None
        open_other(other).close()
        raise DataError(
            f"its link {place} leads to {link.path} in {link.filename}, which does not exist; save "
            "the images again"
        ) from None


def walk(group: Any) -> Iterator[Entry]:
    """Yield path and entry of everything below a group, each once, in the order of the paths.

    An entry that several links lead to has the first of its paths. A link that leads to nothing
    yields its path and the `DataError`.
    """
    import h5py

    seen = {hash(group.id)}

    def below(group: Any, prefix: str) -> Iterator[Entry]:
        for name in sorted(group):
            path = prefix + name
            try:
                entry = entry_at(group, name)
            except DataError as error:
                yield path, error
                continue
            if entry is None or hash(entry.id) in seen:
                continue
            seen.add(hash(entry.id))
            yield path, entry
            if isinstance(entry, h5py.Group):
                yield from below(entry, f"{path}/")

    yield from below(group, "")


def other_files(file: BinaryIO) -> list[str]:
    """Return the files that arrays and links of a file are in, as it names them, sorted."""
    import h5py

    found: set[str] = set()

    def look(group: Any) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                found.add(link.filename)
            elif isinstance(link, h5py.HardLink):
                entry = group[name]
                if hash(entry.id) in seen:
                    continue
                seen.add(hash(entry.id))
                if isinstance(entry, h5py.Group):
                    look(entry)
                elif isinstance(entry, h5py.Dataset):
                    found.update(name for name, _, _ in entry.external or ())
                    if entry.is_virtual:
                        found.update(source.file_name for source in entry.virtual_sources())

    with opened(file) as archive:
        seen = {hash(archive.id)}
        look(archive)
    return sorted(found - {"."})


def attribute(entry: Any, name: str) -> str:
    """Return an attribute as text; empty if there is none, or it is no text or number.

    A number without a fraction has none in its text: `signal` is 1, 1.0 or True.
    """
    try:
        return as_text(entry.attrs.get(name))
    except (OSError, TypeError, ValueError):  # also text in another encoding
        return ""


def as_text(value: Any) -> str:
    """Return a value of HDF5 as text; see `attribute`."""
    if isinstance(value, str):  # h5py keeps bytes that are not UTF-8 as surrogates
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic | np.ndarray) and value.size == 1:
        return as_text(value.item())
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value) if isinstance(value, int) else ""
