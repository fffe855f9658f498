"""The paths of very many images, without a `Path` for each."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np


class ImagePaths(Sequence[Path]):
    """Paths below a folder, made when they are asked for: a `Path` takes half a kilobyte.

    Args:
        root: The folder.
        names: `(n,)` text, paths relative to it.
    """

    def __init__(self, root: Path, names: np.ndarray) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Path]:
        return (self.root / name for name in self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "ImagePaths": ...
    def __getitem__(self, index: int | slice) -> "Path | ImagePaths":
        if isinstance(index, slice):
            return ImagePaths(self.root, self.names[index])
        return self.root / str(self.names[index])
