"""What a search has written is read again, and what is damaged is named in one line."""

import json

import pytest

from alloyk.errors import ModelError
from alloyk.runs.search_folder import SearchFolder
from alloyk.runs.search_records import PARENT, TRIAL_FILE, TrialRecords, write_description

DESCRIPTION = {
    "search": "grid",
    "space": {"model.dropout": [0.1, 0.3]},
    "config": {"train": {"monitor": "val_accuracy", "epochs": 3}},
    "data": "ab12",
    "versions": {"keras": "3"},
}


@pytest.fixture
def search(tmp_path):
    write_description(tmp_path, DESCRIPTION)
    return SearchFolder(tmp_path)


def test_the_description_is_read(search):
    found = search.description
    assert (found.search, found.monitor, found.simulated) == ("grid", "val_accuracy", None)
    assert [one.choices for one in found.parameters] == [("0.1", "0.3")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": None}, r"search\.json must describe a search, but has None for `space`"),
        ({"space": {"model.dropout": 3}}, r"search\.json .*model\.dropout: must be a list"),
        ({"config": []}, r"search\.json .*has \[\] for `config`"),
        ({"search": 3}, r"search\.json .*has 3 for `search`; restore it, or use the version"),
    ],
)
def test_a_damaged_description_is_named(search, change, message):
    search.description_file.write_text(json.dumps({**DESCRIPTION, **change}))
    with pytest.raises(ModelError, match=message):
        _ = search.description


@pytest.mark.parametrize("key", ["search", "space", "config", "data"])
def test_a_missing_part_of_the_description_is_named(search, key):
    rest = {name: value for name, value in DESCRIPTION.items() if name != key}
    search.description_file.write_text(json.dumps(rest))
    with pytest.raises(ModelError, match=rf"search\.json must describe .* has no `{key}`"):
        _ = search.description


TRIAL = {"values": {"model.dropout": "0.1"}, "state": "finished", "result": 0.5, "claimed": 0}


def record(search, name, content):
    folder = search.path / f"trial_{name}"
    folder.mkdir(exist_ok=True)
    (folder / TRIAL_FILE).write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": None}, "`values` must be an object, got null"),
        ({"values": [1]}, r"`values` must be an object, got \[1\]"),
        ({"state": "paused"}, '`state` must be one of running, finished, failed, got "paused"'),
        ({"result": "good"}, '`result` must be a number, got "good"'),
        ({"result": None}, "a finished trial cannot have the result null"),
        ({"state": "failed"}, r"a failed trial cannot have the result 0\.5"),
        ({"claimed": True}, "`claimed` must be a whole number, got true"),
        ({"epochs": 1.5}, r"`epochs` must be a whole number, got 1\.5"),
    ],
)
def test_a_damaged_record_is_named(search, change, message):
    record(search, "0000", {**TRIAL, **change})
    with pytest.raises(ModelError, match=rf"trial_0000/trial\.json must be .*{message}; restore"):
        _ = search.records


def test_a_record_that_is_cut_off_is_named(search):
    record(search, "0000", '{"values": {')
    with pytest.raises(ModelError, match=r"trial_0000/trial\.json is not valid JSON"):
        _ = search.records


def test_a_copy_of_a_trial_is_none(search):
    record(search, "0000", TRIAL)
    record(search, "0000 (copy)", TRIAL)
    assert [one.name for one in search.records] == ["0000"]
    assert search.records.begin({}).name == "0001"


def test_a_record_of_the_first_searches_says_less(search):
    record(search, "0000", {"values": {}, "state": "finished", "result": 0.5})
    (trial,) = search.records
    assert (trial.result, trial.claimed, trial.epochs) == (0.5, 0, None)


def test_a_record_of_a_later_version_may_say_more(search):
    record(search, "0000", {**TRIAL, "colour": "red"})
    (trial,) = search.records
    assert trial.result == 0.5


def test_the_line_of_a_trial_is_what_it_continues(tmp_path):
    records = TrialRecords(tmp_path)
    for parent in (None, "0000", "0001"):
        records.end(records.begin({PARENT: parent}), 0.5)
    last = list(records)[-1]
    assert [one.name for one in records.line(last)] == ["0000", "0001", "0002"]
    (records.folder(next(iter(records))) / TRIAL_FILE).unlink()
    with pytest.raises(ModelError, match=r"continues trial 0000, whose trial\.json is missing"):
        TrialRecords(tmp_path).line(last)
