"""No command writes its results over those of another run, or among somebody's files."""

import json
import re
import shutil
from pathlib import Path

import pytest
from own_process import run_command, start
from tiny_run import write_dataset, write_run

from alloyk.cli import main
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run
from alloyk.evaluation.split_predictions import evaluate_split

PLAN = "plan --preset easy --image-size 16 --sweep tube.voltage_kvp=40,50"

pytestmark = pytest.mark.usefixtures("unrendered", "untraced")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two evaluated runs on one data set, and another data set."""
    root = tmp_path_factory.mktemp("runs")
    data = write_dataset(root / "data")
    for name, arch in (("a", "cnn"), ("b", "fnn")):
        evaluate_run(write_run(root / name, data, arch=arch), resamples=20)
    write_dataset(root / "other", per_class=2, sizes=((32, 40),))
    return root


@pytest.fixture
def root(made, tmp_path):
    for name in ("a", "b", "other"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(root, message, **options):
    before = content(root)
    with pytest.raises(AlloykError, match=message):
        evaluate_split(root / "a", **options)
    assert content(root) == before


def test_another_run_is_not_overwritten(root):
    message = r"--out must not replace files of another run, but .*/b is another run; choose"
    refused(root, message, data=root / "other", out=root / "b")
    refused(root, message, out=root / "b")
    refused(root, r"/b/evaluation_val lies in another run", out=root / "b" / "evaluation_val")
    with pytest.raises(AlloykError, match="is another run"):
        evaluate_run(root / "a", out=root / "b")


def test_evaluations_of_one_run_at_once_leave_whole_files(root):
    """Each of them writes all files, or is refused while another one writes."""
    before = content(root / "a")
    messages = [root / f"{number}.txt" for number in range(3)]
    command = ["evaluate", root / "a", "--from-predictions"]
    processes = [start(run_command, *command, messages=file) for file in messages]
    for process in processes:
        process.join()
    ended = [(f.read_text(), p.exitcode) for f, p in zip(messages, processes, strict=True)]
    assert 0 in {code for _, code in ended}
    for text, code in ended:
        assert code == 0 or (code == 1 and re.search(r"Error: .*/a is in use by p", text))
    after = content(root / "a")
    assert set(after) == set(before)  # no lock and no temporary file
    assert json.loads(after[Path("metrics.json")])["n"] == 18
    evaluate_run(root / "a")
    assert content(root / "a") == after  # the same files give the same bytes


def test_the_evaluation_of_another_run_is_not_overwritten(root):
    evaluate_split(root / "b", data=root / "other", out=root / "out")
    refused(root, r"out holds that of .*/b; choose", data=root / "other", out=root / "out")
    evaluate_split(root / "b", data=root / "other", out=root / "out")  # its own it replaces


def test_an_evaluation_by_an_earlier_version_is_known_by_its_parameters(root):
    for name, parameters in (("a", 5), ("b", 7)):
        (root / name / "facts.json").write_text(json.dumps({"parameters": parameters}))
    evaluate_split(root / "b", data=root / "other", out=root / "out")
    facts = json.loads((root / "out" / "facts.json").read_text())
    del facts["run"]
    (root / "out" / "facts.json").write_text(json.dumps(facts))
    refused(root, "holds that of a run with other parameters", out=root / "out")


def test_other_files_are_not_mixed_with_an_evaluation(root):
    (root / "notes").mkdir()
    (root / "notes" / "breakdown.csv").write_text("mine")
    refused(root, "notes holds other files", out=root / "notes")


def test_the_run_itself_takes_its_own_test_split_only(root):
    refused(root, "must not be the evaluated run", data=root / "other", out=root / "a")
    refused(root, "must not be the evaluated run", split="val", out=root / "a")
    assert evaluate_split(root / "a", out=root / "a") == root / "a"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("compare a b --no-timing --out b", "is a run"),
        ("compare a b --no-timing --out b/figures", "lies in a run"),
        ("compare a b --no-timing --out other", "holds other files"),
        ("ensemble a b --vote hard --out b/vote", "lies in a run"),
        ("report a --out b/report.html", "lies in another run"),
        ("report a --out a/metrics.json", "must end in .html or .htm"),
        ("explain a --out b/explain_gradcam", "lies in another run"),
        ("evaluate a --from-predictions --out b", "is another run"),
        ("report a --out other/mine.html", "must be a new file or an earlier report"),
        ("report a --out compared/mine.html", "must not lie in another search or comparison"),
        ("stress a --out b", "is another run"),
        ("stress a --out other", "holds other files"),
        (f"{PLAN} --out b", "is a run"),
        (f"{PLAN} --out other", "holds other files"),
        (f"{PLAN} --out planned", "holds other files"),  # a plan.csv alone is no plan of ours
        ("configure other --out a/config.yaml", "lies in a run"),
        ("configure other --out planned/plan.csv", "must be a new file or one made by alloyk conf"),
        ("explain a other --out DATA/maps", "must not lie in the data set"),
        ("export a --format savedmodel --out DATA/a", "must not lie in the data set"),
        ("explain a --data other --out other/maps", "must not lie in the data set"),
        ("export a --format savedmodel --data other --out other/a", "must not lie in the data set"),
        ("compare a b --no-timing --out DATA/c", "must not lie in the data set"),
        ("ensemble a b --vote hard --out DATA/v", "must not lie in the data set"),
        ("evaluate a --from-predictions --out DATA/e", "must not lie in the data set"),
        ("tune --data other --arch fnn --over seed=0,1 --out other/s", "must not lie in the data"),
        ("cross-validate --data other --arch fnn --out other/c", "must not lie in the data set"),
    ],
)
def test_no_command_writes_into_another_run_or_among_other_files(
    made, root, runner, monkeypatch, command, message
):
    monkeypatch.chdir(root)
    for name in ("compared/comparison.json", "planned/plan.csv", "other/mine.html"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("mine")
    before = content(root)
    result = runner.invoke(main, command.replace("DATA", str(made / "data")).split())
    assert result.exit_code == 1, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: --out must ")
    assert message in last
    assert content(root) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("audit other --figures other", "--figures must not lie in the data set other, where fig"),
        ("audit other --figures other/new", "--figures must not lie in the data set other"),
        ("audit other --figures a/figures", "--figures must not replace files of a run"),
        ("audit other --figures mine", "new or empty folder or an earlier audit's figures, but mi"),
        (
            "ceiling --preset easy --figure mine/a.png",
            "mine/a.png already exists; choose another",
        ),
        ("train --data other --arch fnn --run other/r", "--run must not lie in the data set"),
    ],
)
def test_no_figure_becomes_an_image_or_replaces_one(root, runner, monkeypatch, command, message):
    monkeypatch.chdir(root)
    (root / "mine").mkdir()
    (root / "mine" / "a.png").write_text("mine")
    before = content(root)
    result = runner.invoke(main, command.split())
    assert result.exit_code == 1, result.output
    assert message in result.stderr.strip().splitlines()[-1]
    assert content(root) == before


def test_what_a_command_wrote_it_writes_again(root, runner, monkeypatch):
    monkeypatch.chdir(root)
    for command in (f"{PLAN} --out p", "audit other --figures f", "report a --out r.html"):
        for _ in range(2):
            result = runner.invoke(main, command.split())
            assert result.exit_code in (0, 1), result.output
            assert "Error" not in result.stderr
    assert {path.name for path in (root / "p").iterdir()} == {"plan.csv", "plan.png"}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("predict a other --output a/predictions.csv", "but a/predictions.csv is one; choose"),
        ("predict a other --output a/predictions_train.csv", "predictions_train.csv is one"),
        ("predict a/model.keras other --output a/Metrics.json", "a/Metrics.json is one"),
        ("predict a other --output elsewhere/predictions.csv", "predictions.csv is one"),
        ("predict a other --output b/new.csv", "b/new.csv lies in another run, "),
        ("predict b/model.keras other --output a/new.csv", "a/new.csv lies in another run, "),
        ("export a --format savedmodel --out a/evaluation_val", "a/evaluation_val is one; choose"),
        ("export a --format savedmodel --out a/checkpoint", "a/checkpoint is one; choose"),
        ("export a --format tflite --out b/a.tflite", "b/a.tflite lies in another run, "),
    ],
)
def test_no_prediction_and_no_export_replaces_a_file_of_a_run(
    root, runner, monkeypatch, command, message
):
    monkeypatch.chdir(root)
    (root / "elsewhere").mkdir()
    for name in ("predictions.csv", "metrics.json"):
        shutil.copy(root / "a" / name, root / "elsewhere")
    before = content(root)
    result = runner.invoke(main, command.split())
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith(f"Error: --out{'put' * command.startswith('predict')} must not")
    assert message in result.stderr
    assert content(root) == before


def test_a_prediction_of_another_name_may_lie_in_its_run(root, runner, monkeypatch):
    monkeypatch.chdir(root)
    for model in ("a", "a/model.keras"):
        result = runner.invoke(main, ["predict", model, "other", "--output", "a/other.csv"])
        assert result.exit_code == 0, result.output


def test_an_explanation_does_not_delete_other_files_of_its_folder(root, runner, monkeypatch):
    monkeypatch.chdir(root)
    command = ["explain", "a", "--out", "why"]
    assert runner.invoke(main, command).exit_code == 0
    assert runner.invoke(main, command).exit_code == 0  # its own files it replaces
    (root / "why" / "notes.txt").write_text("mine")
    result = runner.invoke(main, command)
    assert result.exit_code == 1
    assert "why holds other files (notes.txt)" in result.stderr
    assert (root / "why" / "notes.txt").read_text() == "mine"
