"""Review runs: evaluate, compare, explain, stress and report them."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.api.settings import check_choice, path_if
from alloyk.errors import OptionError
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from alloyk.api.results import Comparison, ExplanationResult
    from alloyk.api.run import Run
    from alloyk.imaging import PageChoice, RawLayout
    from alloyk.robustness.bench import StressResult

logger = logging.getLogger(__name__)


def evaluate(
    run: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "test",
    out: str | Path | None = None,
    from_predictions: bool = False,
    noise_control: bool = False,
    classical_control: bool = False,
    progress: Progress = NO_PROGRESS,
) -> "Run":
    """Write metrics, report and figures of a run, as `alloyk evaluate` does.

    Args:
        run: Run folder.
        data: Data set to evaluate on instead of the one that the run was trained on.
        split: `train`, `val`, `test` or `all`.
        out: Folder to write to; by default the run for its own test split, else a folder in it.
        from_predictions: Use the existing predictions file instead of predicting again.
        noise_control: Train a random forest on local noise statistics beside the run.
        classical_control: Fit equivalent thickness and effective attenuation from each image's
            wedge curve, and classify by these two numbers.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The folder written to; `read_predictions(split)` has its predictions.

    Raises:
        OptionError: Options contradict each other.
        AlloykError: The run has no model, an image cannot be read, or a class is unknown.

    Example:
        >>> import alloyk
        >>> alloyk.evaluate("saved_models/resnet18").metrics["accuracy"]  # doctest: +SKIP
    """
    from alloyk.api.run import Run

    chosen = {"noise": noise_control, "classical": classical_control}
    baselines = [name for name, fit in chosen.items() if fit]
    if from_predictions:
        if baselines:
            unused = f"{baselines[0]}_control"
            raise OptionError(f"`from_predictions` predicts no images; leave out `{unused}`")
        if data:
            raise OptionError("`from_predictions` predicts no images; leave out `data`")
        from alloyk.evaluation import evaluate_run

        folder = Path(out) if out else Run(run).evaluation_folder(split)
        evaluate_run(Path(run), out=path_if(out), split=split)
        return Run(folder)
    load_tensorflow()
    from alloyk.evaluation.split_predictions import evaluate_split

    return Run(
        evaluate_split(
            Path(run), data=data, split=split, out=out, baselines=baselines, progress=progress
        )
    )


def compare(
    runs: Sequence[str | Path], *, out: str | Path | None = None, timing: bool = True
) -> "Comparison":
    """Compare runs on the same test images, as `alloyk compare` does.

    The difference between every two runs is tested by McNemar's exact test and by a bootstrap over
    plates, with Holm's correction for the number of tests.

    Args:
        runs: Run folders, two or more.
        out: Folder for tables and figures; nothing is written without it.
        timing: Measure how long each model takes for one image.

    Returns:
        The runs' metrics, the paired tests and the notes.

    Raises:
        AlloykError: A run cannot be read, the runs have other classes or images, or `out` lies in
            the data set of a run.

    Example:
        >>> import alloyk
        >>> alloyk.compare(["saved_models/cnn", "saved_models/resnet18"]).pairs  # doctest: +SKIP
    """
    from alloyk.api.results import Comparison
    from alloyk.comparison import check_output_folder, compare_runs

    if out is not None:
        check_output_folder(Path(out), runs)
    paths = [Path(run) for run in runs]
    found = Comparison(compare_runs(paths, timing=timing))
    if out is not None:
        found.write(out)
    return found


def explain(
    run: str | Path,
    images: str | Path | Sequence[str | Path] = (),
    *,
    method: str = "gradcam",
    out: str | Path | None = None,
    each: int = 1,
    label: str | None = None,
    layer: str = "auto",
    explainer: str = "gradient",
    samples: int | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    page: "PageChoice | None" = None,
    raw: "RawLayout | Mapping[str, Any] | None" = None,
    hdf5_path: str | None = None,
    progress: Progress = NO_PROGRESS,
) -> "ExplanationResult":
    """Show the image regions that drove a prediction, as `alloyk explain` does.

    Args:
        run: Run folder or `.keras` file.
        images: Image files, folders or patterns; by default the most and least confident test
            images of each class.
        method: `gradcam` or `shap`, which needs the package shap.
        out: Folder for figures and arrays; by default `explain_<method>` in the run.
        each: How many of the most and of the least confident images of each class.
        label: Class to explain; by default the predicted one.
        layer: Grad-CAM's layer: `auto` (the last with 7×7 cells), `last`, or a layer's name.
        explainer: SHAP's explainer: `gradient` or `partition`.
        samples: SHAP's points or evaluations per image; by default 200, partition 1000.
        data: Where the run's data set is now.
        seed: Seed of SHAP's samples and of the sanity check.
        page: Pages to read from files with several: a number from 0, `mean`, or `each` as an
            image; by default as in training.
        raw: Layout of raw files without a sidecar, as of `predict`; by default as in training.
        hdf5_path: Path of the array of images inside HDF5 files; by default as in training.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The maps, and the folder with the figures.

    Raises:
        OptionError: An option does not belong to the method, or `out` is missing for a file.
        AlloykError: The model cannot be explained, an image cannot be read, or shap is missing.

    Example:
        >>> import alloyk
        >>> alloyk.explain("saved_models/resnet18", "plate.png").maps.shape  # doctest: +SKIP
    """
    from alloyk.api.results import ExplanationResult
    from alloyk.api.run import Run

    run = Path(run)
    if method != "shap" and (samples or explainer != "gradient"):
        raise OptionError("`samples` and `explainer` belong to `method` shap")
    if method != "gradcam" and layer != "auto":
        raise OptionError("`layer` belongs to `method` gradcam")
    if out is None and run.is_file():
        raise OptionError("`out` must be given if RUN is a file")
    from alloyk.imaging import FileSettings, RawLayout
    from alloyk.inference import find_images

    files = FileSettings(RawLayout.of(raw, "raw") if isinstance(raw, Mapping) else raw, hdf5_path)
    given = [images] if isinstance(images, str | Path) else images
    paths: Sequence[str | Path] = find_images([str(one) for one in given]) if given else []
    load_tensorflow()
    from alloyk.explanation.explanation import EXPLAINERS, METHODS
    from alloyk.explanation.explanation import explain as explain_run
    from alloyk.explanation.image_selection import chosen_images
    from alloyk.explanation.writing import check_output_folder, write_explanation

    check_choice("method", method, METHODS)
    check_choice("explainer", explainer, EXPLAINERS)
    folder = Path(out) if out else Run(run).explanation_folder(method)
    check_output_folder(folder, run, data)

    labels = None
    if not given:
        paths, labels = chosen_images(run, data=data, count=each)
    explanation = explain_run(
        run, paths, method=method, explainer=explainer, label=label, labels=labels, layer=layer,
        samples=samples, data=data, seed=seed, page=page, files=files, progress=progress,
    )  # fmt: skip
    return ExplanationResult(explanation, write_explanation(explanation, folder, run))


def stress(
    run: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    images: int = 300,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> "StressResult":
    """Test a run on disturbed images, as `alloyk stress` does.

    Args:
        run: Run folder.
        data: Where the run's data set is now; by default where it was in training.
        out: Folder for table and figure; by default `stress` in the run.
        images: Maximum number of test images.
        seed: Seed of the choice of images and of the disturbances.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        A row for each disturbance, a summary, and the folder.

    Raises:
        AlloykError: The run has no model, or its test images are gone or cannot be read.

    Example:
        >>> import alloyk
        >>> alloyk.stress("saved_models/resnet18").summary  # doctest: +SKIP
    """
    load_tensorflow()
    from alloyk.robustness.bench import stress_run

    return stress_run(run, data=data, out=out, most_images=images, seed=seed, progress=progress)


def report(folder: str | Path, *, out: str | Path | None = None) -> Path:
    """Write one self-contained HTML file, as `alloyk report` does.

    Args:
        folder: A run, a comparison, a cross-validation or a search, finished or not.
        out: The file; by default `report.html` in the folder.

    Returns:
        The file.

    Raises:
        AlloykError: The folder holds none of these, or the file cannot be written.

    Example:
        >>> import alloyk
        >>> alloyk.report("saved_models/resnet18")  # doctest: +SKIP
    """
    from alloyk.reporting.writing import write_report

    return write_report(folder, out)
