"""Commands in environments that break other tools; none may end in a traceback."""

import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from alloyk.cli import COMMANDS

ENVIRONMENTS = {
    "3 columns": {"COLUMNS": "3", "LINES": "3"},
    "LANG=C": {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "no HOME": {"HOME": None, "XDG_CACHE_HOME": None},
    "notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
}


# One process for all of them: the imports take seconds.
ALL_COMMANDS = """
import json, sys
from alloyk.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        allowed = (0, 1) if arguments[0] == "audit" else (0,)
        assert end.code in allowed, (arguments, end.code)
"""


def call(arguments, changes, cwd):
    return run(["-m", "alloyk", *map(str, arguments)], changes, cwd)


def run(arguments, changes, cwd):
    environment = {**os.environ, **{name: value for name, value in changes.items() if value}}
    for name, value in changes.items():
        if value is None:
            environment.pop(name, None)
    found = subprocess.run(
        [sys.executable, *arguments], capture_output=True, env=environment, cwd=cwd
    )
    assert b"Traceback" not in found.stderr, found.stderr.decode(errors="replace")
    return found


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """Twenty gray images of two classes."""
    folder = tmp_path_factory.mktemp("data") / "radiographs"
    rng = np.random.default_rng(0)
    for number in range(20):
        place = folder / ("1050", "2017")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 16384, (24, 24), dtype=np.uint16)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


HELP_OF_ALL = """
import sys, io, contextlib
from alloyk.cli import main
for command in sys.argv[1:]:
    try:
        main([command, "--help"])
    except SystemExit as end:
        assert end.code == 0, (command, end.code)
"""


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_help_of_every_command(name, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ENVIRONMENTS[name]}
    environment |= {k: v for k, v in ENVIRONMENTS[name].items() if v is not None}
    found = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, *COMMANDS],
        capture_output=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr.decode(errors="replace")
    assert found.stdout.count(b"Usage:") == len(COMMANDS)


ALL_AT_ONCE = {name: value for one in ENVIRONMENTS.values() for name, value in one.items()}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(ALL_AT_ONCE, id="all at once"),
        *(pytest.param(one, id=n, marks=pytest.mark.slow) for n, one in ENVIRONMENTS.items()),
    ],
)
def test_light_commands(changes, radiographs, tmp_path):
    small = ["--preset", "easy", "--image-size", "16"]
    commands = [
        ["audit", str(radiographs)],
        ["split", str(radiographs), "sorted"],
        ["simulate", "out", "--images", "4", *small],
        ["ceiling", *small, "--figure", "ceiling.png"],
    ]
    found = run(["-c", ALL_COMMANDS, json.dumps(commands)], changes, tmp_path)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "ceiling.png").is_file()


BAD = [
    ["simulate", "out", "--preset", "nowhere"],
    ["audit", "nowhere"],
    ["ceiling", "--set", "tube.voltage_kvp=many"],
    ["plan", "--sweep", "tube.voltage_kvp", "--out", "plan"],
    ["split", "nowhere", "out"],
    ["configure", "nowhere"],
    ["train", "--arch", "resnet19"],
    ["evaluate", "nowhere"],
    ["explain", "nowhere", "nowhere.png"],
    ["report", "nowhere"],
    ["compare", "nowhere", "elsewhere", "--out", "out"],
    ["ensemble", "nowhere", "elsewhere", "--vote", "hard", "--out", "out"],
    ["cross-validate", "--arch", "resnet19"],
    ["tune", "--arch", "resnet19", "--over", "model.dropout=0.1,0.2"],
    ["stress", "gone"],
    ["export", "nowhere", "--format", "tflite", "--out", "out.tflite"],
    ["bench", "nowhere"],
    ["predict", "nowhere", "nowhere.png"],
    ["serve", "nowhere", "--port", "0"],
]


def test_bad_input_is_tried_on_every_command():
    assert {arguments[0] for arguments in BAD} == set(COMMANDS)


@pytest.mark.parametrize("arguments", BAD, ids=lambda arguments: arguments[0])
def test_bad_input_is_one_line(arguments, runner, tmp_path, monkeypatch):
    from alloyk.cli import main

    monkeypatch.chdir(tmp_path)
    found = runner.invoke(main, arguments)
    assert found.exit_code in (1, 2)
    assert found.exception is None or isinstance(found.exception, SystemExit)
    assert found.stderr.splitlines()[-1].startswith("Error: ")
    assert found.stdout == ""


