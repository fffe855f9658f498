"""The files of a run as typed objects, of this version and of earlier ones."""

import dataclasses
import json
from pathlib import Path

import pytest

from alloyk.config import resolve_config, write_config
from alloyk.errors import AlloykError
from alloyk.runs import facts as facts_module
from alloyk.runs.ensemble import Ensemble, Member
from alloyk.runs.facts import UNKNOWN_GROUPING, Facts
from alloyk.runs.folder import RunFolder, owner_of
from alloyk.settings.data import DataSettings

# As training wrote it before evaluation computed the ceiling.
OLD_FACTS = {
    "alloyk": "0.1.0", "classes": ["1050", "2017"], "simulated": True, "data_root": "/data",
    "grouped_by": None, "notes": ["A note."], "skipped": [],
    "ceiling": {"accuracy": 0.95, "error": 0.002}, "images": {"train": 7, "test": 3},
    "fingerprint": "f" * 64, "parameters": 12, "packages": {"keras": "3.11"}, "python": "3.11.7",
    "processor": "x86_64", "devices": ["/device:CPU:0"],
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def write(file, content):
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def test_facts_of_an_earlier_version_keep_every_entry(run):
    write(run.facts_file, {**OLD_FACTS, "unheard_of": [1]})
    facts = run.facts
    assert (facts.grouped_by, facts.data_root) == (None, Path("/data"))
    assert (facts.ceiling["accuracy"], facts.parameters) == (0.95, 12)
    run.write_facts(facts)
    assert json.loads(run.facts_file.read_text()) == {**OLD_FACTS, "unheard_of": [1]}
    assert run.facts == facts


def test_a_missing_grouping_differs_from_a_split_image_by_image(run):
    assert run.facts.grouped_by == UNKNOWN_GROUPING
    write(run.facts_file, {"grouped_by": None})
    assert run.facts.grouped_by is None


def test_every_fact_has_a_declared_type():
    fields = {one.name for one in dataclasses.fields(Facts)}
    assert fields - {"further"} == set(facts_module._TYPES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"parameters": "many"}', "`parameters` must be a whole number, got 'many'"),
        ('{"parameters": true}', "`parameters` must be a whole number, got True"),
        ('{"notes": "one"}', "`notes` must be a list, got 'one'"),
        ("[]", "must be a JSON object, got a list"),
        ("{", "is not valid JSON"),
    ],
)
def test_damaged_facts_are_named(run, content, message):
    write(run.facts_file, content)
    with pytest.raises(AlloykError, match=rf"facts\.json.* {message}"):
        _ = run.facts


def test_settings_need_not_suit_this_version(run):
    """A key that the configuration has no more, and values out of its ranges."""
    write(
        run.config_file,
        "seed: 3\ngone: 1\ntrain: {monitor: val_accuracy, epochs: -5}\nmodel: {arch: lenet}\n"
        "preprocess: {image_size: [32, 48]}\n"
        "data: {path: 2017, ratios: [0.5, 0.2, 0.3], fold: 2/3, on_bad_image: skip, old: 1}\n",
    )
    settings = run.settings
    assert (settings.seed, settings.monitor, settings.arch) == (3, "val_accuracy", "lenet")
    assert settings.image_size == (32, 48)
    assert settings.data == DataSettings(
        path=Path("2017").absolute(), ratios=(0.5, 0.2, 0.3), fold="2/3", skip_unreadable=True
    )


def test_a_run_and_its_configuration_name_the_same_data(run, tmp_path):
    """All settings of `DataSettings`, each with another value than its default."""
    given = {
        "path": str(tmp_path / "images"), "page": "mean", "group_by": "plate_id", "split_seed": 3,
        "ratios": [0.5, 0.25, 0.25], "fold": "2/3", "on_bad_image": "skip",
        "raw": {"dtype": "uint16", "shape": [8, 9], "offset": 4, "byte_order": "big"},
        "channels": {"column": "tube_voltage_kvp", "values": ["45", "60"], "by": "plate_id"},
        "hdf5_path": "entry/frames", "simulate": {"preset": "easy", "images": 7},
    }  # fmt: skip
    settings = []
    for held_out in ({}, {"fold": None, "leave_out": "plate_id=3"}):
        config = resolve_config(None, {"data": {**given, **held_out}})
        write_config(config, run.config_file)
        settings.append(RunFolder(run.path).settings.data)
        assert settings[-1] == config.data_settings()
    one, other = map(vars, settings)
    default = vars(DataSettings())
    same = [n for n in default if one[n] == default[n] and other[n] == default[n]]
    assert same == []


def test_without_a_configuration_every_setting_has_its_default(run):
    settings = run.settings
    assert (settings.seed, settings.monitor, settings.arch) == (None, "val_loss", None)
    assert settings.data == DataSettings()


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("seed: many", lambda s: s.seed, "`seed` must be a whole number, got 'many'"),
        ("data: radiographs", lambda s: s.data, "`data` must be a section, got 'radiographs'"),
        ("data: {ratios: [1, 2]}", lambda s: s.data, r"`data.ratios` must be three numbers"),
        ("data: {ratios: 5}", lambda s: s.data, r"`data.ratios` must be three numbers, got 5"),
        ("data: {ratios: [a, b, c]}", lambda s: s.data, r"`data.ratios` must be three numbers"),
        ("data: {simulate: 5}", lambda s: s.data, r"`simulate` must be a section, got 5"),
        ("preprocess: {image_size: [1]}", lambda s: s.image_size, "must be two whole numbers"),
        ("a: [", lambda s: s.seed, "must be valid YAML"),
    ],
)
def test_a_damaged_configuration_is_named(run, text, read, message):
    write(run.config_file, text)
    with pytest.raises(AlloykError, match=rf"config\.yaml.*{message}"):
        read(run.settings)


@pytest.mark.parametrize("weight", ["much", "[1]", "true"])
def test_an_ensemble_whose_weight_is_no_number_is_named(run, weight):
    run.write_ensemble(Ensemble("soft", (Member("cnn", None, 0.25),), "validation"))
    (file,) = (one for one in run.path.iterdir() if "0.25" in one.read_text())
    file.write_text(file.read_text().replace("0.25", weight))
    with pytest.raises(
        AlloykError, match=rf"{file.name} must have .* whose `weight` must be a number"
    ):
        _ = run.ensemble


def test_an_ensemble_is_read_back_as_written(run):
    assert run.ensemble is None
    ensemble = Ensemble(
        "hard", (Member("cnn", Path("/runs/cnn"), 0.25), Member("fnn")), "validation"
    )
    run.write_ensemble(ensemble)
    assert run.ensemble == ensemble
    assert ensemble.names == ["cnn", "fnn"]


@pytest.mark.parametrize(
    ("files", "is_run"),
    [
        ([], False),
        (["config.yaml"], False),  # a settings file of anybody
        (["metrics.json", "facts.json", "predictions.csv"], False),  # an evaluation
        (["model.keras"], True),
        (["config.yaml", "split.csv"], True),
        (["config.yaml", "cross_validation.json"], True),
    ],
)
def test_which_folder_is_a_run(run, files, is_run):
    for name in files:
        (run.path / name).touch()
    assert run.is_run == is_run
    for inside in (run.path, run.path / "evaluation_val", run.path / "a" / "b" / "c"):
        owner = owner_of(inside)
        assert (owner is not None) == is_run


def test_the_report_of_a_run_that_was_not_evaluated(run):
    with pytest.raises(AlloykError, match=r"cannot read .*report\.txt: .* `alloyk evaluate"):
        _ = run.report_text
