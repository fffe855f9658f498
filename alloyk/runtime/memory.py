"""The memory that this process may use, and that it has used."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux keeps the limits of containers and of the jobs of a batch system."""

OWN_CGROUPS = Path("/proc/self/cgroup")
"""Lists the control groups of this process."""


def usable_memory_bytes() -> float:
    """Memory of the machine, or of the container or job that this process runs in.

    Infinite if the system does not report it.
    """
    limits = list(_cgroup_limits())
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        limits.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    return min(limits, default=math.inf)


def _cgroup_limits() -> Iterator[float]:
    """Memory limits of this process's control group and of those above it, versions 1 and 2."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "memory"):
            top = CGROUPS / controllers
            file = "memory.limit_in_bytes" if controllers else "memory.max"
            # Within a container, the path may be that of the host: the top is then its own group.
            own = top / group.strip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(top):
                    with contextlib.suppress(OSError, ValueError):
                        yield float((folder / file).read_text())


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far; 0 if the system does not report it."""
    try:
        # Not getrusage: its maximum starts with that of the parent process.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else 1024 * int(peak)
