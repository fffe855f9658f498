"""The command line as a stranger meets it: help, exit codes, one-line errors, quiet pipes."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alloyk.cli import COMMANDS, main

pytestmark = pytest.mark.usefixtures("unrendered")

PYTHON = sys.executable


def alloyk(*arguments, **settings):
    return subprocess.run(
        [PYTHON, "-m", "alloyk", *map(str, arguments)], capture_output=True, text=True, **settings
    )


def test_help_names_every_command(runner):
    result = runner.invoke(main, ["--help"])
    assert result.exit_code == 0
    for command, line in COMMANDS.items():
        assert f"{command} " in result.output
        assert line in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(runner, command):
    result = runner.invoke(main, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example" in result.output
    assert f"alloyk {command} " in result.output
    assert max(map(len, result.output.splitlines())) <= 100


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command):
    script = (
        "import sys\n"
        "from alloyk.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'pydantic'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    found = subprocess.run(
        [PYTHON, "-c", script, *command.split(), "--help"], capture_output=True, text=True
    )
    assert "LOADED []" in found.stdout, found.stdout + found.stderr


def test_help_answers_in_half_a_second():
    def processor_seconds():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    seconds = []
    for _ in range(5):
        before = processor_seconds()
        alloyk("train", "--help")
        seconds.append(processor_seconds() - before)
    # Of the processor, and the best of five: other work on the machine does not count.
    assert min(seconds) < 0.5


@pytest.fixture
def radiographs(tmp_path):
    """Twenty-four 16-bit images of two classes."""
    rng = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "data" / ("1050", "2017")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 16384, (12, 12), dtype=np.uint16)
        Image.fromarray(image).save(folder / f"{number}.png")
    return tmp_path / "data"


def add(data, name, content=b"no image"):
    path = data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def move_to_splits(data, *missing):
    """Make train, val and test folders of the data set; leave (split, label) in `missing` out."""
    for label in ("1050", "2017"):
        for number, path in enumerate(sorted((data / label).iterdir())):
            split = ("train", "val", "test")[number % 3]
            target = data / split / label / path.name
            if (split, label) not in missing:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            else:
                path.unlink()
        (data / label).rmdir()


def empty_class(data):
    (data / "5083").mkdir()


def one_class(data):
    for path in (data / "2017").iterdir():
        path.unlink()
    (data / "2017").rmdir()


BRIEF = (
    "--set", "model.arch=fnn", "--set", "train.epochs=1", "--set", "preprocess.image_size=12",
    "--set", "preprocess.repair=false", "--set", "model.depth=1",
)  # fmt: skip
BAD_DATA = {
    "missing folder": (
        lambda data: data.rename(data.with_name("elsewhere")),
        "data does not exist",
    ),
    "empty class": (empty_class, "data/5083; add images, or remove the empty class folder"),
    "one class": (one_class, "must have two or more classes"),
    "unreadable image": (lambda data: add(data, "1050/broken.png"), "1050/broken.png: "),
    "misplaced image": (
        lambda data: (data / "1050/0.png").rename(data / "stray.png"),
        "(stray.png); move",
    ),
    "class unknown to training": (
        lambda data: move_to_splits(data, ("train", "2017")),
        "the class '2017' in val but not in train",
    ),
}


@pytest.mark.parametrize(("spoil", "named"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_is_one_line_that_names_the_thing(runner, radiographs, tmp_path, spoil, named):
    spoil(radiographs)
    run = tmp_path / "run"
    found = runner.invoke(main, ["train", "--data", str(radiographs), "--run", str(run), *BRIEF])
    assert found.exit_code == 1, found.exception
    errors = found.stderr.strip().splitlines()
    assert errors[-1].startswith("Error: ")
    assert named in errors[-1]
    assert "Traceback" not in found.stderr
    assert found.stdout == ""
    assert not (run / "model.keras").exists()


def test_a_process_ends_with_one_line_too(radiographs, tmp_path):
    """An image that cannot be read stops TensorFlow's threads, which a process must survive."""
    add(radiographs, "1050/broken.png")
    found = alloyk("train", "--data", radiographs, "--run", tmp_path / "run", *BRIEF)
    assert found.returncode == 1
    assert found.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert "broken.png" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trian"], 2, "No such command"),
        (["train", "--epochs", "3"], 2, "No such option"),
        (["train", "missing.yaml"], 1, "cannot read missing.yaml: No such file or directory; give"),
        (["train", "."], 1, "cannot read .: Is a directory; give a YAML file"),
        (["train", "--resume"], 2, "--resume takes --run"),
        (["train", "--run", "nowhere", "--resume"], 1, "nowhere/config.yaml was not found"),
        (["train", "--arch", "resnet19"], 1, "got 'resnet19'; did you mean resnet18?"),
        (
            ["train", "--set", "train.epoch=3"],
            1,
            "unknown key train.epoch; did you mean train.epochs?",
        ),
        (["train", "--set", "train.epochs"], 1, "--set must be KEY=VALUE, got 'train.epochs'"),
        (["evaluate", "nowhere"], 1, "must be a run folder, but nowhere does not exist"),
        (["stress", "nowhere"], 1, "must be a run folder, but nowhere does not exist"),
        (["split", "nowhere", "out"], 1, "but nowhere does not exist; check the path"),
        (["tune", "--space", "no.yaml"], 1, "cannot read no.yaml: No such file or directory"),
        (["simulate", "out", "--from", "no.yaml"], 1, "cannot read no.yaml: No such file"),
        (["tune"], 2, "give --space or --over"),
    ],
)
def test_wrong_usage_exits_2_and_what_the_user_can_mend_exits_1(runner, arguments, code, message):
    result = runner.invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_no_write_permission_is_named(runner, radiographs, tmp_path):
    if os.geteuid() == 0:  # root may write anywhere: a file in the way stands for it
        (tmp_path / "file").write_text("")
        run = tmp_path / "file" / "run"
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        run = tmp_path / "locked" / "run"
    command = ["train", "--arch", "fnn", "--data", str(radiographs), "--run", str(run)]
    found = runner.invoke(main, command)
    assert found.exit_code == 1
    assert f"Error: cannot write the folder {run}" in found.stderr


