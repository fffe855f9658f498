"""Fixtures that every test module may ask for."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real radiographs beside the checkout; its absence skips the test."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real radiographs are missing: no folder {SHARED_DATA}")
    return SHARED_DATA


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """On CI nothing is skipped in silence: a test that cannot run there fails."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"skipped on CI: {reason}"
    return report


@pytest.fixture
def open_folder():
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def unprivileged():
    """A context without the rights of root, who reads and writes whatever the mode."""

    @contextmanager
    def without_root():
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nobody, by the Linux Standard Base
        try:
            yield
        finally:
            os.seteuid(user)

    return without_root


@pytest.fixture
def runner():
    """Click's test runner, stdout and stderr kept apart."""
    from click.testing import CliRunner

    return CliRunner()
