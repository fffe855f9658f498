"""Write an explanation as a folder: maps as arrays, figures, and a JSON record."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from alloyk import plots
from alloyk.alloys import display_name
from alloyk.errors import AlloykError, ConfigError
from alloyk.explanation.explanation import Explanation
from alloyk.explanation.gradcam import enlarged
from alloyk.explanation.sanity import describe_sanity
from alloyk.messages import few, shown
from alloyk.plots.style import Axes
from alloyk.runs.destination import refuse_other_run
from alloyk.runs.file_names import EXPLANATION, OVERVIEW
from alloyk.runs.json_file import read_json
from alloyk.runs.run_data import refuse_in_run_data

ARRAYS = "maps.npz"
MAX_IN_OVERVIEW = 24
MAX_COLUMNS = 6


def check_output_folder(
    out: str | Path, run: str | Path | None = None, data: str | Path | None = None
) -> None:
    """Require a folder that an explanation may be written to.

    Args:
        out: The folder: absent, empty, or an earlier explanation, which will be replaced.
        run: The explained run or model file.
        data: The data set that is read in place of the run's, if any.

    Raises:
        ConfigError: The folder is or lies in another run or in a data set, or holds other files.
    """
    out = Path(out)
    if run is not None and Path(run).is_file():
        run = Path(run).absolute().parent
    refuse_other_run(out, None if run is None else Path(run))
    if run is not None:
        refuse_in_run_data(out, run, data)
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--out must be a folder, got the file {shown(out)}; choose another")
    record = read_json(out / EXPLANATION)
    ours = {
        EXPLANATION,
        ARRAYS,
        OVERVIEW,
        *(image["picture"] for image in record.get("images", [])),
    }
    others = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if others:
        raise ConfigError(
            "--out must be a new or empty folder or an earlier explanation, but "
            f"{shown(out)} holds other files ({few(others)}); choose another --out"
        )


def write_explanation(
    explanation: Explanation, out: str | Path, run: str | Path | None = None
) -> Path:
    """Write `explanation.json`, `maps.npz`, `overview.png` and a picture of each image.

    Args:
        explanation: From `explain`.
        out: As in `check_output_folder`.
        run: The explained run or model file.

    Raises:
        ConfigError: As `check_output_folder`, or the folder cannot be written.
    """
    out = Path(out)
    check_output_folder(out, run)
    names = picture_names(explanation.paths)
    with _whole_folder(out) as folder:
        np.savez_compressed(
            folder / ARRAYS,
            maps=explanation.maps,
            seen=explanation.seen,
            explained=np.array([explanation.classes[k] for k in explanation.explained]),
            paths=np.array(explanation.paths),
        )
        over_seen = explanation.over_seen
        for number, name in enumerate(names):
            plots.save_figure(_picture(explanation, number, over_seen[number]), folder / name)
        plots.save_figure(_overview(explanation, over_seen), folder / OVERVIEW)
        text = json.dumps(record(explanation, names), indent=1, ensure_ascii=False)
        (folder / EXPLANATION).write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    return out


def record(explanation: Explanation, pictures: list[str]) -> dict[str, Any]:
    """Return the object in `explanation.json`."""
    images = []
    for i, path in enumerate(explanation.paths):
        found = {
            "path": path,
            "label": explanation.labels[i],
            "predicted": explanation.classes[explanation.probabilities[i].argmax()],
            "explained": explanation.classes[explanation.explained[i]],
            "probability": float(explanation.probabilities[i, explanation.explained[i]]),
            "log_odds": float(explanation.log_odds[i]),
            "empty": not explanation.maps[i].any(),
            "picture": pictures[i],
        }
        if explanation.reference is not None:
            found["reference"] = float(explanation.reference[i])
            found["map_sum"] = float(explanation.maps[i].sum(dtype=np.float64))
        images.append(found)
    return {
        "method": explanation.method,
        "description": describe(explanation),
        "simulated": explanation.simulated,
        "classes": list(explanation.classes),
        **explanation.settings,
        "sanity_check": {**explanation.sanity, "sentence": describe_sanity(explanation.sanity)},
        "images": images,
    }


def picture_names(paths: Sequence[str]) -> list[str]:
    """Return a file name for each image: its number and the portable part of its own name.

    >>> picture_names(["a/plate 7.tif", "b/ä.png"])
    ['01_plate_7.png', '02.png']
    """
    digits = max(2, len(str(len(paths))))
    names = []
    for number, path in enumerate(paths, start=1):
        letters = "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(path).stem)
        names.append(f"{number:0{digits}}_{letters[:60]}".rstrip("_") + ".png")
    return names


def _picture(explanation: Explanation, number: int, over_seen: np.ndarray) -> Axes:
    raw = explanation.raw[number]
    decided = explanation.probabilities[number].argmax()
    about = explanation.explained[number]
    label = explanation.labels[number]
    names = [display_name(name) for name in explanation.classes]
    title = f"{Path(explanation.paths[number]).name}: classified as {names[decided]}"
    title += f", p = {explanation.probabilities[number, decided]:.3f}"
    if label is not None:
        title += f"; true class {display_name(label)}"
    what = f"Evidence for {names[about]}, by {describe(explanation)}"
    return plots.plot_explanation(
        raw,
        explanation.seen[number],
        over_seen,
        enlarged(explanation.maps[number][None], raw.shape[:2])[0],
        signed=explanation.signed,
        title=title,
        subtitle=f"{what}, simulated" if explanation.simulated else what,
    )


def _overview(explanation: Explanation, over_seen: np.ndarray) -> Axes:
    captions = []
    for i in range(min(len(explanation), MAX_IN_OVERVIEW)):
        decided = explanation.probabilities[i].argmax()
        predicted = display_name(explanation.classes[decided])
        label = explanation.labels[i]
        caption = predicted
        if label is not None and label != explanation.classes[decided]:
            caption = f"{display_name(label)} → {predicted}"
        probability = explanation.probabilities[i, decided]
        captions.append(f"{i + 1}: {caption}\np = {probability:.3f}")
    drawn = len(captions)
    rest = f", the first {drawn} of {len(explanation)}" if drawn < len(explanation) else ""
    subtitle = "Each image as the network sees it, each map scaled by itself; true → predicted"
    return plots.plot_overview(
        list(explanation.seen[:drawn]),
        over_seen[:drawn],
        captions,
        signed=explanation.signed,
        columns=-(-drawn // -(-drawn // MAX_COLUMNS)),
        title=f"Evidence for the class, by {describe(explanation)}{rest}",
        subtitle=f"{subtitle}; simulated" if explanation.simulated else subtitle,
    )


def describe(explanation: Explanation) -> str:
    """Describe the method and its resolution."""
    if explanation.method == "gradcam":
        height, width = explanation.settings["cells"]
        return f"Grad-CAM ({explanation.settings['layer']}, {height}×{width} cells)"
    kind = "expected gradients" if explanation.method.endswith("gradient") else "partition"
    return f"SHAP ({kind})"


def format_decisions(explanation: Explanation) -> str:
    """Return a line for each image: number, predicted class, probability, path."""
    lines = []
    for i, path in enumerate(explanation.paths):
        decided = explanation.probabilities[i].argmax()
        taken = display_name(explanation.classes[decided])
        label = explanation.labels[i]
        line = f"{i + 1:>3}  {taken} {explanation.probabilities[i, decided]:.4f}  {shown(path)}"
        if label is not None and label != explanation.classes[decided]:
            line += f"  (true class {display_name(label)})"
        lines.append(line + ("  empty map" if not explanation.maps[i].any() else ""))
    return "\n".join(lines)


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that replaces it if the block succeeds."""
    folder = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        folder.chmod(0o755)
        yield folder
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    except OSError as error:
        raise AlloykError(f"cannot write {shown(out)}: {error.strerror or error}") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
