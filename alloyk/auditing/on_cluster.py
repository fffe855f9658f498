"""Measure the images of a data set on a Ray cluster; all checks are done here, on the measures."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alloyk.auditing.measure import Measures
from alloyk.auditing.scan import measure_images
from alloyk.imaging import FileSettings, describe_files
from alloyk.inference.shards import named_shards
from alloyk.runtime.cores import available_cores
from alloyk.runtime.ray_cluster import ray_cluster, require_ray
from alloyk.runtime.ray_map import Place, map_shards

SHARD_IMAGES = 256
PACKAGES = ("numpy", "pillow")


@dataclass(frozen=True)
class ShardMeasurer:
    """Makes the function that measures a shard, in a process of the cluster.

    Attributes:
        root: Folder of the data set.
        files: How its raw and HDF5 files are read.
    """

    root: Path
    files: FileSettings

    def __call__(self) -> Callable[[int, list[str]], list[Measures | str]]:
        """Set how raw and HDF5 files are read."""
        describe_files(self.root, self.files)
        return _measures


def _measures(number: int, names: list[str]) -> list[Measures | str]:
    return [one for _, chunk in measure_images([Path(name) for name in names]) for one in chunk]


def measure_on_cluster(
    paths: Sequence[Path], root: Path, files: FileSettings, address: str, workers: int | None
) -> Generator[tuple[int, list[Measures | str]], None, None]:
    """Yield (first row, measures from that row on), as they are ready.

    Args:
        paths: Image files, absolute, on storage that every machine sees.
        root: Folder of the data set.
        files: How its raw and HDF5 files are read.
        address: `HOST:PORT` of a Ray cluster, which has been checked, or `local`.
        workers: Number of processes, see `map_shards`.

    Raises:
        AlloykError: The cluster cannot be used.
    """
    ray = require_ray("--address", "ray")
    names = [str(path) for path in paths]
    shards, place = named_shards(names, SHARD_IMAGES), Place.of(names, PACKAGES)
    with ray_cluster(ray, address, max(workers or 0, available_cores())):
        for number, found in map_shards(ray, shards, ShardMeasurer(root, files), place, workers):
            yield number * SHARD_IMAGES, found
