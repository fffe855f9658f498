"""`alloyk export` and `alloyk predict` as a user types them."""

import csv
import io
import json
import os
import statistics
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_run import CLASSES, raw_image, write_dataset, write_run

from alloyk.cli import main
from alloyk.inference import load

# What a device with LiteRT, NumPy and Pillow alone does not have.
TOO_HEAVY = ("tensorflow", "keras", "pandas", "matplotlib", "scipy", "sklearn", "pydantic", "jax")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write_run(folder / "run", write_dataset(folder / "data"))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """What the command printed, and the file it made."""
    out = tmp_path_factory.mktemp("exported") / "model.tflite"
    command = ["export", str(run), "--format", "tflite", "--out", str(out)]
    return alloyk(*command), out


def alloyk(*arguments, **options):
    """Run the command in a process of its own."""
    code = "from alloyk.cli import main; main(prog_name='alloyk')"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, **{"text": True, **options},
    )  # fmt: skip


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_export_prints_a_table_and_no_noise(exported):
    done, out = exported
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    table = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert table["predictions that differ"].strip() == "0"
    assert table["images compared"].strip().startswith("18 ")
    assert float(table["max |Δp|"].split()[0]) <= 1e-4
    assert done.stderr.splitlines() == [
        "reading 18 test images",
        f"loading {done.args[4]}",
        "converting to tflite",
        "comparing both models on 18 test images",
        "choosing thresholds for abstention",
        "timing",
    ]


