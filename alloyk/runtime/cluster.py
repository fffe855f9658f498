"""The workers of one training run, as the environment variable `TF_CONFIG` describes them.

Source: https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
"""

import json
import os
from dataclasses import dataclass
from typing import Any

from alloyk.errors import ConfigError

VARIABLE = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Cluster:
    """The addresses of all workers, and which of them this process is.

    Attributes:
        addresses: `host:port` of each worker. The first one, the chief, writes the run.
        index: Number of this process, from 0.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run."""
        return self.index == 0

    def name_of(self, index: int) -> str:
        """A worker with its address, for messages."""
        return f"worker {index} ({self.addresses[index]})"


def cluster_from_environment() -> Cluster | None:
    """Read `TF_CONFIG`; None if it is not set, or names one worker only.

    Raises:
        ConfigError: It is not such a description.

    >>> os.environ["TF_CONFIG"] = EXAMPLE
    >>> cluster_from_environment()
    Cluster(addresses=('one:2222', 'two:2222'), index=0)
    >>> del os.environ["TF_CONFIG"]
    >>> cluster_from_environment() is None
    True
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        described = json.loads(text)
        jobs, task = described.get("cluster", {}), described.get("task", {})
        addresses = tuple(address for job in ("chief", "worker") for address in jobs.get(job, ()))
        others = sorted(set(jobs) - {"chief", "worker"})
    except (ValueError, AttributeError, TypeError):
        raise _refused(text) from None
    if others:
        raise _refused(f"the job {others[0]}")
    for address in addresses:
        if not _is_address(address):
            raise _refused(f"the address {address!r}")
    if len(set(addresses)) < len(addresses):
        raise _refused("one address twice")
    if len(addresses) < 2:
        return None
    return Cluster(addresses, _index(jobs, task))


def _index(jobs: dict[str, Any], task: Any) -> int:
    """Number of this process among the chief and the workers."""
    kind, number = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    if kind not in jobs or not isinstance(number, int) or not 0 <= number < len(jobs[kind]):
        raise _refused(f"the task {json.dumps(task)}")
    return number + (len(jobs.get("chief", ())) if kind == "worker" else 0)


def _is_address(address: Any) -> bool:
    host, _, port = str(address).rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536


def _refused(found: str) -> ConfigError:
    return ConfigError(f"{VARIABLE} must be like {EXAMPLE}, got {found}; correct or unset it")