def test_a_full_disk_is_one_line_and_a_mistake_in_the_program_is_not(runner, monkeypatch):
    def fails_with(number):
        def invoke(*_):
            raise OSError(number, os.strerror(number), "figures/a.png")

        monkeypatch.setattr("click.Group.invoke", invoke)
        return runner.invoke(main, ["audit", "."])

    found = fails_with(errno.ENOSPC)
    assert found.exit_code == 1, found.exception
    assert found.stderr == (
        "Error: cannot write figures/a.png: No space left on device; free some space, or write "
        "elsewhere\n"
    )
    assert isinstance(fails_with(errno.ENOENT).exception, FileNotFoundError)


@pytest.mark.slow  # tests/models/test_weights.py tests the error without a process
def test_missing_network_for_weights_says_what_to_do(radiographs, tmp_path):
    """ImageNet weights behind a proxy that is not there."""
    nowhere = {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path / "keras")}
    found = alloyk(
        "train", "--arch", "resnet50", "--data", radiographs, "--run", tmp_path / "run",
        "--set", "model.weights=imagenet", "--set", "preprocess.image_size=32",
        env={**os.environ, **nowhere},
    )  # fmt: skip
    assert found.returncode == 1
    error = found.stderr.strip().splitlines()[-1]
    assert error.startswith("Error: ")
    assert "weights" in error
    assert "model.weights=none" in error


def test_training_in_a_pipe_prints_results_on_stdout_and_messages_on_stderr(
    radiographs, tmp_path, monkeypatch, capfd
):
    """The descriptors of this process, which are no terminal: TensorFlow writes to them too."""
    monkeypatch.chdir(tmp_path)
    command = ["train", "--arch", "fnn", "--data", str(radiographs), "--run", "run", *BRIEF[2:]]
    command[command.index("train.epochs=1")] = "train.epochs=3"
    with pytest.raises(SystemExit) as ended:
        main(command, prog_name="alloyk")
    found = capfd.readouterr()
    assert ended.value.code == 0, found.err
    assert "accuracy" in found.out
    assert found.out.endswith(f"run: run\nfigures: {Path('run') / 'figures'}\n")
    lines = found.err.splitlines()
    assert [line.split("  ")[0] for line in lines[-3:]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert lines[-4].startswith("3 epochs of 5 batches: about ")
    assert "  train.epochs = 3  (set by you)" in lines


def test_evaluate_follows_a_changed_predictions_file(runner, radiographs, tmp_path):
    def done(*arguments):
        found = runner.invoke(main, [str(argument) for argument in arguments])
        assert found.exit_code == 0, found.stderr
        return found

    run = tmp_path / "run"
    done("train", "--data", radiographs, "--run", run, *BRIEF)
    before = (run / "report.txt").read_text()
    file = run / "predictions.csv"
    header, first, *rest = file.read_text().splitlines()
    path, label, predicted, *more = first.split(",")
    other = "1050" if predicted == "2017" else "2017"
    file.write_text("\n".join([header, ",".join([path, label, other, *more]), *rest]) + "\n")
    done("evaluate", run, "--from-predictions")
    assert (run / "report.txt").read_text() != before
    # From the images again: the model's own decision is back.
    done("evaluate", run)
    assert (run / "report.txt").read_text() == before
    found = done("evaluate", run, "--data", radiographs, "--split", "all")
    assert "24 images" in found.stdout
