"""Images that other programs wrote are equal to a second reader, or refused with a true reason."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_images.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("check_images", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdicts(script, source, every=1):
    """Counts of the verdicts; what is wrong fails by name."""
    counts, wrong = Counter(), []
    for case in source(every):
        verdict, why = script.judged(case)
        counts[verdict] += 1
        if verdict == script.WRONG:
            wrong.append(f"{case.name}: {why}")
    assert not wrong
    return counts


# Primes, so that each value of the matrix occurs beside each other one.
@pytest.mark.parametrize(
    ("source", "every"),
    [("tiff_matrix", 17), ("pillow_files", 3), ("pydicom_files", 5), ("skimage_files", 3)],
)
def test_a_sample_of_each_source(script, source, every):
    assert verdicts(script, getattr(script, source), every)[script.EQUAL] > 5


@pytest.mark.slow
def test_all_files_of_all_sources(script):
    counts = {source.__name__: verdicts(script, source) for source in script.SOURCES}
    assert counts["tiff_matrix"].total() >= 1000
    assert counts["pydicom_files"][script.EQUAL] >= 75


def test_the_comparison_finds_a_changed_pixel_and_a_false_reason(script):
    case = next(iter(script.tiff_matrix()))
    assert script.judged(case) == (script.EQUAL, "")
    changed = case.expected.copy()
    changed[3, 4] ^= 1
    assert script.judged(case._replace(expected=changed)) == (script.WRONG, "differs by up to 1")
    assert script.judged(case._replace(reason="damaged"))[0] == script.WRONG
    assert script.judged(case._replace(source=case.source[:50]))[0] == script.WRONG
