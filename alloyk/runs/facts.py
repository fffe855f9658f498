"""Facts of a run that are not in its configuration or metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

from alloyk.errors import ModelError
from alloyk.messages import shown
from alloyk.runs.metrics import Ceiling

UNKNOWN_GROUPING = "unknown"
"""`Facts.grouped_by` of a run that does not record it."""


class CrossValidated(TypedDict):
    """Of a cross-validation: the names of its folds, and what each held out."""

    folds: list[str]
    held_out: dict[str, str]


@dataclass(frozen=True)
class Facts:
    """The content of `facts.json`.

    Every attribute has a default, because earlier versions wrote fewer of them.

    Attributes:
        alloyk: Version that trained the run.
        classes: Class labels in the order of the probabilities.
        simulated: Whether the images come from alloyk's own simulator; None if unknown.
        data_root: Folder that the paths of the predictions are relative to.
        grouped_by: As `alloyk.data.ImageDataset.grouped_by`; `UNKNOWN_GROUPING` if not recorded.
        channels: Which images were the channels of one sample, as
            `alloyk.imaging.ChannelChoice.as_dict`; empty if each was one.
        notes: Sentences for the user about the data set.
        skipped: Paths of unreadable images that were left out.
        ceiling: The reference ceiling, in files of versions that computed it in training.
        images: Split → number of images.
        fingerprint: Fingerprint of the data set, see `alloyk.data.ImageDataset.fingerprint`.
        parameters: Number of parameters of the saved network.
        loss_weights: Task → learned weight of its loss.
        packages: Package → version.
        python: Version of Python.
        processor: Name of the processor.
        cpu_kernels: TensorFlow's CPU kernels, see `alloyk.runtime.kernels.describe_kernels`.
        devices: TensorFlow's names of the devices used.
        evaluated: What was evaluated, where that is not simply a split.
        cross_validation: Folds and what each held out; set for a cross-validation only.
        fine_tuned_from: Folder of the run that quantisation-aware training started from.
        run: Folder of the evaluated run, in an evaluation outside the run.
        further: Entries of other versions; kept when the facts are written again.
    """

    alloyk: str | None = None
    classes: tuple[str, ...] = ()
    simulated: bool | None = None
    data_root: Path | None = None
    grouped_by: str | None = UNKNOWN_GROUPING
    channels: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    ceiling: Ceiling | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str | None = None
    parameters: int | None = None
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    processor: str | None = None
    cpu_kernels: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    evaluated: str | None = None
    cross_validation: CrossValidated | None = None
    fine_tuned_from: Path | None = None
    run: Path | None = None
    further: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any], file: Path) -> "Facts":
        """Take the facts from the object in a JSON file.

        Args:
            content: The object.
            file: Where it comes from, for errors.

        Raises:
            ModelError: An entry has the wrong type.
        """
        known, further = {}, {}
        for name, value in content.items():
            if name not in _TYPES:
                further[name] = value
            elif value is not None or name == "grouped_by":
                known[name] = _checked(name, value, file)
        return cls(**known, further=further)

    def as_json(self) -> dict[str, Any]:
        """Return the object to write; entries without a value are left out."""
        content: dict[str, Any] = {}
        for name in _TYPES:
            value = getattr(self, name)
            if name == "grouped_by":
                if value != UNKNOWN_GROUPING:
                    content[name] = value
            elif name in _ALWAYS or (value is not None and value != () and value != {}):
                content[name] = _plain(value)
        return content | dict(self.further)


_TYPES: dict[str, tuple[type, str]] = {
    "alloyk": (str, "text"),
    "classes": (list, "a list"),
    "simulated": (bool, "true or false"),
    "data_root": (str, "text"),
    "grouped_by": (str, "text or null"),
    "channels": (dict, "an object"),
    "notes": (list, "a list"),
    "skipped": (list, "a list"),
    "ceiling": (dict, "an object"),
    "images": (dict, "an object"),
    "fingerprint": (str, "text"),
    "parameters": (int, "a whole number"),
    "loss_weights": (dict, "an object"),
    "packages": (dict, "an object"),
    "python": (str, "text"),
    "processor": (str, "text"),
    "cpu_kernels": (dict, "an object"),
    "devices": (list, "a list"),
    "evaluated": (str, "text"),
    "cross_validation": (dict, "an object"),
    "fine_tuned_from": (str, "text"),
    "run": (str, "text"),
}
_PATHS = ("data_root", "fine_tuned_from", "run")
_ALWAYS = ("notes", "skipped")


def _checked(name: str, value: Any, file: Path) -> Any:
    kind, described = _TYPES[name]
    if value is None and name == "grouped_by":
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ModelError(f"{shown(file)}: `{name}` must be {described}, got {value!r}")
    if isinstance(value, str) and name in _PATHS:
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value
