"""The members of a voted classifier, as `ensemble.yaml` holds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alloyk.errors import ModelError
from alloyk.messages import shown


@dataclass(frozen=True)
class Member:
    """A member of an ensemble.

    Attributes:
        run: Its name.
        path: Its folder when the vote was made.
        weight: Its share of the vote.
    """

    run: str
    path: Path | None = None
    weight: float | None = None


@dataclass(frozen=True)
class Ensemble:
    """Who votes, and how.

    Attributes:
        vote: `soft` or `hard`.
        weights: `equal` or `validation`: how the weights were chosen.
        members: The runs.
    """

    vote: str
    members: tuple[Member, ...]
    weights: str = "equal"

    @property
    def names(self) -> list[str]:
        """The members' names."""
        return [member.run for member in self.members]

    @classmethod
    def from_yaml(cls, content: Mapping[str, Any], file: Path) -> "Ensemble":
        """Take the ensemble from the mapping in a YAML file.

        Raises:
            ModelError: `vote`, or `members` with a `run` each, is missing.
        """
        members = content.get("members")
        if (
            not isinstance(content.get("vote"), str)
            or not isinstance(members, list)
            or not all(isinstance(one, dict) and "run" in one for one in members)
            or not all(_is_weight(one.get("weight")) for one in members)
        ):
            raise ModelError(
                f"{shown(file)} must have `vote`, and `members` with a `run` each, whose `weight` "
                "must be a number; restore it, or vote again with `alloyk ensemble`"
            )
        return cls(
            vote=content["vote"],
            weights=str(content.get("weights", "equal")),
            members=tuple(
                Member(
                    run=str(one["run"]),
                    path=Path(str(one["path"])) if one.get("path") else None,
                    weight=None if one.get("weight") is None else float(one["weight"]),
                )
                for one in members
            ),
        )

    def as_yaml(self) -> dict[str, Any]:
        """Return the mapping to write."""
        return {
            "vote": self.vote,
            "weights": self.weights,
            "members": [
                {
                    "run": one.run,
                    **({} if one.path is None else {"path": str(one.path)}),
                    **({} if one.weight is None else {"weight": one.weight}),
                }
                for one in self.members
            ],
        }


def _is_weight(found: Any) -> bool:
    return found is None or (isinstance(found, int | float) and not isinstance(found, bool))
