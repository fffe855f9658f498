"""The workers of one training run, as the environment variable `TF_CONFIG` describes them.

Source: https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alloyk.errors import ConfigError

VARIABLE = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}'
)
JOBS = ("chief", "worker")
"""Jobs of a cluster, in the order of their workers."""
_PORT = re.compile("[0-9]{1,5}")


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
    except ValueError:
        raise _refused(" ".join(text.split())) from None
    if not isinstance(described, dict):
        raise _refused(json.dumps(described))
    jobs = _jobs(described.get("cluster", {}))
    addresses = tuple(address for job in JOBS for address in jobs.get(job, ()))
    for address in addresses:
        if not _is_address(address):
            raise _refused(f"the address {address!r}")
    if len(set(addresses)) < len(addresses):
        raise _refused("one address twice")
    if len(addresses) < 2:
        return None
    return Cluster(addresses, _index(jobs, described.get("task")))


def _jobs(found: Any) -> dict[str, list[str]]:
    """The addresses of each job."""
    if not isinstance(found, dict):
        raise _refused(f'"cluster": {json.dumps(found)}')
    for job, addresses in sorted(found.items()):
        if job not in JOBS:
            raise _refused(f"the job {job}")
        if not isinstance(addresses, list) or not all(isinstance(one, str) for one in addresses):
            raise _refused(f'"{job}": {json.dumps(addresses)}')
    return found


def _index(jobs: Mapping[str, list[str]], task: Any) -> int:
    """Number of this process among the chief and the workers."""
    job, number = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
    addresses = jobs.get(job, []) if isinstance(job, str) else []
    if type(number) is not int or not 0 <= number < len(addresses):  # a bool is an `int`
        raise _refused(f"the task {json.dumps(task)}")
    return number + (len(jobs.get("chief", ())) if job == "worker" else 0)


def _is_address(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host.strip("[]")) and _PORT.fullmatch(port) is not None and 0 < int(port) < 65536


def _refused(found: str) -> ConfigError:
    return ConfigError(f"{VARIABLE} must be like {EXAMPLE}, got {found}; correct or unset it")
