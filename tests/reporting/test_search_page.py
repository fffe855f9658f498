"""The report of a search: what it says of finished, failed and unfinished trials, and how it looks
in a browser.
"""

import json
from dataclasses import replace

import pytest
from test_report import Elements
from written_search import (
    LARGE,
    SPACE,
    describe,
    write_population,
    write_search,
    write_validation,
)

from alloyk.cli import main
from alloyk.errors import ModelError
from alloyk.reporting import write_report
from alloyk.reporting.search_data import SearchData
from alloyk.runs.lineage import Lineage, Part
from alloyk.runs.search_folder import SearchFolder
from alloyk.runs.search_records import FROM, PARENT, UNTIL
from alloyk.settings.dialect import dump_yaml

pytestmark = pytest.mark.usefixtures("unrendered")


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searches") / "tune <cnn>"
    return write_search(folder, lost=0.2, running=1, predictions=3)


@pytest.fixture(scope="module")
def html(search, unrendered):
    return write_report(search).read_text(encoding="utf-8")


def trials_in(html):
    (name,) = [name for name in Elements(html).tables if "the best first" in name]
    head, *rows = Elements(html).tables[name]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_every_trial_is_in_the_table_with_its_state(search, html):
    rows = trials_in(html)
    records = {one.name: one for one in SearchFolder(search).records}
    assert {row["trial"] for row in rows} == set(records)
    results = [float(row["val_loss"]) for row in rows if row["val_loss"] != "–"]
    assert results == sorted(results)
    for row in rows:
        trial = records[row["trial"]]
        if trial.state == "finished":
            assert (row["state"], row["epochs"], row["seconds"]) == ("finished", "5", "12.5")
        elif trial.state == "running":
            assert row["state"] == "unfinished"
        else:
            assert row["state"].split(" the ")[0].split(" Val")[0].split(" Res")[0] in (
                "diverged", "failed", "out of memory",
            )  # fmt: skip
            assert " ".join(trial.error.split()) in row["state"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ("ResourceExhaustedError: OOM when allocating tensor", "out of memory"),
        ("cannot read the image /data/XRAY_ROOM/1.png: the file is cut short", "failed"),
        ("the loss became NaN in epoch 2", "diverged"),
    ],
)
def test_the_state_of_a_failed_trial_is_told_by_whole_words(search, error, state):
    data = SearchData(SearchFolder(search))
    failed = next(trial for trial in data.folder.records if trial.state == "failed")
    assert data._state(replace(failed, error=error), continued=False) == state


def test_the_best_comes_with_its_interval_and_the_trials_it_cannot_be_told_from(search, html):
    data = SearchData(SearchFolder(search))
    best = data.best_first[0]
    certain = data.certainties[best.name]
    assert "[{:.4f}, {:.4f}]".format(*certain.interval) in html
    assert trials_in(html)[0]["trial"] == best.name
    assert [row["tied with best"] for row in trials_in(html)][:3] == [
        "yes" if data.certainties[one.name].tied else "no" for one in data.best_first[:3]
    ]


def test_sections_and_pictures_with_words(html):
    for anchor in ("best-configuration", "objective", "hyperparameters", "slices", "trials"):
        assert f'id="{anchor}"' in html
    pictures = [attributes for tag, attributes in Elements(html).tags if tag == "img"]
    assert len(pictures) == 3 + 2 + len(SPACE)
    assert all(len(attributes["alt"]) > 20 for attributes in pictures)
    assert "The search is not finished" in html


def test_the_same_files_give_the_same_bytes(search, html, tmp_path):
    assert write_report(search, tmp_path / "again.html").read_text(encoding="utf-8") == html


def nested(values):
    found = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        found.setdefault(section, {})[name] = json.loads(value) if isinstance(value, str) else value
    return found


def test_the_configuration_is_that_of_the_best_trial(tmp_path):
    folder = write_search(tmp_path / "a search", trials=4)
    first, second, *_ = SearchFolder(folder).records.best_first("val_loss")
    best_file = SearchFolder(folder).best_file
    best_file.write_text(dump_yaml(nested(second.values)))
    html = write_report(folder).read_text(encoding="utf-8")
    assert "is written when the same alloyk tune command has ended" in html
    own = SearchFolder(folder).settings_file(first)
    own.write_text(dump_yaml(nested(first.values)))
    html = write_report(folder).read_text(encoding="utf-8")
    assert f"Train it: alloyk train &#39;{own}&#39;" in html
    best_file.write_text("# mine\n" + dump_yaml(nested(first.values)))
    html = write_report(folder).read_text(encoding="utf-8")
    assert f"Train it: alloyk train &#39;{best_file}&#39;" in html
    assert "# mine" in html


def test_a_population_has_its_schedules_and_its_replay(tmp_path):
    folder = write_population(tmp_path / "p")
    html = write_report(folder).read_text(encoding="utf-8")
    assert 'id="schedules"' in html
    assert "Schedules of the population" in html
    assert "--replay" not in html
    best = SearchFolder(folder).records.best_first("val_loss")[0]
    part = Part(9, {"seed": 0}, best.name)
    Lineage({}, (part,), "ab", "00", "val_loss", 0.3).write(SearchFolder(folder).lineage_file)
    html = write_report(folder).read_text(encoding="utf-8")
    assert f"alloyk train --replay {SearchFolder(folder).lineage_file}" in html


