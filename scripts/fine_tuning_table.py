"""Compare int8 files of runs made after training with those made after fine-tuning, as one table.

    .venv/bin/python scripts/fine_tuning_table.py RUN... [--out DIR] [--set KEY=VALUE ...]
        [--plates 12000]

Fine-tunes each RUN with fake quantisation into DIR/<run>-int8 (unless it is there; an interrupted
fine-tuning is resumed) and makes int8 files of both: calibrated (the lowest and highest value of
each activation over 300 images), with mean ranges (those of batches of 32 of these images), and of
the fine-tuned run also with the ranges it has learned. Every file is compared on RUN's whole test
split with the float model of RUN, and the last one with the fine-tuned float model too, whether it
would pass or not. With `--plates`, the runs must be of one simulated data set: every file also
classifies that many images of other plates of its kind, enough to tell half a point from nothing.
Writes DIR/fine_tuning.json and DIR/fine_tuning.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

PLATES_SEED = 21

HEADER = (
    "run", "file", "passes", "decisions that differ", "max \\|Δp\\|", "mean \\|Δp\\|",
    "accuracy, %", "Δ accuracy, points (95 % interval)", "lower bound", "ECE", "Δ ECE",
    "Δ log loss", "MB",
)  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("fine_tuning"))
    parser.add_argument("--plates", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def fine_tuned(source: Path, out: Path, settings: list[str]) -> Any:
    """The finished, fine-tuned run."""
    import alloyk

    run = alloyk.RunFolder(out / f"{source.name}-int8")
    if run.is_finished:
        return run
    if run.checkpoint_folder.is_dir():
        return alloyk.train(run=run.path, resume=True)
    return alloyk.train(quantize_from=source, run=run.path, set=settings)


def files_of(source: Any, tuned: Any, out: Path) -> dict[str, Path]:
    """Name → int8 file, float files included."""
    from alloyk.exporting.exporter import describe
    from alloyk.exporting.float_file import FloatFile
    from alloyk.exporting.quantization import SCHEMES, quantize
    from alloyk.exporting.subject import open_subject

    scheme, files = SCHEMES["tflite-int8"], {}
    for run, what in ((source, "after training"), (tuned, "fine-tuned")):
        subject = open_subject(run.path, fixed_shape=True)
        float_file = FloatFile.of(subject)
        contents = {f"float32, {what}": float_file.content}
        contents |= {
            f"int8, {what}, {name}": quantize(
                float_file.content, scheme, float_file.operators, float_file.ranges("A", bits)
            )
            for name, bits in (("extreme ranges", 16), ("calibrated", 8))
        }
        if run is tuned:
            contents[f"int8, {what}, learned ranges"] = float_file.quantized(scheme)
        for name, content in contents.items():
            file = out / f"{source.name}-{name.replace(', ', '-').replace(' ', '-')}.tflite"
            file.write_bytes(content)
            describe(file, subject.original)
            files[name] = file
    return files


def compared(source: Any, files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Name → comparison of a file with the float model of the source run."""
    import alloyk
    from alloyk.exporting.parity import parity_of, shortfalls
    from alloyk.exporting.policy import QUANTIZED
    from alloyk.exporting.subject import open_subject

    subject, found = open_subject(source.path, fixed_shape=True), {}
    for name, file in files.items():
        parity, _ = parity_of(subject, alloyk.load(file))
        failed = shortfalls(parity, QUANTIZED, subject.original.spreads)
        found[name] = {**parity.as_json(), "failed": failed, "bytes": file.stat().st_size}
    return found


def on_other_plates(source: Any, files: dict[str, Path], plates: int, out: Path) -> list[str]:
    """Lines of a table: the accuracy of each file, and what it differs by from the two floats."""
    import numpy as np

    import alloyk
    from alloyk.runs.run_data import open_run_data

    data = out / f"plates-{plates}"
    if not (data / "manifest.csv").is_file():
        recipe = open_run_data(source.path, split=None).root / "simulation.yaml"
        alloyk.simulate(data, recipe=recipe, images=plates, seed=PLATES_SEED)
    images = sorted(data.glob("*/*.png"))
    labels = np.array([image.parent.name for image in images])
    right = {
        name: np.array(alloyk.load(file).predict(images).labels) == labels
        for name, file in files.items()
    }
    floats = [name for name in files if name.startswith("float32")]
    lines = ["| file | accuracy, % | " + " | ".join(f"minus {name}" for name in floats) + " |"]
    lines.append("|---" * (2 + len(floats)) + "|")
    for name, one in right.items():
        cells = [name, f"{100 * one.mean():.2f}"]
        for other in floats:
            difference = 100 * (one.astype(float) - right[other])
            half = 1.96 * difference.std() / len(difference) ** 0.5
            cells.append(f"{difference.mean():+.2f} ± {half:.2f}" if name != other else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def row_of(run: str, name: str, one: dict[str, Any]) -> list[str]:
    """A row of the table."""
    accuracy, error = one["accuracy"], one["calibration_error"]
    low, high = (end * 100 for end in accuracy["interval"] or (float("nan"),) * 2)
    bound = accuracy["lower_bound"]
    return [
        run, name, "no" if one["failed"] else "yes",
        f"{one['decisions']['differ']} of {one['images']}",
        f"{one['probability_difference']['max']:.3f}",
        f"{one['probability_difference']['mean']:.4f}",
        f"{accuracy['file'] * 100:.2f}",
        f"{accuracy['difference'] * 100:+.2f} ({low:+.2f} to {high:+.2f})",
        "" if bound is None else f"{bound * 100:+.2f}",
        f"{error['file']:.4f}", f"{error['difference']:+.4f}",
        f"{one['log_loss']['difference']:+.4f}", f"{one['bytes'] / 1e6:.1f}",
    ]  # fmt: skip


def main() -> None:
    arguments = parse_arguments()
    import alloyk

    arguments.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for path in arguments.runs:
        source = alloyk.RunFolder(path)
        tuned = fine_tuned(path, arguments.out, arguments.set)
        files = files_of(source, tuned, arguments.out)
        found = compared(source, files)
        last = list(files)[-1]
        found[f"{last}, against float32, fine-tuned"] = compared(tuned, {last: files[last]})[last]
        results[str(path)] = found
        lines += ["| " + " | ".join(row_of(path.name, *one)) + " |" for one in found.items()]
        if arguments.plates:
            plates = on_other_plates(source, files, arguments.plates, arguments.out)
            (arguments.out / f"{path.name}-plates.md").write_text("\n".join(plates) + "\n")
            print("\n".join(plates))
        (arguments.out / "fine_tuning.json").write_text(json.dumps(results, indent=1))
        (arguments.out / "fine_tuning.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
