"""One process at a time writes a folder; a process that has died holds nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from alloyk.errors import AlloykError
from alloyk.locks import LOCK_FILE, is_empty, locked_folder, locked_path, new_numbered_folder

HOLD = """
import sys
from pathlib import Path
from alloyk.errors import AlloykError
from alloyk.locks import locked_folder
try:
    with locked_folder(Path(sys.argv[1])):
        print("locked", flush=True)
        sys.stdin.read()
except AlloykError as error:
    print(f"refused: {error}", flush=True)
"""
CLAIM = """
import sys
from pathlib import Path
from alloyk.locks import new_numbered_folder
sys.stdin.readline()
with new_numbered_folder(Path(sys.argv[1]), "cnn") as folder:
    print(folder.name)
"""


def start(code: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(processes):
    for process in processes:
        process.communicate(timeout=60)


def test_of_five_processes_one_gets_the_folder_and_four_are_told_its_number(tmp_path):
    processes = [start(HOLD, tmp_path / "run") for _ in range(5)]
    answers = {process: process.stdout.readline().strip() for process in processes}
    holders = [process for process in processes if answers[process] == "locked"]
    assert len(holders) == 1
    for process in set(processes) - set(holders):
        assert f"run is in use by process {holders[0].pid} on " in answers[process]
        assert "(-c " in answers[process]
    end(processes)
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_a_killed_process_holds_nothing(tmp_path):
    process = start(HOLD, tmp_path)
    assert process.stdout.readline() == "locked\n"
    with (
        pytest.raises(AlloykError, match=f"in use by process {process.pid} on"),
        locked_folder(tmp_path),
    ):
        pass
    process.send_signal(signal.SIGKILL)
    end([process])
    assert (tmp_path / LOCK_FILE).exists()
    with locked_folder(tmp_path):
        pass
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_holder_is_named_that_signs_only_after_it_has_locked(tmp_path, monkeypatch):
    """The name is written after the lock is taken: another process waits for it."""
    from alloyk import locks

    locked, sign = threading.Event(), locks._sign

    def sign_late(descriptor):
        locked.set()
        time.sleep(0.3)
        sign(descriptor)

    def hold():
        with locked_folder(tmp_path):
            refused.wait(30)

    refused = threading.Event()
    monkeypatch.setattr(locks, "_sign", sign_late)
    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(30)
    try:
        with (
            pytest.raises(AlloykError, match=f"in use by process {os.getpid()} on"),
            locked_folder(tmp_path),
        ):
            pass
    finally:
        refused.set()
        thread.join()


def error_in_another_thread(folder):
    """The error when another thread of this process locks the folder."""
    found = []

    def lock():
        try:
            with locked_folder(folder):
                pass
        except AlloykError as error:
            found.append(str(error))

    thread = threading.Thread(target=lock)
    thread.start()
    thread.join()
    [error] = found
    return error


def test_a_holder_that_cannot_sign_is_refused_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr("alloyk.locks._sign", lambda descriptor: None)
    with locked_folder(tmp_path):
        found = error_in_another_thread(tmp_path)
    assert "is in use by another process; wait" in found


def test_of_five_processes_each_claims_a_numbered_folder_of_its_own(tmp_path):
    processes = [start(CLAIM, tmp_path / "saved") for _ in range(5)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    names = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(names) == ["cnn", "cnn-2", "cnn-3", "cnn-4", "cnn-5"]


def test_a_claimed_folder_goes_if_nothing_was_written(tmp_path):
    with pytest.raises(KeyError), new_numbered_folder(tmp_path, "run"):
        raise KeyError
    assert not list(tmp_path.iterdir())

    def fail_after_writing():
        with new_numbered_folder(tmp_path, "run") as folder:
            (folder / "config.yaml").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_writing()
    assert (tmp_path / "run" / "config.yaml").exists()


def test_the_same_thread_locks_again_and_another_thread_does_not(tmp_path):
    with locked_folder(tmp_path):
        with locked_folder(tmp_path):
            pass
        assert (tmp_path / LOCK_FILE).exists()
        assert is_empty(tmp_path)
        found = error_in_another_thread(tmp_path)
    assert f"in use by process {os.getpid()} on" in found


def test_a_waiting_process_goes_on_when_the_lock_is_free(tmp_path):
    order = []
    begun = threading.Event()

    def wait():
        begun.set()
        with locked_path(tmp_path / "cache", wait=True):
            order.append("second")

    with locked_path(tmp_path / "cache"):
        thread = threading.Thread(target=wait)
        thread.start()
        begun.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(open_folder, unprivileged):
    open_folder.chmod(0o555)
    with unprivileged():
        with (
            pytest.raises(AlloykError, match=r"^cannot write .*: Permission denied$"),
            locked_folder(open_folder),
        ):
            pass
        with (
            pytest.raises(AlloykError, match=r"^cannot write .*run: Permission denied$"),
            new_numbered_folder(open_folder, "run"),
        ):
            pass


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    """The system says "no such file" though the folder exists, as in /proc."""
    (tmp_path / ".table.csv.lock").symlink_to(tmp_path / "absent" / "lock")
    with (
        pytest.raises(AlloykError, match=r"^cannot write .*table\.csv: No such file"),
        locked_path(tmp_path / "table.csv"),
    ):
        pass


def test_a_folder_that_another_process_removes_is_made_again(tmp_path, monkeypatch):
    opened, gone = os.open, []

    def open_late(path, *options):
        if len(gone) < 3:
            gone.append(path)
            Path(path).parent.rmdir()
        return opened(path, *options)

    monkeypatch.setattr("alloyk.locks.os.open", open_late)
    with locked_folder(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK_FILE).exists()
    assert len(gone) == 3


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "saved_models").touch()
    with (
        pytest.raises(AlloykError, match=r"cannot write .*saved_models.*run.* is a file"),
        new_numbered_folder(tmp_path / "saved_models", "run"),
    ):
        pass


def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("alloyk.locks.fcntl.flock", no_locks)
    with locked_folder(tmp_path):
        pass
    assert "has no locks: do not let two commands write it at once" in caplog.text
