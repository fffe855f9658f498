"""The memory that a process may use: that of the machine, or of its container or job."""

import math
import os

import pytest

from alloyk.runtime import memory


@pytest.fixture
def limits(tmp_path, monkeypatch):
    """Where limits of control groups are looked up, empty, for a process in the group /a/b."""
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/a/b\n0::/a/b\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_CGROUPS", own)
    return tmp_path


def physical():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_without_limits_the_machine_has_the_memory(limits):
    assert memory.usable_memory_bytes() == physical()


@pytest.mark.parametrize(
    "file", ["a/b/memory.max", "a/memory.max", "memory.max", "memory/a/memory.limit_in_bytes"]
)
def test_the_limit_of_any_group_around_the_process_holds(limits, file):
    path = limits / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1000000\n")
    assert memory.usable_memory_bytes() == 1e6


@pytest.mark.parametrize("text", ["max\n", str(2**63), ""])
def test_no_limit_is_none(limits, text):
    (limits / "memory.max").write_text(text)
    assert memory.usable_memory_bytes() == physical()


def test_a_system_that_reports_nothing_has_no_limit(limits, monkeypatch):
    (limits / "cgroup").unlink()
    monkeypatch.setattr(os, "sysconf_names", {})
    assert memory.usable_memory_bytes() == math.inf
