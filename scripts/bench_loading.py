"""Time and memory of a data set of very many images in shards: writing, loading, random reading.

All images have the bytes of one, so that nothing but the number of images counts.

    python scripts/bench_loading.py /big/disk/loading --images 1000000
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from alloyk.data import load_dataset
from alloyk.imaging import image_bytes
from alloyk.imaging.store_writing import write_store

READS = 100_000


def own_bytes() -> int:
    """Memory of this process that no file backs."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in x)
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="new; deleted at the end")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--shards", type=int, default=16)
    options = parser.parse_args()
    folder, count = options.folder, options.images
    folder.mkdir(parents=True)
    counts = np.random.default_rng(0).normal(30_000, 400, (options.size, options.size))
    Image.fromarray(counts.astype(np.uint16)).save(folder / "one.png")
    splits, labels = ("train", "train", "val", "test"), ("1050", "2017")
    rows = [(splits[n // 2 % 4], labels[n % 2], f"p{n:08d}") for n in range(count)]
    names = [f"{split}/{label}/{plate}.png" for split, label, plate in rows]

    began = time.perf_counter()
    write_store(folder, names, folder, ["one.png"] * count, options.shards)
    seconds = time.perf_counter() - began
    print(f"written   {seconds:8.1f} s {1e6 * seconds / count:8.1f} µs per image")
    with (folder / "manifest.csv").open("w") as file:
        file.write("path,label,split,plate_id\n")
        for name, (split, label, plate) in zip(names, rows, strict=True):
            file.write(f"{name},{label},{split},{plate}\n")
    del rows, names

    before, began = own_bytes(), time.perf_counter()
    dataset = load_dataset(folder)
    seconds = time.perf_counter() - began
    kept = own_bytes() - before
    print(f"loaded    {seconds:8.1f} s {1e6 * seconds / count:8.1f} µs per image", end="")
    print(f"{kept / count:8.0f} bytes of memory per image")

    paths = dataset.paths("train")
    chosen = np.random.default_rng(1).integers(0, len(paths), READS).tolist()
    before, began = own_bytes(), time.perf_counter()
    for row in chosen:
        image_bytes(paths[row])
    seconds = time.perf_counter() - began
    print(f"read      {seconds:8.1f} s {1e6 * seconds / READS:8.1f} µs per image, at random")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
