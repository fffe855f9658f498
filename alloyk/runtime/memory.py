"""The memory of this machine and of this process."""

import math
import os
import sys
from pathlib import Path


def total_memory_bytes() -> float:
    """Total memory of the machine; infinite if the system does not report it."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return math.inf
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


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
