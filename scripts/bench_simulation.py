#!/usr/bin/env python
"""How fast `alloyk simulate` is, and how time and memory grow with the number of images.

    python scripts/bench_simulation.py
    python scripts/bench_simulation.py --image-size 96 --counts 1000 4000

Wall-clock time depends on what else the machine does, so the time on its cores is printed too.
"""

import argparse
import resource
import tempfile
import time
from itertools import islice
from pathlib import Path

from alloyk.runtime.cores import available_cores
from alloyk.simulator.dataset.image_files import png_bytes
from alloyk.simulator.dataset.recipe import make_recipe
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.dataset.writer import write_dataset


def one_core(image_size: int, images: int = 300) -> None:
    recipe = make_recipe(images=images, image_size=image_size)
    simulator = Simulator(recipe)
    planned = list(islice(recipe.plan(), images))
    started = time.process_time()
    made = [simulator.image(one) for one in planned]
    simulated = time.process_time()
    sizes = [len(png_bytes(counts)) for counts in made]
    encoded = time.process_time()
    without, encoding = (simulated - started) / images, (encoded - simulated) / images
    print(f"one core, {image_size}×{image_size}:")
    both = without + encoding
    print(f"  without encoding {1 / without:7.0f} images/s  ({without * 1e3:.2f} ms each)")
    print(f"  with PNG         {1 / both:7.0f} images/s  ({both * 1e3:.2f} ms each)")
    print(f"  size of a PNG    {sum(sizes) / images / 1e3:7.0f} kB")


def growth(image_size: int, counts: list[int], workers: int) -> None:
    print(f"on disk, {workers} processes:")
    print("  images   seconds   images/s   core seconds   memory of the largest process")
    for images in counts:
        recipe = make_recipe(images=images, image_size=image_size)
        with tempfile.TemporaryDirectory() as folder:
            started, cpu = time.perf_counter(), core_seconds()
            write_dataset(recipe, Path(folder) / "set", workers=workers)
            seconds, core = time.perf_counter() - started, core_seconds() - cpu
        peak = max(used.ru_maxrss for used in usage()) / 1024
        print(f"  {images:6d} {seconds:9.1f} {images / seconds:10.0f} {core:14.1f} {peak:10.0f} MB")


def usage() -> list[resource.struct_rusage]:
    """What this process and those that it has started have used."""
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def core_seconds() -> float:
    return sum(used.ru_utime + used.ru_stime for used in usage())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 2000, 4000, 8000, 16000])
    parser.add_argument("--workers", type=int, default=available_cores())
    options = parser.parse_args()
    one_core(options.image_size)
    growth(options.image_size, options.counts, options.workers)


if __name__ == "__main__":
    main()
