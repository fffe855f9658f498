"""The HTML report: what it says, that it needs nothing else, and how it behaves in a browser."""

import json
import shutil
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from alloyk.cli import main
from alloyk.comparison import compare_runs, write_comparison
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run
from alloyk.reporting import write_report
from alloyk.runs.predictions import write_predictions

# Markup, an entity, both quotes, an attempt to end a script, and letters from right to left.
CLASSES = ("1050", "2017", "</script><script>alert(1)</script>", "\"Al\" & 'Cu' <b>", "ألومنيوم")
HISTORY = """\
epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds
1,1.00,0.50,1.10,0.45,0.001,2.5
2,0.50,0.70,0.60,0.70,0.001,2.25
"""


def write_run(folder, *, classes=CLASSES, seed=0):
    """An evaluated run of five classes with plates and a thickness, from random predictions."""
    rng = np.random.default_rng(seed)
    k, n = len(classes), 150
    y = np.arange(n) % k
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), y] += 2
    labels = np.array(classes, dtype=object)[y]
    table = pd.DataFrame(
        {
            "path": [f"images/<{i}>.png" for i in range(n)],
            "label": labels,
            "plate_id": [f"{y[i]}-{i // (2 * k)}" for i in range(n)],
            "thickness_mm": np.resize(["1.0", "2.0", "10.0"], n),
        }
    )
    folder.mkdir(parents=True)
    write_predictions(folder / "predictions.csv", table, np.exp(logits), classes)
    (folder / "history.csv").write_text(HISTORY)
    (folder / "config.yaml").write_text(
        f"seed: {7 + seed}\ndata: {{path: /images/<b>, split_seed: 3}}\n"
        "preprocess: {image_size: [64, 48], normalize: min_max, equalize: true}\n"
        "model: {arch: resnet18}\n"
    )
    facts = {
        "alloyk": "0.1.0", "classes": list(classes), "simulated": True, "grouped_by": "plate_id",
        "images": {"train": 700, "val": 150, "test": n}, "fingerprint": "ab12" * 16,
        "parameters": 11_689_512, "packages": {"keras": "3.15.1"}, "python": "3.11.2",
        "processor": "x86_64", "devices": ["/device:CPU:0"], "notes": [],
    }  # fmt: skip
    (folder / "facts.json").write_text(json.dumps(facts))
    evaluate_run(folder, resamples=50)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "five <alloys>")


@pytest.fixture(scope="module")
def html(run):
    return write_report(run).read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of table cells by the table's name."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self._text = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "div" and dict(attributes).get("role") == "region":
            self.rows = self.tables[dict(attributes)["aria-label"]] = []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._text = ""

    def handle_data(self, data):
        if self._text is not None:
            self._text += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self._text.strip())
            self._text = None


def test_tables_show_the_numbers_of_metrics_json(run, html):
    metrics = json.loads((run / "metrics.json").read_text())
    tables = Elements(html).tables
    caption = "Each class against the rest, with 95 % intervals over plates"
    shown = {row[0]: row for row in tables[caption][1:]}
    for label, figures in metrics["per_class"].items():
        row = shown[f"Al {label}" if label in ("1050", "2017") else label]
        assert row[1].startswith(f"{figures['precision']:.4f}")
        assert row[2].startswith(f"{figures['recall']:.4f}")
        assert row[7] == str(figures["support"])
        low, high = metrics["confidence_intervals"][f"per_class.{label}.recall"]
        assert row[2].endswith(f"[{low:.4f}, {high:.4f}]")
    assert shown["macro"][4].startswith(f"{metrics['macro']['f1']:.4f}")
    assert [row[0] for row in tables["Accuracy by thickness_mm"][1:]] == ["1.0", "2.0", "10.0"]


def test_every_mistake_in_the_list_is_one(run, html):
    table = pd.read_csv(run / "predictions.csv", dtype=str)
    wrong = table[table["label"] != table["predicted"]]
    (caption,) = [name for name in Elements(html).tables if "mistakes" in name]
    assert caption == f"The most confident of {len(wrong)} mistakes"
    rows = Elements(html).tables[caption][1:]
    assert len(rows) == min(20, len(wrong))
    assert {row[0] for row in rows} <= set(wrong["path"])
    confidence = [float(row[3]) for row in rows]
    assert confidence == sorted(confidence, reverse=True)


def test_origin_data_and_limits_are_told(run, html):
    for text in (
        "SHA-256", "ab12" * 16, "training 7, split 3", "keras 3.15.1", "Python 3.11.2", "x86_64",
        "train 700, val 150, test 150", "11,689,512", "Intended use", "Not intended", "64×48",
        "All images are simulated", "One training run, seed 7",
    ):  # fmt: skip
        assert text in html, text


