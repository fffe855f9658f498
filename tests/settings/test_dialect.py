"""One YAML for experiments, the simulator and the command line."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alloyk.config import parse_overrides, resolve_config
from alloyk.settings import dump_yaml, parse_assignments, parse_yaml
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # YAML 1.2, chapter 10.3, and one exception: a leading zero makes text.
        ("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("-3", -3), ("0o17", 15), ("0x1F", 31),
        ("010", "010"), ("1_000", "1_000"), ("1:30", "1:30"), ("1:30.5", "1:30.5"), ("no", "no"),
        ("on", "on"), ("true", True), ("False", False), ("2026-01-31", "2026-01-31"), ("=", "="),
        ("~", None), ("null", None), ("", None), ("-.inf", float("-inf")), ("1.", 1.0),
        ("'010'", "010"), ('"1e3"', "1e3"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = parse_yaml(text)
    assert (found, type(found)) == (value, type(value))


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | words
    | st.sampled_from(["010", "1e3", "1:30.5", "no", "0o7", "2026-01-31", "~", "=", "0x1f", ".5"])
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(words, scalars | st.lists(scalars, max_size=3), max_size=3))
def test_written_values_are_read_back(value):
    assert parse_yaml(dump_yaml(value)) == value


@settings(max_examples=50, deadline=None)
@given(st.lists(scalars, max_size=3))
def test_written_values_are_read_alike_by_pyyaml(value):
    assert yaml.safe_load(dump_yaml(value)) == value


def test_a_leading_zero_means_the_same_to_experiment_and_simulator():
    assert resolve_config(None, parse_overrides(["train.epochs=010"])).train.epochs == 10
    bits = with_overrides(Parameters(), parse_assignments(["detector.adc_bits=010"]))
    assert bits.detector.adc_bits == 10
