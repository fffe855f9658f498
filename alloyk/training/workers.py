"""A run that several workers train together: they agree, start from one checkpoint, and end alike.

The chief trains as usual and writes the run. The other workers do the same steps in a folder of
their own, which is deleted in the end: reading a variable that is kept apart on every
device needs all workers, so a checkpoint must be written on all of them or none.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata as installed
from pathlib import Path
from typing import Any

from alloyk import __version__
from alloyk.config import Config
from alloyk.data import ImageDataset
from alloyk.data.sameness import sample_digest
from alloyk.data.source import cache_folder
from alloyk.errors import AlloykError, LostError
from alloyk.runs.folder import RunFolder
from alloyk.runtime.cluster import Cluster
from alloyk.runtime.meeting import meet, refuse_differences
from alloyk.runtime.peers import Peers
from alloyk.settings.assignments import flatten
from alloyk.training.identity import FREE
from alloyk.training.strategy import local_devices

MAY_DIFFER = {**FREE, "train": FREE["train"] - {"checkpoint_steps"}}
"""Settings that may differ between workers, which write checkpoints together."""

WAIT_FOR_LOSS_S = 5.0


@contextmanager
def joined(cluster: Cluster, config: Config) -> Iterator[Peers]:
    """Connect the workers of a run; all end alike when the block ends.

    Raises:
        ConfigError: A worker is missing or differs.
        LostError: A worker was lost in the block.
    """
    peers = meet(cluster, _described(config), config.train.peer_timeout_seconds)
    try:
        yield peers
    except (AlloykError, KeyboardInterrupt) as error:
        peers.fail(str(error) or "was interrupted")
        if isinstance(error, LostError):
            raise LostError(_advice(str(error))) from None
        raise
    except BaseException as error:
        failure = peers.wait_for_loss(WAIT_FOR_LOSS_S)
        if failure is not None:
            raise LostError(_advice(failure)) from None
        peers.fail(" ".join(str(error).split())[:300])
        raise
    finally:
        peers.close()


def _advice(failure: str) -> str:
    return (
        f"all workers must stay until the run is finished, but {failure}; start all of them again, "
        "with --resume if there is a checkpoint"
    )


def _described(config: Config) -> dict[str, Any]:
    """What must be the same on all workers."""
    settings = json.loads(config.model_dump_json(exclude=MAY_DIFFER))
    return {
        "the version of alloyk": __version__,
        "the version of TensorFlow": installed.version("tensorflow"),
        "the version of Keras": installed.version("keras"),
        "the number of devices": local_devices(),
        **flatten(settings),
    }


def agree_on_data(peers: Peers, dataset: ImageDataset) -> None:
    """Raise unless all workers have the same images."""
    own = {"the number of images": len(dataset.table), "the data set": sample_digest(dataset)}
    refuse_differences(peers.cluster, peers.gather("data", own))


def shared_checkpoint(run: Path) -> dict[str, bytes]:
    """The files of a run from which every worker continues."""
    folder = RunFolder(run)
    files = [folder.history_file, *folder.checkpoint_folder.glob("*.npz")]
    return {str(file.relative_to(run)): file.read_bytes() for file in files if file.is_file()}


@contextmanager
def private_folder(cluster: Cluster, files: dict[str, bytes]) -> Iterator[Path]:
    """A folder of this worker with the chief's checkpoint; it is deleted after the block.

    What a killed worker left there is deleted before.
    """
    name = cluster.addresses[cluster.index].replace(":", "-").replace("/", "-")
    folder = cache_folder() / "workers" / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        RunFolder(folder).checkpoint_folder.mkdir(parents=True)
        for path, content in files.items():
            (folder / path).write_bytes(content)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