def test_nothing_is_fetched_and_every_picture_has_words(run, html):
    names = {path.stem for path in (run / "figures").glob("*.png")}
    pictures = [attributes for tag, attributes in Elements(html).tags if tag == "img"]
    assert len(pictures) == len(names)
    for attributes in pictures:
        assert attributes["src"].startswith("data:image/png;base64,")
        assert len(attributes["alt"]) > 20
    for tag, attributes in Elements(html).tags:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)


def test_class_names_are_text_and_never_markup(html):
    scripts = [tag for tag, _ in Elements(html).tags if tag == "script"]
    assert len(scripts) == 1
    assert not any(tag == "b" for tag, _ in Elements(html).tags)
    assert "ألومنيوم" in html


def test_same_files_give_the_same_bytes(run, html, tmp_path):
    assert write_report(run, tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_a_run_without_history_configuration_and_figures_has_a_report(run, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run / "predictions.csv", bare)
    evaluate_run(bare, resamples=50)
    shutil.rmtree(bare / "figures")
    html = write_report(bare).read_text(encoding="utf-8")
    assert "Each class against the rest" in html
    assert 'id="training"' not in html
    assert "<img" not in html


def test_only_a_run_with_a_model_says_how_to_use_it(run, html, tmp_path):
    assert "How to use" not in html  # no model.keras
    (tmp_path / "model.keras").write_bytes(b"")
    for name in ("predictions.csv", "metrics.json"):
        shutil.copy(run / name, tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert f"alloyk predict {tmp_path.name} IMAGE" in html


def test_ceiling_controls_folds_and_estimates_are_shown(run, tmp_path):
    """What only some evaluations have, in the form in which metrics.json has it."""
    other = shutil.copytree(run, tmp_path / "run")
    metrics = json.loads((other / "metrics.json").read_text())
    recall = dict(zip(CLASSES, (0.91, 0.92, 0.93, 0.94, 0.95), strict=True))
    metrics["ceiling"] = {
        "accuracy": 0.6543, "error": 0.007, "recall": recall, "notes": ["Linearised at the mean."],
    }  # fmt: skip
    noise = {"what": "random forest on noise", "accuracy": 0.4321, "interval": [0.4, 0.5]}
    metrics["controls"] = {"noise": noise}
    names = ("accuracy", "balanced_accuracy", "macro.f1", "macro.average_precision",
             "macro.roc_auc", "log_loss")  # fmt: skip
    one = {"values": [0.8111, None], "mean": 0.8111, "sd": None}
    metrics["folds"] = {
        "names": ["fold_1", "fold_2"], "images": [80, 70], "figures": dict.fromkeys(names, one),
    }  # fmt: skip
    errors = {"n": 150, "mae": 0.1234, "rmse": 0.2345, "r2": None}
    metrics["regression"] = {
        "thickness_mm": {**errors, "per_class": dict.fromkeys(CLASSES, errors)}
    }
    (other / "metrics.json").write_text(json.dumps(metrics))
    facts = json.loads((other / "facts.json").read_text())
    facts["cross_validation"] = {"held_out": {"fold_1": "1/2", "fold_2": "2/2"}}
    (other / "facts.json").write_text(json.dumps(facts))
    html = write_report(other).read_text(encoding="utf-8")
    tables = Elements(html).tables
    accuracies = {
        row[0]: row[1] for row in tables["Accuracy beside the reference ceiling, simulated"]
    }
    assert accuracies["reference ceiling"] == "0.6543 ± 0.0070 (Monte Carlo)"
    assert accuracies["noise baseline"] == "0.4321 [0.4000, 0.5000]"
    assert tables["Recall of each class"][1][1] == "0.9100"
    assert "Linearised at the mean." in html
    assert "The accuracy is above the ceiling" in html
    folds = tables["Each fold by itself"]
    assert folds[1][:4] == ["fold_1", "1/2", "80", "0.8111"]
    assert folds[2][3] == "–"
    assert folds[3][0] == "mean"
    assert "One training run for each of 2 folds, seed 7" in html
    assert tables["thickness_mm, estimated: errors with 95 % intervals"][-1] == [
        "all", "0.1234", "0.2345", "–", "150",
    ]  # fmt: skip


def test_the_model_card_names_the_channels_of_a_sample(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    settings = (folder / "config.yaml").read_text()
    channels = "channels: {column: tube_voltage_kvp, values: [40, 50]}"
    (folder / "config.yaml").write_text(settings.replace("data: {", f"data: {{{channels}, "))
    html = write_report(folder).read_text(encoding="utf-8")
    assert "from one radiograph for each tube_voltage_kvp (40, 50) to one of" in html
    assert "the model converts each to gray" in html


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Folder of a comparison of three runs, and what it found."""
    root = tmp_path_factory.mktemp("comparison")
    runs = [write_run(root / name, seed=seed) for seed, name in enumerate(("a", "<b>", "c"))]
    found = compare_runs(runs, timing=False, resamples=50)
    write_comparison(root / "compared", found)
    return root / "compared", found


def test_a_comparison_has_its_tables(comparison):
    folder, found = comparison
    html = write_report(folder).read_text(encoding="utf-8")
    tables = Elements(html).tables
    (first,) = [rows for name, rows in tables.items() if name.startswith("Accuracy with 95 %")]
    assert [row[0] for row in first[1:]] == [run["name"] for run in found["runs"]]
    for row, run in zip(first[1:], found["runs"], strict=True):
        low, high = run["accuracy_interval"]
        assert row[1] == f"{run['accuracy']:.4f} [{low:.4f}, {high:.4f}]"
    (pairs,) = [rows for name, rows in tables.items() if name.startswith("Second minus first")]
    assert len(pairs) == 4
    assert html.count("<img") == len(list((folder / "figures").glob("*.png")))
    for note in found["notes"]:
        assert note in unescape(html)
    assert 'id="seeds"' in html


def test_a_comparison_works_in_a_browser(browser, comparison):
    page = browser(write_report(comparison[0]), width=390)
    assert page.console() == []
    assert page.requests() == [page.url]
    assert min(page.run("return [...document.images].map(i => i.naturalWidth)")) > 0
    assert page.run("return document.documentElement.scrollWidth") <= 390
    page.run('document.querySelectorAll("th button")[1].click()')
    column = """
        const rows = [...document.querySelector("table").tBodies[0].rows];
        return rows.map(row => Number(row.cells[1].dataset.sort));
    """
    accuracies = page.run(column)
    assert accuracies == sorted(run["accuracy"] for run in comparison[1]["runs"])


def test_a_vote_names_its_members(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "run")
    members = "members: [{run: cnn, weight: 0.5}, {run: <vgg16>, weight: 0.5}]\n"
    (other / "ensemble.yaml").write_text(f"vote: soft\n{members}")
    html = write_report(other).read_text(encoding="utf-8")
    assert html.count("soft vote of cnn, &lt;vgg16&gt;, ") == 2


def test_metrics_of_other_predictions_are_refused(run, tmp_path):
    other = tmp_path / "run"
    shutil.copytree(run, other)
    lines = (other / "predictions.csv").read_text().splitlines()
    fields = lines[1].split(",")
    fields[2] = "2017" if fields[2] != "2017" else "1050"
    (other / "predictions.csv").write_text("\n".join([lines[0], ",".join(fields), *lines[2:]]))
    with pytest.raises(AlloykError, match=r"was not computed from .*--from-predictions"):
        write_report(other)


def test_metrics_of_an_earlier_version_are_refused(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "run")
    metrics = json.loads((other / "metrics.json").read_text())
    del metrics["evaluated"]
    (other / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(AlloykError, match=r"has no evaluated; run .*--from-predictions"):
        write_report(other)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "does not exist"),
        (
            lambda folder: folder.mkdir(),
            "the folder must be a run with predictions.csv and metrics.json",
        ),
    ],
)
def test_what_is_no_evaluation_is_one_line(runner, tmp_path, prepare, message):
    prepare(tmp_path / "x")
    result = runner.invoke(main, ["report", str(tmp_path / "x")])
    assert result.exit_code == 1
    assert message in result.stderr
    assert not list(tmp_path.glob("**/*.html"))


def test_command_names_its_file(run, runner, tmp_path):
    out = tmp_path / "new" / "report.html"
    result = runner.invoke(main, ["report", str(run), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"report: {out}\n"
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_page_works_in_a_browser(browser, run, html):
    page = browser(run / "report.html")
    assert page.console() == []
    assert page.requests() == [page.url]
    widths = page.run("return [...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(widths) == html.count("<img")
    assert min(widths) > 0
    assert page.run("return document.title") == "five <alloys>"


def test_a_click_sorts_a_table(browser, run, html):
    page = browser(run / "report.html")
    column = """
        const table = document.querySelector("#by-condition table");
        return [...table.tBodies[0].rows].map(row => row.cells[arguments[0]].textContent.trim());
    """
    click = 'document.querySelectorAll("#by-condition th button")[arguments[0]].click()'
    page.run(click, 0)
    assert page.run(column, 0) == ["1.0", "2.0", "10.0"]  # as numbers, not as text
    page.run(click, 0)
    assert page.run(column, 0) == ["10.0", "2.0", "1.0"]
    page.run(click, 1)
    accuracies = page.run(column, 1)
    assert accuracies == sorted(accuracies)
    heads = 'return [...document.querySelectorAll("#by-condition th")].map(h => h.ariaSort)'
    assert page.run(heads)[:2] == [None, "ascending"]
    assert page.console() == []


def test_no_page_is_wider_than_a_phone(browser, run, html):
    page = browser(run / "report.html", width=390)
    assert page.run("return document.documentElement.scrollWidth") <= 390


def test_everything_is_printed(browser, run, html):
    """What is folded on the screen is on paper: the last line of the configuration."""
    page = browser(run / "report.html")
    assert not page.run("return document.querySelector('details').open")
    page.print()
    assert page.run("return [...document.querySelectorAll('details')].every(d => d.open)")
