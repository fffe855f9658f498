"""A schedule of settings that Population-Based Training has found, and its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from alloyk.errors import ModelError
from alloyk.messages import shown
from alloyk.runs.json_file import read_json, write_json
from alloyk.settings import overlay

CHANGEABLE = (
    "optimizer.learning_rate", "optimizer.weight_decay", "optimizer.clip_norm", "model.dropout",
    "loss.gamma", "loss.beta", "loss.tau", "loss.label_smoothing", "augment.*",
)  # fmt: skip
"""Keys that may change between epochs: every variable of the network and of the optimizer keeps its
shape and its meaning."""

VERSION = 1


def is_changeable(key: str) -> bool:
    """Whether a key may change between epochs.

    >>> is_changeable("augment.shift"), is_changeable("loss.gamma"), is_changeable("model.arch")
    (True, True, False)
    """
    return key in CHANGEABLE or key.startswith("augment.")


class Part(NamedTuple):
    """Epochs that are trained with the same settings.

    Attributes:
        until: Epochs done at its end.
        values: Dotted key → value.
        trial: The trial of the search.
    """

    until: int
    values: Mapping[str, Any]
    trial: str = ""


class Lineage(NamedTuple):
    """The settings of a member's ancestors and its own, from the first epoch to its last.

    Attributes:
        config: The configuration, as nested plain values.
        parts: What changes in it, in order.
        data: Fingerprint of the data set.
        weights: SHA-256 of the weights of the best epoch.
        monitor: What the search compared members by.
        result: Its value at the end.
    """

    config: Mapping[str, Any]
    parts: tuple[Part, ...]
    data: str
    weights: str
    monitor: str
    result: float

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file of a search.

        Raises:
            ModelError: It is missing or damaged.
        """
        if not Path(path).is_file():
            raise ModelError(
                f"the lineage must be the file of a search, got {shown(path)}, which is not "
                "a file; check the path"
            )
        content = read_json(path)
        try:
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']} is not known")
            parts = tuple(
                Part(int(one["until"]), dict(one["values"]), str(one.get("trial", "")))
                for one in content["parts"]
            )
            found = cls(
                dict(content["config"]), parts, str(content["data"]), str(content["weights"]),
                str(content["monitor"]), float(content["result"]),
            )  # fmt: skip
            ends = [part.until for part in parts]
            if not ends or ends[0] < 1 or ends != sorted(set(ends)):
                raise ValueError(f"the parts must end at rising epochs, got {ends}")
            fixed = [key for part in parts for key in part.values
                     if key != "seed" and not is_changeable(key)]  # fmt: skip
            if fixed:
                raise ValueError(f"{fixed[0]} cannot change between epochs")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ModelError(
                f"{shown(path)} must be the lineage of a search, got an invalid file: {problem}; "
                "take lineage.json from the folder of the search"
            ) from error
        return found

    def write(self, path: Path) -> None:
        """Write the file."""
        content = {"version": VERSION, **self._asdict()}
        write_json(path, {**content, "parts": [part._asdict() for part in self.parts]})

    def on(self, data: Path | None) -> Self:
        """The same schedule on another place of the data; None changes nothing."""
        if data is None:
            return self
        return self._replace(config=overlay(self.config, {"data": {"path": str(data)}}))

    def settings(self) -> list[dict[str, Any]]:
        """The settings of each part, as nested plain values."""
        return [overlay(self.config, _nested(part.values)) for part in self.parts]


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionary of dotted keys.

    >>> _nested({"seed": 3, "augment.shift": 0.1, "augment.crop": 0.2})
    {'seed': 3, 'augment': {'shift': 0.1, 'crop': 0.2}}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        section, dot, name = key.partition(".")
        if dot:
            found.setdefault(section, {})[name] = value
        else:
            found[section] = value
    return found