HOSTILE = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "HOME": "/dev/null/nobody",  # a home that cannot be made, not even by root
    "XDG_CACHE_HOME": None,
    "KERAS_BACKEND": "torch",
    "PYTHONWARNINGS": "error",
    "TF_CPP_MIN_LOG_LEVEL": None,
    **ENVIRONMENTS["3 columns"],
    **ENVIRONMENTS["LANG=C"],
}
SMALL = ["preprocess.image_size=16", "train.epochs=1", "model.hidden_units=8"]
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]
EASY = ["--preset", "easy", "--image-size", "16"]
EVERY = [
    ["simulate", "made", "--images", "4", *EASY],
    ["audit", "data", "--figures", "audit"],
    ["split", "data", "sorted"],
    ["ceiling", *EASY, "--figure", "ceiling.png"],
    ["plan", *EASY, "--sweep", "tube.voltage_kvp=40,50", "--out", "plan"],
    ["configure", "sorted", "--arch", "cnn", "--out", "sorted.yaml"],
    ["train", "--arch", "cnn", "--data", "sorted", *SETTINGS],
    ["train", "--arch", "cnn", "--data", "sorted", "--run", "two", "--set", "seed=1", *SETTINGS],
    ["evaluate", "two"],
    ["evaluate", "two", "--data", "data", "--split", "all"],
    ["evaluate", "two", "--from-predictions"],
    ["explain", "two"],
    ["stress", "two", "--images", "3"],
    ["report", "two"],
    ["compare", "saved_models/cnn", "two", "--out", "compared"],
    ["report", "compared"],
    ["ensemble", "saved_models/cnn", "two", "--vote", "soft", "--out", "soft"],
    ["cross-validate", "--folds", "2", "--arch", "fnn", "--data", "data", *SETTINGS],
    ["tune", "--arch", "fnn", "--data", "data", "--over", "model.dropout=0.1,0.2", *SETTINGS],
    ["export", "two", "--format", "tflite", "--out", "two.tflite"],
    ["bench", "two", "two.tflite", "--images", "2"],
    ["predict", "two", "data", "--output", "found.csv"],
    ["predict", "two.tflite", "sorted/test"],
]


def hostile_environment(folder):
    """A notebook's service account: no home, dark TeX style, ASCII, a terminal of 3 columns."""
    (folder / "matplotlibrc").write_text("text.usetex: True\nfigure.facecolor: black\n")
    changes = {**HOSTILE, "MATPLOTLIBRC": str(folder / "matplotlibrc")}
    kept = {name: value for name, value in os.environ.items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}


def in_hostile_environment(commands, folder):
    return subprocess.run(
        [sys.executable, "-c", ALL_COMMANDS, json.dumps(commands)],
        capture_output=True, env=hostile_environment(folder), cwd=folder,
    )  # fmt: skip


def test_every_command_is_tried():
    # `serve` runs until it is stopped: tests/serving.
    assert {arguments[0] for arguments in EVERY} == set(COMMANDS) - {"serve"}


@pytest.mark.slow
def test_every_command_in_a_hostile_environment(radiographs, tmp_path):
    (tmp_path / "data").symlink_to(radiographs)
    folders = [radiographs, *(path for path in radiographs.rglob("*") if path.is_dir())]
    before = {path: path.stat().st_mtime_ns for path in radiographs.rglob("*")}
    for folder in folders:
        folder.chmod(0o555)
    try:
        found = in_hostile_environment(EVERY, tmp_path)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    messages = found.stderr.decode(errors="replace")
    assert found.returncode == 0, messages
    for leaked in ("Traceback", "Warning:", "cudart", "matplotlib", "absl"):
        assert leaked not in messages
    assert {path: path.stat().st_mtime_ns for path in radiographs.rglob("*")} == before


def test_a_run_is_read_in_a_hostile_environment(tmp_path):
    """A sample of the slow test above: the first command of a notebook that imports Keras."""
    from tiny_run import write_dataset, write_run

    data = write_dataset(tmp_path / "data", per_class=1)
    write_run(tmp_path / "run", data)
    found = in_hostile_environment([["predict", "run", "data/test"]], tmp_path)
    assert found.returncode == 0, found.stderr.decode(errors="replace")
    assert found.stdout.count(b"\n") == 1 + 3
    assert found.stderr == b""


FULL_DISK = [
    (["simulate", "out", "--images", "4", "--preset", "easy", "--image-size", "64"], "out"),
    (["split", "data", "out"], "out"),
    (["ceiling", *EASY, "--figure", "out.png"], "out.png"),
]


@pytest.mark.parametrize(("arguments", "out"), FULL_DISK, ids=lambda one: one[0])
def test_a_file_that_cannot_grow_is_named_and_nothing_is_left(
    radiographs, tmp_path, arguments, out
):
    """A limit on the size of files acts like a full disk."""
    (tmp_path / "data").symlink_to(radiographs)
    found = subprocess.run(
        [sys.executable, "-m", "alloyk", *arguments], capture_output=True, cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)),
    )  # fmt: skip
    assert found.returncode == 1
    error = found.stderr.decode().splitlines()[-1]
    assert error.startswith("Error: cannot ")
    assert out in error
    assert "File too large" in error
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_read_only_data(radiographs, tmp_path):
    """Nothing is written beside the images, so that their folder may be read-only."""
    folders = [radiographs, *(path for path in radiographs.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in radiographs.rglob("*")}
    try:
        assert call(["audit", radiographs], {}, tmp_path).returncode in (0, 1)
        assert call(["split", radiographs, "copy"], {}, tmp_path).returncode == 0
        manifest = ["split", radiographs, radiographs / "split.csv", "--mode", "manifest"]
        if os.geteuid():  # root may write anywhere
            found = call(manifest, {}, tmp_path)
            assert found.returncode == 1
            assert found.stderr.startswith(b"Error: cannot write")
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in radiographs.rglob("*")} == before
