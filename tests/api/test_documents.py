"""The Python examples of README.md and docs/python.md run, on a small data set."""

import inspect
import logging
import re
import shutil
import textwrap
from pathlib import Path

import pytest
from tiny_run import write_dataset, write_run

import alloyk

pytestmark = pytest.mark.usefixtures("unrendered", "untimed")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("documents") / "data")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """What a training run leaves, without the training."""
    return alloyk.evaluate(write_run(tmp_path_factory.mktemp("documents") / "run", data))


def python_blocks(page):
    """The indented blocks of a page that are Python, in order."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    programs = [textwrap.dedent(block) for block in blocks]
    return [program for program in programs if re.search(r"^(import|from) ", program, re.MULTILINE)]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_examples_run(page, data, run, tmp_path, monkeypatch):
    train, simulate = inspect.signature(alloyk.train), alloyk.simulate

    def trained(*arguments, **options):
        train.bind(*arguments, **options)
        return run

    def simulated(out, **options):
        return simulate(out, **{**options, "images": 40, "image_size": 32})

    monkeypatch.setattr(alloyk, "train", trained)
    monkeypatch.setattr(alloyk, "simulate", simulated)
    monkeypatch.setattr(logging, "basicConfig", lambda **options: None)
    monkeypatch.chdir(tmp_path)
    if page == "README.md":
        shutil.copytree(data, "sorted")
        shutil.copytree(data / "test", "new")
    programs = python_blocks(ROOT / page)
    assert programs
    names = {}
    for program in programs:
        exec(compile(program, page, "exec"), names)
    assert names["alloyk"] is alloyk
