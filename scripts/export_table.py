"""Export runs of several architectures to every format, with the proofs, as one table.

    .venv/bin/python scripts/export_table.py OUT [--images 12000] [--image-size 96] [--epochs 40]
        [--arch resnet18 ...] [--preset hard5] [--margin 0.5] [--recipe NAME=VALUE ...]

Simulates one data set of the preset (unless OUT/data is there), trains each architecture on it
(unless OUT/<arch> is finished; an interrupted run is resumed), exports it to every format and
with `--quantize auto`, fine-tunes it with fake quantisation into OUT/<arch>-int8 for a second int8
file, and measures every file with `alloyk bench`. A file that fails its proof has a row with the
reason. The second int8 file is compared with the fine-tuned float network;
scripts/fine_tuning_table.py compares it with the network before. Writes OUT/results.json after each
step and OUT/exports.md at the end; run again, it takes up where it stopped. 12,000 images have
1,800 in the test split.
"""

import argparse
import json
import shutil
from pathlib import Path

ARCHITECTURES = ("fnn", "cnn", "resnet18", "resnet50", "vgg16", "efficientnetb0")
FORMATS = (
    "savedmodel", "tflite", "onnx", "tflite-fp16", "tflite-w8", "tflite-16x8", "tflite-int8",
    "auto", "tflite-int8-fine-tuned",
)  # fmt: skip
FINE_TUNED = FORMATS[-1]
HEADER = (
    "architecture", "format", "passes", "decisions that differ", "max \\|Δp\\|", "mean \\|Δp\\|",
    "Δ accuracy, points (95 % interval)", "lower bound", "Δ ECE", "Δ log loss", "MB",
    "ms, 1 thread", "ms, 2 threads", "peak MB",
)  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--arch", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--preset", default="hard5")
    parser.add_argument("--images", type=int, default=12000)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--margin", type=float, default=0.5)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--recipe", nargs="*", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def trained(arguments: argparse.Namespace, arch: str) -> Path:
    """The finished run of an architecture, trained or resumed if it is not there."""
    import alloyk

    data, run = arguments.out / "data", arguments.out / arch
    if not (data / "manifest.csv").is_file():
        alloyk.simulate(
            data, preset=arguments.preset, images=arguments.images, image_size=arguments.image_size
        )
    folder = alloyk.RunFolder(run)
    if folder.is_finished:
        return run
    if folder.checkpoint_folder.is_dir():
        alloyk.train(run=run, resume=True)
        return run
    settings = {
        "preprocess.image_size": arguments.image_size,
        "train.epochs": arguments.epochs,
        **dict(one.split("=", 1) for one in arguments.recipe),
    }
    alloyk.train(data=data, arch=arch, run=run, set=settings)
    return run


def fine_tuned(source: Path) -> Path:
    """The finished run, fine-tuned from another; an interrupted fine-tuning is resumed."""
    import alloyk

    folder = alloyk.RunFolder(source.with_name(f"{source.name}-int8"))
    if not folder.is_finished:
        if folder.checkpoint_folder.is_dir():
            alloyk.train(run=folder.path, resume=True)
        else:
            alloyk.train(quantize_from=source, run=folder.path)
    return folder.path


def exported(run: Path, name: str, margin: float) -> dict:
    """What an export found: the content of its `parity.json`, or why it failed."""
    import alloyk
    from alloyk.errors import AlloykError
    from alloyk.exporting.exporter import default_out
    from alloyk.exporting.proof import PARITY, proof_folder

    chosen = {"quantize": "auto"} if name == "auto" else {"format": name}
    if name == FINE_TUNED:
        run, chosen = fine_tuned(run), {"format": "tflite-int8"}
    out = default_out(run, {"auto": "tflite-auto", FINE_TUNED: "tflite-int8"}.get(name, name))
    proof = proof_folder(out)
    if not (out.exists() and (proof / PARITY).is_file()):  # as after an interruption
        for left in (out, proof):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        try:
            alloyk.export(run, out=out, margin=margin, **chosen)
        except AlloykError as error:
            return {"failed": str(error)}
    return {**json.loads((proof / PARITY).read_text()), "path": str(out)}


