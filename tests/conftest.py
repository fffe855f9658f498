"""Fixtures that every test module may ask for."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real radiographs beside the checkout; its absence skips here and fails on CI."""
    if not SHARED_DATA.is_dir():
        message = f"real radiographs are missing: no folder {SHARED_DATA}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return SHARED_DATA


@pytest.fixture
def runner():
    """Click's test runner, stdout and stderr kept apart."""
    from click.testing import CliRunner

    return CliRunner()
