"""JSON files of a run: read whole, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alloyk.errors import ModelError
from alloyk.files import whole_file
from alloyk.messages import shown


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; empty where there is no file.

    Raises:
        ModelError: The file cannot be read, or is not a JSON object.
    """
    try:
        # A file name on Linux may be any bytes; they come back as they were.
        content = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(f"cannot read {shown(path)}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{shown(path)} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{shown(path)} must be a JSON object, got a {type(content).__name__}")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as a JSON file.

    Raises:
        ModelError: The file cannot be written.
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="surrogateescape")
