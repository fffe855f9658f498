"""Compare where to keep many small images: files, TFRecord with an index, ArrayRecord.

Reads 16-bit PNG images in random order, one by one, with checksums, warm in the page cache.

    python scripts/bench_stores.py --side 24 --images 100000
"""

import argparse
import io
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from array_record.python import array_record_module
from PIL import Image

from alloyk.imaging.store import ImageStore
from alloyk.imaging.store_writing import write_store


def png_files(folder: Path, side: int, images: int) -> list[str]:
    """Noisy images of a few hundred kinds."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(200):
        file = io.BytesIO()
        counts = 30_000 + 400 * rng.standard_normal((side, side))
        Image.fromarray(counts.astype(np.uint16)).save(file, "png")
        contents.append(file.getvalue())
    names = [f"{number:08d}.png" for number in range(images)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(contents[number % len(contents)])
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=24)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--reads", type=int, default=20_000)
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "files").mkdir()
        names = png_files(folder / "files", options.side, options.images)
        write_store(folder, names, folder / "files", names, 1)
        writer = array_record_module.ArrayRecordWriter(str(folder / "array"), "group_size:1")
        for name in names:
            writer.write((folder / "files" / name).read_bytes())
        writer.close()
        store = ImageStore(folder)
        reader = array_record_module.ArrayRecordReader(
            str(folder / "array"), "readahead_buffer_size:0"
        )
        order = np.random.default_rng(1).permutation(options.images)[: options.reads].tolist()
        ways = {
            "files": lambda row: (folder / "files" / names[row]).read_bytes(),
            "TFRecord, looked up by name": lambda row: store.read(names[row]),
            "ArrayRecord, by number": lambda row: reader.read([row]),
        }
        for way, read in ways.items():
            began = time.perf_counter()
            for row in order:
                read(row)
            seconds = time.perf_counter() - began
            print(f"{way:<30}{1e6 * seconds / len(order):8.1f} µs per image")
        began = time.perf_counter()
        for start in range(0, len(order), 32):
            reader.read(order[start : start + 32])
        seconds = time.perf_counter() - began
        print(f"{'ArrayRecord, 32 at once':<30}{1e6 * seconds / len(order):8.1f} µs per image")
        lengths = {
            "TFRecord with its index": sum(
                file.stat().st_size for file in (folder / "shards").iterdir()
            ),
            "ArrayRecord": (folder / "array").stat().st_size,
        }
        for way, length in lengths.items():
            print(f"{way:<30}{length / options.images:8.1f} bytes per image")


if __name__ == "__main__":
    main()