def test_trials_of_hyperband_are_stopped_early_or_continued(tmp_path):
    describe(tmp_path, SPACE, search="hyperband")
    records = SearchFolder(tmp_path).records
    for number in range(12):
        values = {"optimizer.learning_rate": 0.1 / (number + 1), FROM: 0, UNTIL: 3}
        records.end(records.begin(values), 1.0 + number, epochs=3, seconds=1.0)
    values = {"optimizer.learning_rate": 0.1, FROM: 3, UNTIL: 9, PARENT: "0000"}
    records.end(records.begin(values), 0.1, epochs=9, seconds=1.0)
    data = SearchData(SearchFolder(tmp_path))
    states = [data.done[one.name].state for one in data.trials]
    assert states == ["continued", *["stopped early"] * 11, "finished"]
    trials, results, which = data.comparable()
    assert (len(trials), which) == (12, "trials that ended after 3 epochs")
    assert results.max() == 12.0


def test_results_of_a_population_count_against_their_generation(tmp_path):
    data = SearchData(SearchFolder(write_population(tmp_path)))
    _, results, _ = data.comparable()
    assert results.tolist() == pytest.approx([-0.15, -0.05, 0.05, 0.15] * 3)


def test_time_is_that_of_all_trials_in_the_order_of_their_ends(tmp_path):
    describe(tmp_path, SPACE)
    records = SearchFolder(tmp_path).records
    first, second = (records.begin({"optimizer.learning_rate": 0.1 * n}) for n in (1, 2))
    records.end(second, 0.5, seconds=10.0)
    records.end(first, 0.4, seconds=5.0)
    found = SearchData(SearchFolder(tmp_path)).ended_after_s
    assert found == {second.name: 10.0, first.name: 15.0}


@pytest.mark.parametrize(
    "options",
    [
        {"trials": 1, "predictions": 1},
        {"trials": 0},
        {"trials": 3, "lost": 1.0, "running": 1},
        {"trials": 12, "objective": lambda values: 0.5},
        {"trials": 12, "space": {"optimizer.learning_rate": [1e-3, 0.1]},
         "objective": lambda values: float(values["optimizer.learning_rate"])},
    ],
    ids=["1 trial", "0 trials", "0 finished", "constant objective", "1 hyperparameter"],
)  # fmt: skip
def test_small_and_odd_searches_have_a_report(tmp_path, options):
    folder = write_search(tmp_path / "s", **options)
    html = write_report(folder).read_text(encoding="utf-8")
    assert 'id="limits"' in html
    if not any(one.state == "finished" for one in SearchFolder(folder).records):
        assert "no best configuration" in html
        assert "<img" not in html


def test_why_there_is_no_importance_is_said(tmp_path):
    folder = write_search(tmp_path / "s", trials=12, objective=lambda values: 0.5)
    assert "every trial has the same objective" in write_report(folder).read_text()


def test_the_interval_is_drawn_only_beside_its_own_metric(tmp_path):
    from alloyk.reporting.search_figures import _interval

    data = SearchData(SearchFolder(write_search(tmp_path / "loss", trials=3, predictions=1)))
    assert _interval(data) is None  # the loss of another function than the log loss
    folder = write_search(
        tmp_path / "accuracy", trials=3, monitor="val_accuracy", objective=lambda values: 0.8
    )
    write_validation(folder / "trial_0000", right=48)
    low, high = _interval(SearchData(SearchFolder(folder)))
    assert low < 0.8 < high


def test_the_command_makes_the_report_of_an_unfinished_search(runner, tmp_path):
    folder = write_search(tmp_path / "s", trials=2, running=1)
    result = runner.invoke(main, ["report", str(folder)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"report: {folder / 'report.html'}\n"


def test_a_search_without_a_result_leaves_its_report_too(tmp_path, monkeypatch):
    from alloyk.api import search as api
    from alloyk.tuning import search as engine

    folder = write_search(tmp_path / "s", trials=3, lost=1.0)

    def fail(*args, **options):
        raise engine.NoResultError("every trial failed", folder)

    monkeypatch.setattr(engine, "run_search", fail)
    monkeypatch.setattr("alloyk.api.search.load_tensorflow", lambda: None)
    with pytest.raises(engine.NoResultError):
        api.run_search("grid", SPACE, (), folder, None, {})
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "diverged" in html


def test_a_damaged_search_is_one_line(runner, tmp_path):
    folder = write_search(tmp_path / "s", trials=2)
    (folder / "trial_0001" / "trial.json").write_text('{"values": 3}')
    result = runner.invoke(main, ["report", str(folder)])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "trial_0001/trial.json must be the record of a trial" in result.stderr
    (folder / "search.json").write_text('{"search": "grid"}')
    with pytest.raises(ModelError, match=r"search\.json must describe a search, but has no `space"):
        write_report(folder)
    assert not (folder / "report.html").exists()


@pytest.fixture(scope="module")
def large(tmp_path_factory, unrendered):
    """A thousand trials of fifteen hyperparameters."""
    folder = tmp_path_factory.mktemp("large") / "search"
    write_search(folder, LARGE, trials=1000, lost=0.05, running=2, predictions=3)
    return write_report(folder)


@pytest.mark.parametrize("width", [400, 1200])
def test_a_thousand_trials_work_in_a_browser(browser, large, width):
    page = browser(large, width=width)
    assert page.console() == []
    assert page.requests() == [page.url]
    assert page.run("return document.documentElement.scrollWidth") <= width
    widths = page.run("return [...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(widths) == 5 + len(LARGE)
    assert min(widths) > 0
    trials = "return document.querySelectorAll('#trials tbody tr').length"
    assert page.run(trials) == 1002
    assert not page.run("return document.querySelector('#trials details').open")
    page.run("document.querySelector('#trials details').open = true")
    page.run("document.querySelectorAll('#trials th button')[2].click()")
    first = page.run("return document.querySelector('#trials tbody td:nth-child(3)').innerText")
    assert float(first) == pytest.approx(0.2, abs=0.01)
    assert page.run("return document.documentElement.scrollWidth") <= width
