"""The best configuration of a search, and the command that trains it."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alloyk.errors import AlloykError
from alloyk.messages import counted, few, shown
from alloyk.reporting.page import Block, Code, NameValues, Text
from alloyk.reporting.search_data import SearchData, shown_value
from alloyk.runs.lineage import Lineage
from alloyk.runs.search_records import Trial
from alloyk.settings.dialect import read_yaml


def best_blocks(data: SearchData) -> list[Block]:
    """The values of the best trial, how to train it, and its configuration."""
    if not data.best_first:
        return [Text(["No trial has a result yet, so that there is no best configuration."])]
    best = data.best_first[0]
    values = [(key, shown_value(value)) for key, value in best.values.items() if "/" not in key]
    blocks: list[Block] = [NameValues(values)]
    if data.tied:
        blocks.append(
            Text(
                [
                    f"{counted(len(data.tied), 'other trial')} cannot be told apart from it "
                    f"on the validation images: {few(data.tied, 10)}."
                ]
            )
        )
    file = _configuration(data, best)
    lineage = data.folder.lineage_file
    if _is_line_of(lineage, best):
        blocks.append(Text([f"Train it: alloyk train --replay {_argument(lineage)}"]))
    elif file is not None:
        blocks.append(Text([f"Train it: alloyk train {_argument(file)}"]))
    else:
        name = data.folder.best_file.name
        blocks.append(
            Text([f"{name} of this trial is written when the same alloyk tune command has ended."])
        )
    if file is not None:
        text = file.read_text(encoding="utf-8", errors="replace")
        blocks.append(Code(f"Best configuration: {shown(file.name)}", text))
    return blocks


def _configuration(data: SearchData, best: Trial) -> Path | None:
    """The file that has the values of the best trial; `best.yaml` may be that of an earlier one."""
    for file in (data.folder.best_file, data.folder.settings_file(best)):
        try:
            if file.is_file() and _has(read_yaml(file), best):
                return file
        except AlloykError:
            continue  # damaged: the other one, or none
    return None


def _has(settings: Mapping[str, Any], trial: Trial) -> bool:
    """Whether a configuration has the values of a trial."""
    for key, value in trial.values.items():
        if "/" in key:
            continue
        found: Any = settings
        for part in key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        expected = _decoded(value)
        if found != expected and json.dumps(found, default=str) != json.dumps(expected):
            return False
    return True


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _is_line_of(lineage: Path, best: Trial) -> bool:
    """Whether the lineage is that of the best trial, not of an earlier best one."""
    if not lineage.is_file():
        return False
    return Lineage.read(lineage).parts[-1].trial == best.name


def _argument(file: Path) -> str:
    return shlex.quote(shown(file))
