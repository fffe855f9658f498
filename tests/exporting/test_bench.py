"""`alloyk bench`: every model of a run in one table."""

import pytest
from click.testing import CliRunner
from tiny_run import write_dataset, write_run

import alloyk
from alloyk.cli import main
from alloyk.errors import ModelError
from alloyk.exporting import bench_run, export_run
from alloyk.exporting.bench import COLUMNS, exported_files
from alloyk.exporting.exporter import default_out
from alloyk.inference import latency
from alloyk.inference.latency import measure
from alloyk.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("untimed", "untraced")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with two exports in their default place."""
    folder = tmp_path_factory.mktemp("bench")
    run = write_run(folder / "cnn", write_dataset(folder / "data"))
    export_run(run, "tflite")
    export_run(run, "tflite-int8", margin=50)
    return run


def test_exports_are_found_in_the_run(run):
    found = [file.name for file in exported_files(RunFolder(run))]
    assert found == ["cnn-int8.tflite", "cnn.tflite"]
    assert default_out(run, "savedmodel").name == "cnn-savedmodel"
    assert default_out(run, "onnx").name == "cnn.onnx"


def test_proofs_without_a_model_and_hidden_files_are_no_exports_and_bundles_are(tmp_path):
    exports = RunFolder(tmp_path).exports_folder
    for name in ("a.tflite", ".part", "device/model.json", "device/model.tflite"):
        (exports / name).parent.mkdir(parents=True, exist_ok=True)
        (exports / name).touch()
    for name in ("a.tflite.proof", "deleted.tflite.proof"):
        (exports / name).mkdir()
    found = exported_files(RunFolder(tmp_path))
    assert found == [exports / "a.tflite", exports / "device" / "model.tflite"]


def test_a_row_for_each_model(run):
    keras, int8, whole = bench_run(run)
    assert [row.format for row in (keras, int8, whole)] == ["keras", "tflite-int8", "tflite"]
    assert keras.agreement is None
    assert whole.agreement.images == 18
    assert whole.agreement.max_difference <= 1e-4 < int8.agreement.max_difference
    assert int8.size_bytes < whole.size_bytes / 3
    assert [speed.threads for speed in int8.speeds] == [1, 2]
    (one,) = bench_run(run, [whole.path], images=5)[1:]
    assert one.agreement.images == 5


def test_the_command_prints_the_table(run, tmp_path):
    result = CliRunner().invoke(main, ["bench", str(run), "--out", str(tmp_path / "bench.csv")])
    assert result.exit_code == 0, result.output
    header, line, *rows = [one for one in result.stdout.splitlines() if one.startswith("|")]
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(COLUMNS)
    assert set(line) <= set("|-")
    assert len(rows) == 3
    written = (tmp_path / "bench.csv").read_text().splitlines()
    assert written[0] == ",".join(COLUMNS)
    assert written[1].startswith("model.keras,keras,")
    again = CliRunner().invoke(main, ["bench", str(run), "--out", str(tmp_path / "bench.csv")])
    assert again.exit_code == 1
    assert "already exists" in again.output


def test_python_gives_the_same(run):
    result = alloyk.bench(run, images=3)
    assert [row.format for row in result.rows] == ["keras", "tflite-int8", "tflite"]
    printed = CliRunner().invoke(main, ["bench", str(run), "--images", "3"])
    assert printed.stdout == result.to_text()
    assert "cnn-int8.tflite" in result._repr_html_()


def test_a_file_of_another_run_is_refused(run, tmp_path):
    (tmp_path / "no.tflite").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"a model must be a run folder.*no\.tflite"):
        bench_run(run, [tmp_path / "no.tflite"])


def test_speed_has_a_distribution_and_a_peak(run):
    speed = measure(default_out(run, "tflite"), (40, 48, 1))
    assert speed.runs >= 5
    assert 0 < speed.median_seconds <= speed.p99_seconds
    assert speed.images_per_second == pytest.approx(1 / speed.median_seconds)
    assert 10**7 < speed.peak_bytes < 10**11


def test_a_model_that_takes_batches_is_measured_in_batches(run, monkeypatch):
    """The peak is that of single images."""
    batches = []

    def timed(classifier, images):
        batches.append(len(images))
        return [0.5] if len(images) == 1 else [2.0]

    monkeypatch.setattr(latency, "_timed", timed)
    monkeypatch.setattr(latency, "peak_memory_bytes", lambda: 1000 * batches[-1])
    speed = measure(RunFolder(run).model_file, (40, 48, 1))
    assert batches == [1, latency.TOGETHER]
    assert (speed.median_seconds, speed.runs, speed.peak_bytes) == (0.5, 1, 1000)
    assert speed.images_per_second == latency.TOGETHER / 2.0
