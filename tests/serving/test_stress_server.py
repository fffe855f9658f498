"""scripts/stress_server.py: its figures."""

import argparse
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "stress_server.py"


@pytest.fixture(scope="module")
def script():
    spec = spec_from_file_location("stress_server", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_latencies_of_one_and_of_many_requests(script):
    assert script.latencies([0.004]) == "4 ms, 4 ms"
    assert script.latencies([number / 1000 for number in range(101)]) == "50 ms, 99 ms"


def test_the_number_of_requests_is_checked(script):
    assert script.positive("1") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="must be 1 or more, got 0"):
        script.positive("0")
