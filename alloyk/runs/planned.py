"""Settings made for a data set, as a search and a cross-validation record them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alloyk.errors import ModelError
from alloyk.files import whole_file
from alloyk.messages import shown


class Planned(NamedTuple):
    """Settings made once for a data set, from its training images, and used in every training run.

    Attributes:
        arch: Architecture where a training run chooses none; empty if nothing was planned.
        settings: Architecture → nested settings, weaker than what the user gives.
        text: The plan for `arch` as YAML, with a reason beside each value.
    """

    arch: str = ""
    settings: Mapping[str, Mapping[str, Any]] = {}
    text: str = ""

    def for_arch(self, arch: str | None = None) -> Mapping[str, Any]:
        """The settings for an architecture; empty if nothing was planned."""
        return self.settings.get(arch or self.arch, {})

    def write_text(self, file: Path) -> None:
        """Write `plan.yaml`, unless nothing was planned."""
        if self.text:
            with whole_file(file) as unfinished:
                unfinished.write_text(self.text, encoding="utf-8")


NOT_PLANNED = Planned()


def recorded_plan(content: Mapping[str, Any], file: Path) -> Planned | None:
    """The plan in the description of a search or of a cross-validation.

    Args:
        content: The description.
        file: Its file, for errors.

    Returns:
        None if there is no description yet. The description by an earlier version has an empty
        plan.

    Raises:
        ModelError: The plan is damaged.
    """
    if not content:
        return None
    found = content.get("planned", NOT_PLANNED._asdict())
    kinds = {"arch": str, "settings": Mapping, "text": str}
    sound = isinstance(found, Mapping) and set(found) == set(kinds)
    if not sound or not all(isinstance(found[key], kind) for key, kind in kinds.items()):
        raise ModelError(
            f"{shown(file)} must have `arch`, `settings` and `text` in `planned`; restore it, or "
            "choose another --out"
        )
    return Planned(**found)
