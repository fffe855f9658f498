"""Classify radiographs with the model beside this file; write a CSV table.

Needs Python 3.11 or newer and the packages ai-edge-litert, numpy and pillow, nothing else.

    python predict.py IMAGE...  [--abstain 0.02] [--threads 1]

`load()` returns a classifier for a program of your own; it takes the raw image as decoded:

    from predict import load
    answer = load().classify(image)      # (height, width) or (height, width, channels)
"""

import argparse
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from alloyk.csv_lines import csv_line
from alloyk.inference.raw_statistics import MARGINS, raw_statistics
from alloyk.inference.wedge_curve import wedge_curve

HERE = Path(__file__).resolve().parent
MODEL, DESCRIPTION, DETECTOR, CHECKSUMS = "model.tflite", "model.json", "unlike.npz", "SHA256SUMS"

# ITU-R BT.601-7: red, green and blue to gray.
LUMA = (0.299, 0.587, 0.114)

UNSIGNED, SIGNED = 1, 2
"""Values of SampleFormat in a TIFF file."""

FAR = 100.0
"""Largest score that a wedge curve gives."""

NEIGHBOUR = 10
"""Which nearest training image the distance from training is measured to."""


class Classifier:
    """The model of a folder.

    Attributes:
        classes: Class labels, in the order of the probabilities.
        thresholds: Target error rate → probability below which to abstain.
        estimates: Names of the numbers that it estimates beside the class.
        size: `(height, width, channels)` of the images it takes.
        has_detector: Whether it scores how unlike the training images an image is.
    """

    def __init__(self, folder: Path = HERE, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        check(folder)
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        self.classes: list[str] = described["classes"]
        self.thresholds = {float(rate): p for rate, p in described["thresholds"].items()}
        self.estimates: list[str] = described["estimates"]
        self._interpreter = Interpreter(str(folder / MODEL), num_threads=threads)
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        signature = self._interpreter.get_signature_runner(described["signature"])
        self._outputs = signature.get_output_details()
        self.size = tuple(int(n) for n in self._input["shape"][1:])
        self._detector: dict[str, np.ndarray] | None = None
        if (folder / DETECTOR).exists():
            with np.load(folder / DETECTOR) as values:
                self._detector = dict(values)
        self.has_detector = self._detector is not None

    def classify(self, image: np.ndarray) -> dict[str, Any]:
        """Return `probabilities`, the `estimates` by name, and `unlike` (1 or more is unlike)."""
        counts = self._fitted(image)
        self._interpreter.set_tensor(
            self._input["index"], counts[None].astype(self._input["dtype"])
        )
        self._interpreter.invoke()
        found = {
            name: self._interpreter.get_tensor(output["index"])[0].astype(np.float64)
            for name, output in self._outputs.items()
        }
        if any(np.isnan(values).any() for values in found.values()):
            raise ValueError("the model's output has NaN")
        unlike = None
        if self._detector is not None:
            unlike = self._unlike(found["features"].astype(np.float32), to_gray(counts))
        return {
            "probabilities": found["probabilities"],
            "estimates": {name: float(found[name][0]) for name in self.estimates},
            "unlike": unlike,
        }

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        """The image `(height, width, channels)` float32 as the model takes it."""
        with np.errstate(over="ignore"):  # beyond the range: refused as infinite
            counts = np.asarray(image, np.float32)
        if bad := int((~np.isfinite(counts)).sum()):
            raise ValueError(f"its values must be finite and within ±3.4e+38, unlike {bad} of them")
        counts = counts[..., None] if counts.ndim == 2 else counts
        height, width, channels = self.size
        if counts.shape[:2] != (height, width):
            raise ValueError(
                f"must have the size {height}x{width} (height x width), got "
                f"{counts.shape[0]}x{counts.shape[1]}"
            )
        if channels == 3 and counts.shape[2] == 1:
            return np.repeat(counts, 3, axis=2)
        return to_gray(counts) if channels == 1 else counts

    def _unlike(self, features: np.ndarray, gray: np.ndarray) -> float:
        """The distance from the training images, in units of the limit."""
        known = self._detector or {}
        bank, directions = (known[name].astype(np.float32) for name in ("bank", "bank_directions"))
        pooled, picture = np.split(features, [len(directions) or bank.shape[1]])
        unit = pooled / np.maximum(np.linalg.norm(pooled), 1e-12)
        products = (unit @ directions if directions.size else unit) @ bank.T
        nearest = np.sort(products)[-min(NEIGHBOUR, len(products))]
        distance = np.sqrt(max(2 - 2 * float(nearest), 0)) / float(known["threshold"])
        others = [
            self._mahalanobis(name, values)
            for name, values in (("feature", pooled), ("picture", picture))
        ]
        middle = (known["highest"] + known["lowest"]) / 2
        half = (known["highest"] - known["lowest"]) / 2
        raw = np.abs(raw_statistics(gray) - middle) / (half + np.array(MARGINS))
        return float(max(distance, *others, raw.max(), self._curve(wedge_curve(gray[..., 0]))))

    def _curve(self, curve: np.ndarray) -> float:
        """The distance of a wedge curve from the nearest of training, in units of the limit."""
        known = self._detector or {}
        if not len(known["curve_bank"]):
            return 0.0
        if not np.isfinite(curve).all():
            return float(known["missing_curve_score"])
        logarithms = np.log(np.maximum(curve, 1e-6))
        whitened = (logarithms - known["curve_mean"]) @ known["curve_whitening"]
        squares = ((whitened - known["curve_bank"].astype(np.float64)) ** 2).sum(axis=1)
        return min(float(np.sqrt(squares.min())) / float(known["curve_threshold"]), FAR)

    def _mahalanobis(self, name: str, values: np.ndarray) -> float:
        """The distance of features or picture from their mean, in units of the limit."""
        known = self._detector or {}
        mean = known[f"{name}_mean"]
        whitened = (values[: len(mean)] - mean) @ known[f"{name}_whitening"]
        return float(np.sqrt((whitened**2).sum())) / float(known[f"{name}_threshold"])


def load(folder: Path = HERE, threads: int = 1) -> Classifier:
    """Load the model of a folder, by default the one beside this file."""
    return Classifier(folder, threads)


def check(folder: Path) -> None:
    """Raise ValueError if a file differs from its checksum."""
    for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        expected, name = line.split("  ", 1)
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise ValueError(
                f"{folder / name} must have the checksum of {CHECKSUMS}; copy it again"
            )


def to_gray(image: np.ndarray) -> np.ndarray:
    """Return an image `(height, width, 1 or 3)` as `(height, width, 1)`."""
    if image.shape[2] == 1:
        return image
    red, green, blue = np.split(image[..., :3], 3, axis=2)
    return np.asarray(red * LUMA[0] + green * LUMA[1] + blue * LUMA[2])


def read_image(path: str) -> np.ndarray:
    """Return the counts of a PNG, JPEG, BMP or TIFF file, `(height, width, 1 or 3)`.

    What Pillow cannot read at full depth is refused.
    """
    with Image.open(path) as opened:
        image: Image.Image = opened
        if getattr(opened, "n_frames", 1) > 1:
            raise ValueError("must have one page; save each page as a file")
        tile = str(opened.tile[0][3]) if opened.tile else ""
        if "16" in tile and not image.mode.startswith("I"):
            raise ValueError("16-bit colour is not read; save it as 16-bit gray")
        if opened.format == "TIFF" and image.mode != "L" and opened.tag_v2.get(262) == 0:  # type: ignore[attr-defined]
            raise ValueError("white is zero in this file; save it with black as zero")
        samples = sample_type(opened) if opened.format == "TIFF" else ()
        if samples == (SIGNED, 8):
            raise ValueError("signed 8-bit TIFF is not read; save it as 16-bit")
        full_depth = image.mode in ("I", "F") or image.mode.startswith("I;16")
        if samples and samples[1] > 8 and not full_depth:  # its planes as 8 bits
            raise ValueError("16-bit colour is not read; save it as 16-bit gray")
        if samples and opened.tag_v2.get(274, 1) > 4:  # type: ignore[attr-defined]
            # Pillow swaps the sides before it decodes the rows.
            raise ValueError("TIFF with an orientation of 5 to 8 is not read; save it upright")
        image = ImageOps.exif_transpose(image)
        if image.mode in ("1", "LA", "La"):
            image = image.convert("L")
        elif image.mode not in ("L", "RGB", "I", "F") and not image.mode.startswith("I;16"):
            image = image.convert("RGB")
        pixels = np.asarray(image)
        if samples == (UNSIGNED, 32):  # Pillow gives its bits as signed
            pixels = pixels.view(np.uint32)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def sample_type(opened: Any) -> tuple[int, int]:
    """Return SampleFormat and bits of the first sample of an opened TIFF file."""
    kinds, bits = opened.tag_v2.get(339, (UNSIGNED,)), opened.tag_v2.get(258, (1,))
    return int(kinds[0]), int(bits[0])


def header(classifier: Classifier, threshold: float | None) -> list[str]:
    """Return the names of the columns."""
    names = ["path", "predicted", *("p_" + label for label in classifier.classes)]
    names += ["predicted_" + name for name in classifier.estimates]
    names += ["unlike"] * classifier.has_detector + ["abstained"] * (threshold is not None)
    return [*names, "error"]


def cells(classifier: Classifier, path: str, threshold: float | None) -> list[str]:
    """Return the row of an image."""
    found = classifier.classify(read_image(path))
    probabilities, unlike = found["probabilities"], found["unlike"]
    reason = ""
    if threshold is not None:
        reason = "uncertain" if probabilities.max() < threshold else ""
        reason = "unlike" if unlike is not None and unlike >= 1 else reason
    label = "" if reason else classifier.classes[int(probabilities.argmax())]
    numbers = [*probabilities, *found["estimates"].values()]
    numbers += [unlike] * classifier.has_detector
    row = [path, label, *(f"{value:.7g}" for value in numbers)]
    return [*row, *[reason] * (threshold is not None), ""]


def main(arguments: list[str] | None = None) -> int:
    """Write the table; return 1 if an image could not be classified."""
    parser = argparse.ArgumentParser(
        description="Classify radiographs with the model beside this file; print a CSV table."
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument(
        "--abstain", type=float, metavar="RATE",
        help="leave out uncertain classes, by the threshold for this error rate",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        classifier = load(threads=options.threads)
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    threshold = None
    if options.abstain is not None:
        threshold = classifier.thresholds.get(options.abstain)
        if threshold is None:
            known = ", ".join(f"{rate:g}" for rate in sorted(classifier.thresholds)) or "none"
            parser.error(f"--abstain must be a rate with a threshold ({known})")
    names, code = header(classifier, threshold), 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As `alloyk predict` writes it everywhere; a file name may be any bytes.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    print(csv_line(names), end="")
    for path in options.images:
        try:
            row = cells(classifier, path, threshold)
        except Exception as error:  # decoders raise errors of almost any type
            row, code = [path, *[""] * (len(names) - 2), f"{type(error).__name__}: {error}"], 1
        print(csv_line(row), end="")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
