"""Threads hold no more pixels than the limit, and a larger image goes alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from alloyk.auditing.pixel_budget import PixelBudget


def test_the_sum_stays_below_the_limit_and_a_larger_one_goes_alone():
    budget, lock = PixelBudget(10), threading.Lock()
    held, most = [], []

    def work(pixels):
        with budget.hold(pixels):
            with lock:
                held.append(pixels)
                most.append(list(held))
            time.sleep(0.002)
            with lock:
                held.remove(pixels)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [3, 4, 5, 25, 2, 2, 2, 9, 3, 3, 30, 1] * 5))
    assert all(sum(now) <= 10 or len(now) == 1 for now in most)
    assert any(len(now) > 1 for now in most)  # it is no lock
    assert [25] in most


def test_an_error_gives_the_room_back():
    budget = PixelBudget(1)
    with pytest.raises(ValueError, match="damaged"), budget.hold(1):
        raise ValueError("damaged")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: budget.hold(1).__enter__()).result(timeout=5)
