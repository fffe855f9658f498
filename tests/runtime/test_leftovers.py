"""What a killed process has left is removed; what a living one is writing is not."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from alloyk.errors import AlloykError
from alloyk.files import files_together, unfinished_path, whole_file
from alloyk.runtime import leftovers
from alloyk.runtime.leftovers import temporary_folder

# Opens the block, and is killed inside of it.
KILLED = """
import os, signal, sys
from pathlib import Path
from alloyk.files import files_together, unfinished_path, whole_file
with {block}(Path(sys.argv[1])) as unfinished:
    unfinished.touch() if unfinished.suffix else (unfinished / "part").mkdir(parents=True)
    print(unfinished, flush=True)
    if sys.stdin.read():
        os.kill(os.getpid(), signal.SIGKILL)
"""
BLOCKS = {
    "whole_file": (whole_file, "model.keras"),
    "files_together": (files_together, "figures"),
    "unfinished_path": (unfinished_path, "saved"),
}


def write(unfinished):
    if unfinished.suffix:
        unfinished.write_text("whole")
    else:
        unfinished.mkdir(exist_ok=True)
        (unfinished / "part").touch()


def hidden(folder):
    return sorted(path.name for path in folder.rglob(".*") if not path.name.endswith(".lock"))


@pytest.mark.parametrize(("block", "name"), BLOCKS.values(), ids=BLOCKS)
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, block, name):
    target = tmp_path / name
    others = [tmp_path / f".{name}", tmp_path / f".other-{name}"]  # not of this target
    for other in others:
        other.touch()
    code = KILLED.format(block=block.__name__)
    process = subprocess.Popen(
        [sys.executable, "-c", code, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    process.stdout.readline()
    before = hidden(tmp_path)
    assert len(before) == 3
    if block is whole_file:  # the others lock what they write
        with suppress(KeyError), block(target):
            assert set(before) < set(hidden(tmp_path))  # the other one is alive
            raise KeyError
        assert hidden(tmp_path) == before
    process.communicate("die")
    assert process.returncode == -9
    assert hidden(tmp_path) == before
    with block(target) as unfinished:
        write(unfinished)
    assert hidden(tmp_path) == sorted(other.name for other in others)


def test_a_folder_of_a_process_elsewhere_is_kept_while_it_is_locked(tmp_path, monkeypatch):
    """The number of a process of another container says nothing; its lock does."""
    monkeypatch.setattr(leftovers, "_is_alive", lambda process: False)
    with temporary_folder(tmp_path, "alloyk-ray") as one:
        with temporary_folder(tmp_path, "alloyk-ray") as other:
            assert one.is_dir()
            assert other.is_dir()
        assert one.is_dir()
    assert not list(tmp_path.iterdir())


def test_a_file_that_a_library_has_replaced_is_kept(tmp_path):
    """Then nobody holds its lock, but its process is alive."""
    with whole_file(tmp_path / "a.txt") as one:
        one.unlink()
        one.write_text("first")
        with whole_file(tmp_path / "a.txt") as other:
            other.write_text("second")
        assert one.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["model.tflite", "vote"])
def test_a_new_file_or_folder_replaces_none_that_was_made_meanwhile(tmp_path, name):
    target = tmp_path / name

    def write_two():
        with unfinished_path(target) as unfinished:
            write(unfinished)
            write(target)

    with pytest.raises(AlloykError, match=f"{name} was made meanwhile"):
        write_two()
    assert [path.name for path in tmp_path.iterdir()] == [name]
