"""Use models: build, load, predict, export."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.errors import OptionError
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:
    import keras

    from alloyk.api.results import BenchResult
    from alloyk.exporting.result import ExportReport
    from alloyk.imaging import PageChoice, RawLayout
    from alloyk.inference import Classification, Classifier


def build_model(
    name: str, image_shape: tuple[int, int, int], num_classes: int, **options: Any
) -> "keras.Model":
    """Build an untrained or pretrained network: backbone, pooling, dense, dropout, dense.

    Args:
        name: Architecture, such as `cnn`, `resnet18` or `efficientnetb0`.
        image_shape: `(height, width, channels)`, 1 or 3 channels.
        num_classes: Number of classes, at least 2.
        **options: `activation`, `weights`, `hidden_units`, `dropout`, `seed`, … of
            `alloyk.models.build_model`, which describes them.

    Returns:
        A Keras model, `(batch, height, width, channels)` float32 to `(batch, num_classes)` logits.

    Raises:
        AlloykError: Unknown name, an option the architecture does not have, or weights that do
            not fit.
        ValueError: A number out of its range.

    Example:
        >>> import alloyk
        >>> alloyk.build_model("cnn", (64, 64, 1), num_classes=6).output_shape
        (None, 6)
    """
    load_tensorflow()
    from alloyk.models import build_model as build

    return build(name, image_shape, num_classes, **options)


def load(path: str | Path, *, threads: int | None = None) -> "Classifier":
    """Load a trained model; its `predict` takes files and arrays.

    Args:
        path: Run folder, `.keras` file, SavedModel folder, `.tflite` or `.onnx` file.
        threads: Processor threads for a `.tflite` or `.onnx` file; by default up to four.

    Returns:
        The classifier.

    Raises:
        AlloykError: It is not a model made by alloyk.

    Example:
        >>> import alloyk
        >>> alloyk.load("saved_models/resnet18").predict(["plate.png"]).labels  # doctest: +SKIP
    """
    from alloyk.inference import load as load_classifier

    return load_classifier(path, threads=threads)


def predict(
    model: str | Path,
    images: Any,
    *,
    names: Sequence[str] | None = None,
    page: "PageChoice | None" = None,
    raw: "RawLayout | Mapping[str, Any] | None" = None,
    hdf5_path: str | None = None,
    keep_going: bool = False,
    abstain: float | None = None,
    output: str | Path | None = None,
    address: str | None = None,
    workers: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> "Classification":
    """Classify images, as `alloyk predict` does; `load` once to classify many times.

    Args:
        model: Run folder, `.keras` file, SavedModel folder, `.tflite` or `.onnx` file.
        images: Image files, folders or patterns, or raw arrays `(height, width)` or
            `(height, width, channels)`, as decoded and not scaled.
        names: What to call each image in the result; by default its path.
        page: Pages to read from files with several: a number from 0, `mean`, or `each` as an
            image; by default as in training.
        raw: Layout of raw files without a sidecar: `dtype`, `shape`, `offset` and
            `byte_order`; by default as in training.
        hdf5_path: Path of the array of images inside HDF5 files; by default as in training.
        keep_going: Record an image that cannot be classified in `errors` of the result instead of
            raising.
        abstain: Error rate, such as 0.02: the class is left empty below the run's threshold for
            it, and for images unlike the training images.
        output: The `.csv`, `.json` or `.jsonl` file to write, as `alloyk predict --output` does;
            the result has the seven digits that it holds.
        address: `HOST:PORT` of a Ray cluster that classifies the files, or `local` to start one
            here. All its machines must see the model and the images. It needs `output`, and the
            same call continues one that was interrupted.
        workers: Number of processes on the cluster; by default one per GPU, or without GPUs one
            per four processors.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        Labels and probabilities, in the order of the images.

    Raises:
        AlloykError: The model, the cluster or an image cannot be used, or an image does not fit
            the model.

    Example:
        >>> import alloyk
        >>> alloyk.predict("resnet18.tflite", "radiographs/").labels  # doctest: +SKIP
    """
    from alloyk.imaging import RawLayout
    from alloyk.inference import find_images

    layout = RawLayout.of(raw, "raw") if isinstance(raw, Mapping) else raw
    given = [images] if isinstance(images, str | Path) else images
    if address is not None and output is None:
        raise OptionError("`address` needs `output`")
    if workers is not None and address is None:
        raise OptionError("`workers` needs `address`")
    if output is not None:
        if names is not None or not _are_paths(given):
            raise OptionError("`output` needs files without `names`")
        return _predict_into(
            Path(output), Path(model), given, address, workers, progress, keep_going=keep_going,
            page=page, raw=layout, hdf5_path=hdf5_path, abstain=abstain,
        )  # fmt: skip
    classifier = load(model)
    if names is None and _are_paths(given):
        given = find_images([str(one) for one in given], channels=classifier.metadata.channels)
    return classifier.predict(
        given, names=names, page=page, raw=layout, hdf5_path=hdf5_path, progress=progress,
        keep_going=keep_going, abstain=abstain,
    )  # fmt: skip


def export(
    run: str | Path,
    *,
    format: str | None = None,
    quantize: str | None = None,
    out: str | Path | None = None,
    bundle: str | Path | None = None,
    input_size: tuple[int, int] | None = None,
    data: str | Path | None = None,
    margin: float | None = None,
    progress: Progress = NO_PROGRESS,
) -> "ExportReport":
    """Write a model file for a device and check it against the run, as `alloyk export` does.

    Args:
        run: Run folder.
        format: `savedmodel`, `tflite`, `onnx`, or with a smaller network `tflite-fp16`,
            `tflite-w8`, `tflite-16x8` or `tflite-int8`.
        quantize: `auto`, instead of a format, takes the first of several quantised files that
            passes.
        out: The file or folder to make; it must not exist. By default in the run's folder
            `exports`.
        bundle: Instead of `out`, a folder to make: a `.tflite` file and a script that classifies
            with LiteRT, NumPy and Pillow alone.
        input_size: `(height, width)` in pixels of the raw images that a `.tflite` or `.onnx` file
            takes; by default that of the test images.
        data: Where the run's data set is now; by default where it was in training.
        margin: Largest loss of accuracy of a quantised file, in points; by default 0.5.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        Size, latency, and the agreement with the run on every test image.

    Raises:
        AlloykError: `out` exists, the run or its data set is missing, or the two models disagree.

    Example:
        >>> import alloyk
        >>> alloyk.export("saved_models/cnn", format="tflite", out="cnn.tflite")  # doctest: +SKIP
    """
    if out is not None and bundle is not None:
        raise OptionError("give either `out` or `bundle`, got both")
    if quantize not in (None, "auto"):
        raise OptionError(f"`quantize` must be auto, got {quantize}; or give a `format`")
    if format is not None and quantize is not None:
        raise OptionError("give either `format` or `quantize`, got both")
    if format is None and quantize is None and bundle is None:
        raise OptionError("give a `format`, `quantize` or `bundle`")
    if bundle is not None and format is not None and not format.startswith("tflite"):
        raise OptionError(f"`bundle` needs a .tflite `format` or `quantize`, got `format` {format}")
    load_tensorflow()
    options: dict[str, Any] = {
        "input_size": input_size, "data": data, "margin": margin, "progress": progress
    }  # fmt: skip
    if bundle is not None:
        from alloyk.exporting.bundle import export_bundle

        return export_bundle(run, bundle, file_format=quantize or format or "tflite", **options)
    from alloyk.exporting import export_run, export_smallest

    if format is None:
        return export_smallest(run, out, **options)
    return export_run(run, format, out, **options)


def bench(
    run: str | Path,
    files: Sequence[str | Path] = (),
    *,
    data: str | Path | None = None,
    images: int = 300,
    out: str | Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> "BenchResult":
    """Measure the model of a run and its exports, as `alloyk bench` does.

    Args:
        run: Run folder.
        files: Files exported from it; by default all in its folder `exports`.
        data: Where the run's data set is now; by default where it was in training.
        images: Maximum number of test images to measure agreement on.
        out: CSV file to write as well; it must not exist.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        A row for each model: latency and throughput on one and two threads, size, memory, and
        agreement with the run.

    Raises:
        AlloykError: The run, its data set or a file is missing, or `out` exists
            or does not end in .csv.

    Example:
        >>> import alloyk
        >>> print(alloyk.bench("saved_models/cnn").to_text())  # doctest: +SKIP
    """
    from alloyk.api.results import BenchResult
    from alloyk.files import whole_file
    from alloyk.runs.destination import refuse_existing, refuse_other_ending

    if out is not None:
        refuse_other_ending(Path(out), (".csv",))
        refuse_existing(Path(out))
    load_tensorflow()
    from alloyk.exporting.bench import bench_run, format_csv

    rows = bench_run(run, files, data=data, images=images, progress=progress)
    if out is not None:
        with whole_file(Path(out)) as unfinished:
            unfinished.write_text(format_csv(rows), encoding="utf-8")
    return BenchResult(Path(run), tuple(rows))


def _predict_into(
    output: Path,
    model: Path,
    images: Sequence[str | Path],
    address: str | None,
    workers: int | None,
    progress: Progress,
    *,
    keep_going: bool,
    **options: Any,
) -> "Classification":
    """Write the table of files, here or on a cluster, and read it back."""
    from alloyk.files import whole_file
    from alloyk.inference import find_images
    from alloyk.inference.backends import model_file
    from alloyk.inference.metadata import read_metadata
    from alloyk.inference.rows import several_rows, write_table
    from alloyk.inference.table_files import read_table
    from alloyk.inference.tables import TABLES, refuse_other_file
    from alloyk.runs.destination import refuse_run_file

    kind = output.suffix.lower()
    if kind not in TABLES:
        raise OptionError(f"`output` must be a .csv, .json or .jsonl file, got {output}")
    refuse_run_file(output, model, "output")
    refuse_other_file(output)
    metadata = read_metadata(model_file(model)[1])
    names = find_images([str(one) for one in images], channels=metadata.channels)
    if address is None:
        with whole_file(output) as unfinished, unfinished.open("wb") as file:
            outcome = write_table(
                load(model), names, names, kind,
                lambda text: file.write(text.encode(errors="surrogateescape")),
                progress=progress, **options,
            )  # fmt: skip
    else:
        from alloyk.inference.on_cluster import Options, predict_on_cluster

        several = several_rows(names, options["page"], metadata)
        outcome = predict_on_cluster(
            model, names, output, Options(several, **options), address, workers=workers,
            progress=progress,
        )  # fmt: skip
    if not keep_going:
        outcome.raise_if_any_failed()
    return read_table(output, metadata.classes, outcome.notes)


def _are_paths(images: Iterable[Any]) -> bool:
    return isinstance(images, list | tuple) and all(isinstance(i, str | Path) for i in images)
