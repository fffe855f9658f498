"""How soon `alloyk predict` answers, and how much memory it takes for many images.

    python scripts/bench_predict.py start resnet18.tflite [--size 224]
    python scripts/bench_predict.py many saved_models/fnn fnn.tflite [--images 1000 10000 100000]

`start` is the time of the whole command for one image, median of three. It is measured twice: after
the files that the command opens were dropped from memory (as after a restart of the computer; needs
Linux), and again with them in memory. `many` prints the most resident memory of the command, what
it maps of libraries included, for more and more images; they are 500 simulated ones, and links to
them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DIFFERENT = 500  # the other images are links to these

LOADED_FILES = """
import atexit, sys
def report():
    maps = [line.split(maxsplit=5)[-1].strip() for line in open("/proc/self/maps")]
    modules = [getattr(module, "__cached__", None) for module in list(sys.modules.values())]
    files = {str(name) for name in maps + modules if str(name).startswith("/")}
    open(sys.argv[0], "w").write("\\n".join(sorted(files)))
atexit.register(report)
from alloyk.cli import main
sys.argv[0] = sys.argv.pop(1)
main(prog_name="alloyk")
"""


def alloyk(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "alloyk", *map(str, arguments)]


def simulated(folder: Path, count: int, size: int) -> list[Path]:
    """Simulate images, in a process of its own: this one's memory would count as the command's."""
    command = alloyk("simulate", folder, "--images", count, "--image-size", size)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return sorted(folder.glob("*/*.png"))


def run_once(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return its seconds, those of the processor, and its most memory in MB."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    messages = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{messages}")
    cpu = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - began, cpu, usage.ru_maxrss / 1024


def drop_from_memory(files: list[str]) -> None:
    """Let the system forget what it has read of files."""
    for name in files:
        if os.path.isfile(name):
            descriptor = os.open(name, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def start(model: str, size: int, folder: Path) -> None:
    """Print how long the command takes for one image."""
    image, listing = str(simulated(folder / "images", 2, size)[0]), folder / "files.txt"
    code = [sys.executable, "-c", LOADED_FILES, str(listing), "predict", model, image]
    subprocess.run(code, check=True, stdout=subprocess.DEVNULL)
    files = [*listing.read_text().splitlines(), model, image]
    for what, dropped in (("files on disk", files), ("files in memory", [])):
        times = []
        for _ in range(3):
            drop_from_memory(dropped)
            times.append(run_once(alloyk("predict", model, image))[:2])
        seconds, cpu = map(statistics.median, zip(*times, strict=True))
        print(f"{Path(model).name}, {what}: {seconds:.2f} s, of the processor {cpu:.2f} s")


def many(models: list[str], counts: list[int], size: int, folder: Path) -> None:
    """Print memory and speed for more and more images."""
    sources = simulated(folder / "images", DIFFERENT, size)
    for count in counts:
        (folder / str(count)).mkdir()
        for number in range(count):
            link = folder / str(count) / f"{number:07d}.png"
            os.link(sources[number % len(sources)], link)
    for model in models:
        for count in counts:
            out = folder / "found.csv"
            command = alloyk("predict", model, folder / str(count), "--output", out)
            seconds, _, megabytes = run_once(command)
            with out.open() as rows:
                found = sum(1 for _ in rows) - 1
            if found != count:
                raise SystemExit(f"{found} rows of {count} images")
            print(
                f"{Path(model).name}: {count:9,} images of {size}²: {megabytes:6.0f} MB at most, "
                f"{1e3 * seconds / count:.2f} ms for each image",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("start", help="time from the command to the answer for one image")
    one.add_argument("model")
    one.add_argument("--size", type=int, default=224, help="side of the image")
    all_ = commands.add_parser("many", help="memory for more and more images")
    all_.add_argument("models", nargs="+")
    all_.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    all_.add_argument("--size", type=int, default=24, help="side of the images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.command == "start":
            start(options.model, options.size, Path(folder))
        else:
            many(options.models, options.images, options.size, Path(folder))


if __name__ == "__main__":
    main()