def bench(run: Path, files: list[str]) -> dict:
    """Path → speed on one and two threads, in milliseconds, and peak memory, in MB."""
    import alloyk

    rows = alloyk.bench(run, files, images=1).rows
    return {
        str(row.path): {
            "format": row.format,
            "ms": [speed.median_seconds * 1e3 for speed in row.speeds],
            "peak": row.speeds[0].peak_bytes / 1e6,
            "mb": row.size_bytes / 1e6,
        }
        for row in rows
    }


def row_of(arch: str, name: str, found: dict, speeds: dict) -> list[str]:
    """A row of the table."""
    if "failed" in found:
        return [arch, name, "no", *[""] * (len(HEADER) - 3)]
    accuracy, difference = found["accuracy"], found["probability_difference"]
    interval = accuracy["interval"]
    low_high = f" ({interval[0] * 100:+.2f} to {interval[1] * 100:+.2f})" if interval else ""
    bound = accuracy["lower_bound"]
    speed = speeds[found["path"]]
    passes = "yes"
    if found.get("attempts"):
        passes = f"yes: {found['attempts'][-1]['what']}"
    return [
        arch, name, passes, f"{found['decisions']['differ']} of {found['images']:,}",
        f"{difference['max']:.1e}", f"{difference['mean']:.1e}",
        f"{accuracy['difference'] * 100:+.2f}{low_high}",
        "" if bound is None else f"{bound * 100:+.2f}",
        f"{found['calibration_error']['difference']:+.4f}",
        f"{found['log_loss']['difference']:+.4f}", f"{speed['mb']:.1f}",
        *(f"{one:.2f}" for one in speed["ms"]), f"{speed['peak']:.0f}",
    ]  # fmt: skip


def table(results: dict) -> str:
    """The results as Markdown, with a line on each run."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    notes = []
    for arch, one in results.items():
        if "bench" not in one:
            continue
        keras = next(v for v in one["bench"].values() if v["format"] == "keras")
        cells = [arch, "keras", "", "", "", "", "", "", "", "", f"{keras['mb']:.1f}"]
        cells += [*(f"{ms:.2f}" for ms in keras["ms"]), f"{keras['peak']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
        for name, found in one["exports"].items():
            lines.append("| " + " | ".join(row_of(arch, name, found, one["bench"])) + " |")
        some = next((v for v in one["exports"].values() if "failed" not in v), None)
        for name, found in one["exports"].items():
            if "failed" in found:
                # Between "the … file must agree with …: " and what becomes of the file.
                why = found["failed"].partition(": ")[2].partition("; the file was")[0]
                notes.append(f"- {arch}, {name}: {why or found['failed']}")
        if some is not None:
            notes.append(
                f"- {arch}: accuracy {some['accuracy']['original'] * 100:.1f} %, "
                f"{some['images']:,} test images, median of the largest probability "
                f"{some['median_confidence']:.3f}"
            )
    return "\n".join([*lines, "", *notes]) + "\n"


def main() -> None:
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = arguments.out / "results.json"
    results = json.loads(record.read_text()) if record.is_file() else {}

    def keep() -> None:
        unfinished = record.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(results, indent=1))
        unfinished.replace(record)

    for arch in arguments.arch:
        one = results.setdefault(arch, {"exports": {}})
        run = trained(arguments, arch)
        for name in arguments.formats:
            if name not in one["exports"]:
                one["exports"][name] = exported(run, name, arguments.margin)
                one.pop("bench", None)
                keep()
                print(arch, name, one["exports"][name].get("failed", "passes"), flush=True)
        if "bench" not in one:
            files = [v["path"] for v in one["exports"].values() if "failed" not in v]
            one["bench"] = bench(run, files)
            keep()
        (arguments.out / "exports.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