def test_a_tflite_prediction_loads_nothing_heavy(exported):
    image = exported[1].parent / "plate.png"
    Image.fromarray(raw_image(50)).save(image)
    code = (
        "import sys; from alloyk.cli import main; main(sys.argv[1:], standalone_mode=False); "
        f"print([m for m in {TOO_HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(exported[1]), str(image)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == "[]\n"
    (row,) = rows_of(done.stdout)
    assert list(row) == ["path", "predicted", *(f"p_{label}" for label in CLASSES)]
    assert row["path"] == str(image)
    assert row["predicted"] in CLASSES


def test_a_tflite_prediction_starts_in_a_moment(exported):
    # 1 s is promised; the processor time is what a busy machine cannot lengthen much.
    image = exported[1].parent / "quick.png"
    Image.fromarray(raw_image(51)).save(image)
    seconds = []
    for _ in range(5):
        before = os.times()
        assert alloyk("predict", exported[1], image).returncode == 0
        after = os.times()
        seconds.append(
            after.children_user - before.children_user
            + after.children_system - before.children_system
        )  # fmt: skip
    assert statistics.median(seconds) < 1


def test_run_and_tflite_print_the_same(run, exported, runner):
    folder = run.parent / "data" / "test"
    tables = [
        rows_of(runner.invoke(main, ["predict", str(model), str(folder)]).stdout)
        for model in (run, exported[1])
    ]
    with (run / "predictions.csv").open() as file:
        expected = {row["path"]: row for row in csv.DictReader(file)}
    for table in tables:
        assert len(table) == 18
        for row in table:
            recorded = expected["test/" + os.path.relpath(row["path"], folder)]
            assert row["predicted"] == recorded["predicted"]
            for label in CLASSES:
                assert abs(float(row[f"p_{label}"]) - float(recorded[f"p_{label}"])) <= 1e-4


def test_one_image_on_standard_input(exported, runner, tmp_path):
    image = tmp_path / "plate.png"
    Image.fromarray(raw_image(52)).save(image)
    done = alloyk("predict", exported[1], "-", image, input=image.read_bytes(), text=False)
    assert done.returncode == 0, done.stderr
    first, second = rows_of(done.stdout.decode())
    assert first["path"] == "-"
    assert {**first, "path": str(image)} == second

    done = runner.invoke(main, ["predict", str(exported[1]), "-"], input=b"no image")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: cannot read the image on standard input: it is not")
    done = runner.invoke(main, ["predict", str(exported[1]), "-", "-"], input=b"")
    assert done.exit_code == 2


def test_several_pages_on_standard_input_are_refused_with_what_to_do(exported, runner, tmp_path):
    pages = [Image.fromarray(raw_image(n)) for n in range(2)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    command = ["predict", str(exported[1]), "-", "--page"]
    content = (tmp_path / "stack.tif").read_bytes()
    done = runner.invoke(main, [*command, "each"], input=content)
    assert done.exit_code == 1
    assert "must be one page with --page each, got 2; give --page a number or mean" in done.stderr
    assert runner.invoke(main, [*command, "mean"], input=content).exit_code == 0


def test_a_bad_image_on_standard_input_is_a_row_beside_others(exported, runner, tmp_path):
    image = tmp_path / "plate.png"
    Image.fromarray(raw_image(52)).save(image)
    done = runner.invoke(main, ["predict", str(exported[1]), "-", str(image)], input=b"no image")
    assert done.exit_code == 1
    bad, good = rows_of(done.stdout)
    assert bad["path"] == "-"
    assert bad["error"].startswith("cannot read the image on standard input: it is not")
    assert good["predicted"]
    assert not good["error"]


def test_the_path_inside_an_hdf5_file(exported, runner, tmp_path):
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("hdf5plugin")
    image = raw_image(1)
    np.save(tmp_path / "a.npy", image)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/frames"], file["dark"] = image, image * 0
    command = ["predict", str(exported[1])]
    expected = rows_of(runner.invoke(main, [*command, str(tmp_path / "a.npy")]).stdout)
    chosen = [*command, "--hdf5-path", "entry/frames"]
    content = (tmp_path / "a.h5").read_bytes()
    for done in (
        runner.invoke(main, [*chosen, str(tmp_path / "a.h5")]),
        runner.invoke(main, [*chosen, "-"], input=content),
    ):
        (row,) = rows_of(done.stdout)
        assert {**row, "path": ""} == {**expected[0], "path": ""}
    done = runner.invoke(main, [*command, str(tmp_path / "a.h5")])
    assert done.exit_code == 1
    assert "got dark, entry/frames; choose one with --hdf5-path" in done.stderr
    (tmp_path / "data").mkdir()
    (tmp_path / "a.h5").rename(tmp_path / "data" / "a.h5")
    done = runner.invoke(main, ["audit", str(tmp_path / "data"), "--hdf5-path", "entry/frames"])
    assert "cannot" not in done.stdout
    done = runner.invoke(main, ["audit", str(tmp_path / "data"), "--hdf5-path", "entry"])
    assert done.exit_code == 1
    assert "which is a group" in done.stdout


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_a_file_that_predict_did_not_write_is_kept(exported, runner, tmp_path, ending):
    image, out = tmp_path / "a.png", tmp_path / f"manifest{ending}"
    Image.fromarray(raw_image(0)).save(image)
    command = ["predict", str(exported[1]), str(image), "--output", str(out)]
    out.write_text("path,label\na.png,1050\n")
    done = runner.invoke(main, command)
    assert done.exit_code == 1
    assert "--output must be a new file or an earlier table of predictions" in done.output
    assert out.read_text() == "path,label\na.png,1050\n"
    out.write_text("")
    for _ in range(2):  # an empty file, then an earlier table
        assert runner.invoke(main, command).exit_code == 0, done.output
    assert "predicted" in out.read_text()


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_output_goes_to_a_file_instead(exported, runner, tmp_path, ending):
    image = tmp_path / "plate.png"
    Image.fromarray(raw_image(53)).save(image)
    out = tmp_path / f"found.{ending}"
    done = runner.invoke(main, ["predict", str(exported[1]), str(image), "--output", str(out)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"1 image: {out}\n"
    printed = runner.invoke(
        main, ["predict", str(exported[1]), str(image), *(["--json"] if ending == "json" else [])]
    )
    assert out.read_text() == printed.stdout
    expected = load(exported[1]).predict(image).labels[0]
    text = out.read_text()
    rows = rows_of(text) if ending == "csv" else json.loads(text)
    assert rows[0]["predicted"] == expected


def test_one_broken_image_of_a_folder_keeps_the_rest(exported, runner, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(21):
        Image.fromarray(raw_image(number)).save(folder / f"{number:02}.png")
    broken = folder / "07.png"
    broken.write_bytes(broken.read_bytes()[:-30])
    (folder / "notes.txt").write_text("not an image")
    out = tmp_path / "found.csv"
    command = ["predict", str(exported[1]), str(folder), "--output", str(out)]
    done = runner.invoke(main, command)
    assert done.exit_code == 1
    assert done.stdout == ""
    ignored, written, error = done.stderr.splitlines()
    assert ignored == f"Ignored 1 non-image file: {folder / 'notes.txt'}"
    assert written == f"20 images: {out}"
    assert error.startswith("Error: 1 of 21 images could not be classified")
    rows = rows_of(out.read_text())
    assert [row["path"] for row in rows] == [str(folder / f"{n:02}.png") for n in range(21)]
    assert [n for n, row in enumerate(rows) if row["error"]] == [7]
    assert "cut short" in rows[7]["error"]
    assert rows[7]["predicted"] == ""
    assert all(row["predicted"] in CLASSES for n, row in enumerate(rows) if n != 7)


def test_wrong_usage_ends_with_2(exported, runner, tmp_path):
    model, image = str(exported[1]), str(tmp_path / "a.png")
    for arguments in ([model], [model, image, "--output", "found.xls"],
                      [model, image, "--json", "--output", "found.json"]):  # fmt: skip
        done = runner.invoke(main, ["predict", *arguments])
        assert done.exit_code == 2, done.output
    export = ["export", "run", "--out", "x"]
    for arguments in ([], ["--format", "caffe"], ["--format", "tflite", "--input-size", "12by12"]):
        done = runner.invoke(main, [*export, *arguments])
        assert done.exit_code == 2, done.output


def test_what_the_user_can_mend_ends_with_1_and_one_line(exported, runner, tmp_path):
    good = tmp_path / "good.png"
    Image.fromarray(raw_image(54)).save(good)
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:-30])
    small = tmp_path / "small.png"
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(small)
    model = str(exported[1])
    for arguments, message in (
        (["predict", model, str(bad)], f"cannot read the image {bad}"),
        (["predict", model, str(small)], f"{small} must have the size"),
        (["predict", str(tmp_path), str(good)], "must be a run folder or a SavedModel"),
        (["predict", model, str(tmp_path / "gone.png")], "no image at"),
        (["export", str(tmp_path), "--format", "tflite", "--out", model], "already exists; choose"),
        (["export", str(tmp_path), "--format", "savedmodel", "--out", str(tmp_path / "saved")],
         "must be a run folder, but"),
    ):  # fmt: skip
        done = runner.invoke(main, arguments)
        assert done.exit_code == 1, done.output
        assert done.stdout == ""
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
        assert message in done.stderr


@pytest.mark.parametrize("command", ["export", "predict"])
def test_help_shows_an_example(runner, command):
    done = runner.invoke(main, [command, "--help"])
    assert done.exit_code == 0
    assert f"alloyk {command} " in done.stdout.split("Examples:")[1]


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from alloyk.cli import main\n"
        "for c in ('export', 'predict'): main([c, '--help'], standalone_mode=False)\n"
        f"print([m for m in {(*TOO_HEAVY, 'numpy')} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
