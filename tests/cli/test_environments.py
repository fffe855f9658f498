"""Commands in environments that break other tools; none may end in a traceback."""

import os
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


def call(arguments, changes, cwd):
    environment = {**os.environ, **{name: value for name, value in changes.items() if value}}
    for name, value in changes.items():
        if value is None:
            environment.pop(name, None)
    found = subprocess.run(
        [sys.executable, "-m", "alloyk", *map(str, arguments)],
        capture_output=True, env=environment, cwd=cwd,
    )  # fmt: skip
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


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_light_commands(name, radiographs, tmp_path):
    changes = ENVIRONMENTS[name]
    assert call(["audit", radiographs], changes, tmp_path).returncode in (0, 1)
    assert call(["split", radiographs, "sorted"], changes, tmp_path).returncode == 0
    small = ["--preset", "easy", "--image-size", "16"]
    found = call(["simulate", "out", "--images", "4", *small], changes, tmp_path)
    assert found.returncode == 0, found.stderr
    found = call(["ceiling", *small, "--figure", "ceiling.png"], changes, tmp_path)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "ceiling.png").is_file()


BAD = [
    ["simulate", "out", "--preset", "nowhere"],
    ["audit", "nowhere"],
    ["ceiling", "--set", "tube.voltage_kvp=many"],
    ["plan", "--sweep", "tube.voltage_kvp", "--out", "plan"],
    ["split", "nowhere", "out"],
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
    ["predict", "nowhere", "nowhere.png"],
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
