"""How long `alloyk audit` takes for many images, and how much memory.

    python scripts/bench_audit.py [--images 10000] [--size 224] [--turns 3] [--data DIR]

Simulates the data set first (into DIR, where it is kept), then runs the command as a user does and
prints seconds, from start to end of the process, the processor time that they hold, and the largest
resident set. On a machine with other work the processor time over the number of cores says more.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from alloyk.simulator.dataset.simulation import simulate_dataset


def audit(data):
    start = time.perf_counter()
    command = [sys.executable, "-m", "alloyk", "audit", str(data), "--json"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 1):
        raise SystemExit(f"alloyk audit ended with {done.returncode}")
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--data", type=Path, help="kept, and taken again if it is there")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder) / "radiographs"
        if not data.exists():
            simulate_dataset(data, images=arguments.images, image_size=arguments.size)
        seconds = [audit(data) for _ in range(arguments.turns)]
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    megabytes, processor = used.ru_maxrss / 1024, (used.ru_utime + used.ru_stime) / len(seconds)
    print(
        f"audit of {arguments.images:,} PNG of {arguments.size}×{arguments.size}, 16 bit, on "
        f"{len(os.sched_getaffinity(0))} cores: {statistics.median(seconds):.1f} s "
        f"(median of {', '.join(f'{s:.1f}' for s in seconds)}), {processor:.1f} s of processor "
        f"time, {megabytes:,.0f} MB, "
        f"load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
