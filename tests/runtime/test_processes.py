"""Work in several processes: the same results in order, and errors as they are."""

import os
import signal
import subprocess
import sys
import time

import pytest

from alloyk.errors import AlloykError, DataError
from alloyk.runtime import processes
from alloyk.runtime.processes import in_processes, processes_for


class Squares:
    """Makes a function that returns its process and the square of a number."""

    def __call__(self):
        made_in = os.getpid()

        def square(number):
            if number == 40:
                raise DataError("40 is refused")
            if number == 50:
                os.kill(os.getpid(), signal.SIGKILL)
            return made_in, os.getpid(), number**2

        return square


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_order_from_as_many_processes(count):
    made_in, done_in, squares = zip(*in_processes(Squares(), range(30), count), strict=True)
    assert squares == tuple(number**2 for number in range(30))
    assert made_in == done_in
    assert len(set(done_in)) <= count
    assert (os.getpid() in done_in) == (count == 1)


def test_more_processes_for_more_work_up_to_one_per_core(monkeypatch):
    monkeypatch.setattr(processes, "available_cores", lambda: 8)
    assert [processes_for(seconds) for seconds in (0, 7, 8, 13, 32, 1e6)] == [1, 1, 2, 3, 8, 8]


def test_the_list_is_taken_as_it_is_needed():
    taken = []
    chunks = (taken.append(number) or number for number in range(30))
    results = in_processes(Squares(), chunks, 2)
    next(results)
    assert len(taken) < 10
    results.close()
    assert len(taken) < 10


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_is_raised_as_it_is(count):
    with pytest.raises(DataError, match="40 is refused"):
        list(in_processes(Squares(), range(35, 45), count))


def test_a_process_that_was_ended_is_named():
    with pytest.raises(AlloykError, match=r"all 2 processes must run to the end.*free some"):
        list(in_processes(Squares(), range(45, 55), 2))


SCRIPT = r"""
import os, time
from alloyk.runtime.processes import in_processes

class Slow:
    def __call__(self):
        def work(seconds):
            os.write(1, b"%d\n" % os.getpid())
            time.sleep(seconds)
        return work

list(in_processes(Slow(), [60] * 4, 2))
"""


def test_no_process_outlives_a_killed_parent(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)  # without a guarded main part
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as parent:
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    end = time.monotonic() + 20
    while any(is_running(child) for child in children) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(is_running(child) for child in children)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:  # one that ended waits to be collected
        return file.read().rpartition(")")[2].split()[0] != "Z"
