"""Runs side by side: numbers from their files, tests, seeds, and refusals that name the runs."""

import csv
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from alloyk.cli import main
from alloyk.comparison import compare_runs, write_comparison
from alloyk.comparison.runs import read_runs
from alloyk.comparison.tables import Column, write_table
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run
from alloyk.metrics.significance import accuracy_difference
from alloyk.reporting.comparison import comparison_page
from alloyk.runs.ensemble import Ensemble, Member
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import read_predictions, write_predictions

CLASSES = ("1050", "2017", "5083", "6082", "7075")
HISTORY = "epoch,loss,val_loss,seconds\n1,0.9,0.8,1.5\n2,{loss},0.5,2\n"


def write_run(folder, skill=1.5, seed=0, *, shuffle=False, n=90, **config):
    """A run on the same 90 images of 30 plates, in its own order."""
    common = np.random.default_rng(9)
    y = np.repeat(common.integers(0, 5, n // 3), 3)
    logits = common.normal(size=(n, 5)) + np.random.default_rng(seed).normal(size=(n, 5))
    logits[np.arange(n), y] += skill
    table = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(n)],
            "label": [CLASSES[i] for i in y],
            "plate_id": [f"P{i // 3}" for i in range(n)],
        }
    )
    order = np.random.default_rng(seed + 50).permutation(n) if shuffle else np.arange(n)
    table = table.iloc[order].reset_index(drop=True)
    folder.mkdir(parents=True)
    for name in ("predictions.csv", "predictions_val.csv"):
        write_predictions(folder / name, table, np.exp(logits[order]), CLASSES)
    (folder / "history.csv").write_text(HISTORY.format(loss=0.1 * skill))
    facts = {"parameters": 1000 + seed, "simulated": True, "grouped_by": "plate_id"}
    (folder / "facts.json").write_text(json.dumps(facts))
    arch = config.pop("arch", folder.name.split("-")[0])
    text = {"seed": seed, "model": {"arch": arch}, "preprocess": {"image_size": [8, 8]}, **config}
    (folder / "config.yaml").write_text(json.dumps(text))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        write_run(tmp_path / "cnn", 1.0, 0),
        write_run(tmp_path / "cnn-2", 1.2, 1, shuffle=True),
        write_run(tmp_path / "vgg16", 2.5, 2, shuffle=True),
        write_run(tmp_path / "vgg16-2", 2.4, 3),
    ]


def compare(runs, **options):
    return compare_runs(runs, timing=False, resamples=100, **options)


def test_figures_equal_scikit_learn_on_each_run_s_file(runs):
    found = compare(runs)
    assert [row["name"] for row in found["runs"]] == ["cnn", "cnn-2", "vgg16", "vgg16-2"]
    assert (found["n"], found["plates"], found["simulated"]) == (90, 30, True)
    for run, row in zip(runs, found["runs"], strict=True):
        table = pd.read_csv(run / "predictions.csv", dtype={"label": str, "predicted": str})
        accuracy = sk.accuracy_score(table["label"], table["predicted"])
        assert row["accuracy"] == pytest.approx(accuracy)
        low, high = row["accuracy_interval"]
        assert low < accuracy < high
        areas = []
        for label in CLASSES:
            is_label, p = table["label"] == label, table[f"p_{label}"]
            expected = sk.average_precision_score(is_label, p)
            assert row["average_precision"][label] == pytest.approx(expected)
            areas.append(sk.roc_auc_score(is_label, p))
        assert row["roc_auc"] == pytest.approx(np.mean(areas))
    first = found["runs"][0]
    assert (first["loss"], first["val_loss"], first["seconds"]) == (0.1, 0.5, 3.5)
    assert (first["parameters"], first["seed"]) == (1000, 0)


def test_pairs_are_tested_image_by_image_whatever_the_order(runs):
    found = compare(runs)
    tables = [pd.read_csv(run / "predictions.csv", dtype=str).set_index("path") for run in runs]
    names = [run.name for run in runs]
    assert len(found["pairs"]) == 6
    for pair in found["pairs"]:
        one, two = (tables[names.index(pair[which])] for which in ("first", "second"))
        right = (one["label"] == one["predicted"])[tables[0].index]
        other = (two["label"] == two["predicted"])[right.index]
        assert pair["only_first_right"] == (right & ~other).sum()
        assert pair["only_second_right"] == (other & ~right).sum()
        assert pair["difference"] == pytest.approx(other.mean() - right.mean())
        plates = pd.factorize(tables[0]["plate_id"][right.index])[0]
        expected = accuracy_difference(right.to_numpy(), other.to_numpy(), plates, resamples=100)
        assert pair["p_score"] == pytest.approx(expected["p"])
        assert pair["p_score_holm"] >= pair["p_score"]
        assert pair["p_mcnemar_holm"] >= pair["p_mcnemar"]


def test_seeds_are_summed_up(runs):
    seeds = compare(runs)["seeds"]
    assert [group["name"] for group in seeds["groups"]] == ["cnn", "vgg16"]
    for group, pair in zip(seeds["groups"], (runs[:2], runs[2:]), strict=True):
        values = [pd.read_csv(run / "predictions.csv", dtype=str) for run in pair]
        values = [(table["label"] == table["predicted"]).mean() for table in values]
        assert group["mean"] == pytest.approx(np.mean(values))
        assert group["sd"] == pytest.approx(np.std(values, ddof=1))
    (test,) = seeds["tests"]
    assert (test["first"], test["second"]) == ("cnn", "vgg16")
    assert test["p"] == test["p_holm"]


def test_a_group_of_seeds_has_no_name_of_another_run_nor_half_a_number(runs, tmp_path):
    names = ("cnn-10", "cnn-11", "cnn-1", "cnn-2")
    more = tmp_path / "more"
    copies = [shutil.copytree(run, more / name) for run, name in zip(runs, names, strict=True)]
    groups = compare(copies)["seeds"]["groups"]
    assert [group["name"] for group in groups] == ["cnn-10", "cnn-1"]  # "cnn" is both
    copies[2:] = [copies[2].rename(more / "vgg-1"), copies[3].rename(more / "vgg-2")]
    groups = compare(copies)["seeds"]["groups"]
    assert [group["name"] for group in groups] == ["cnn", "vgg"]


def test_a_run_trained_again_with_the_same_seed_counts_once(runs, tmp_path):
    again = shutil.copytree(runs[1], tmp_path / "cnn-again")
    found = compare([*runs, again])
    assert found["seeds"] == compare(runs)["seeds"]
    assert found["notes"][-1].startswith("cnn-again: the settings and the seed are those of cnn-2,")
    assert compare([runs[0], shutil.copytree(runs[0], tmp_path / "cnn-0")])["seeds"] == {
        "groups": [], "tests": [],
    }  # fmt: skip


def test_estimated_numbers_have_a_table_of_their_own(runs, tmp_path):
    found = read_predictions(runs[0] / "predictions.csv")
    table = found.table.drop(columns="predicted").assign(thickness_mm=2.0)
    table.loc[::2, "thickness_mm"] = 5.0
    estimates = {"thickness_mm": table["thickness_mm"] + 0.1}
    write_predictions(
        runs[0] / "predictions.csv", table, found.probabilities, CLASSES, estimates=estimates
    )
    comparison = compare(runs[:2])
    assert comparison["runs"][1]["regression"] == []
    (row,) = comparison["runs"][0]["regression"]
    assert (row["column"], row["n"]) == ("thickness_mm", 90)
    assert row["mae"] == row["rmse"] == pytest.approx(0.1)
    assert row["r2"] == pytest.approx(1 - 0.01 / 1.5**2)
    write_comparison(tmp_path / "out", comparison)
    assert "| cnn | thickness_mm | 0.1 |" in (tmp_path / "out" / "estimates.md").read_text()
    sections = {one.title: one.blocks for one in comparison_page(tmp_path / "out").sections}
    assert "thickness_mm" in str(sections["Estimates"])


def test_a_name_that_is_no_text_is_written_as_it_is(tmp_path):
    write_table(tmp_path, "table", [Column("Run", "name")], [{"name": os.fsdecode(b"cnn\xff")}], "")
    for suffix in ("md", "csv", "tex"):
        assert b"cnn\xff" in (tmp_path / f"table.{suffix}").read_bytes()


def test_another_setting_is_another_experiment(tmp_path):
    one = write_run(tmp_path / "cnn", 1.0, 0)
    two = write_run(tmp_path / "cnn-2", 1.0, 1, train={"epochs": 3})
    assert compare([one, two])["seeds"] == {"groups": [], "tests": []}


def test_fine_tuned_networks_of_several_seeds_are_one_experiment(tmp_path):
    runs = [
        write_run(tmp_path / f"cnn-{n}-fine-tuned", 1.0, n, quantize={"run": f"/runs/cnn-{n}"})
        for n in range(2)
    ]
    (group,) = compare(runs)["seeds"]["groups"]
    assert group["seeds"] == [0, 1]


def test_every_table_is_there_in_three_forms_and_as_a_picture(runs, tmp_path):
    comparison = compare(runs)
    text = write_comparison(tmp_path / "out", comparison)
    files = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    tables = {"table2", "table3", "pairs", "seeds", "seed_tests"}
    assert files == (
        {f"{table}.{suffix}" for table in tables for suffix in ("md", "csv", "tex")}
        | {f"figures/{name}.png" for name in ("table2", "table3", "pairs", "seeds")}
        | {"comparison.md", "comparison.json"}
    )
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == comparison
    assert "on the same 90 test images of 30 plates, simulated" in text
    with (tmp_path / "out" / "table3.csv").open(newline="") as file:
        for row, run in zip(csv.DictReader(file), comparison["runs"], strict=True):
            assert float(row["average_precision_5083"]) == run["average_precision"]["5083"]
    # Fewer runs leave nothing behind of more.
    write_comparison(tmp_path / "out", compare([runs[0], runs[2]]))
    left = {p.name for p in (tmp_path / "out").rglob("*.*")}
    assert not {"seeds.csv", "seed_tests.md", "seeds.png"} & left


def test_raw_images_are_read_as_the_run_read_them(tmp_path):
    layout = {"dtype": "uint16", "shape": [12, 10]}
    data, runs = tmp_path / "data", []
    data.mkdir()
    for seed, name in enumerate(("cnn", "fnn")):
        run = write_run(tmp_path / name, seed=seed, data={"path": str(data), "raw": layout})
        facts = json.loads((run / "facts.json").read_text()) | {"data_root": str(data)}
        (run / "facts.json").write_text(json.dumps(facts))
        table = (run / "predictions.csv").read_text()
        (run / "predictions.csv").write_text(table.replace(".png", ".raw"))
        runs.append(run)
    for number in range(90):
        (data / f"{number}.raw").write_bytes(bytes(240))
    assert compare_runs(runs, resamples=20)["timed_shape"] == [12, 10, 1]
    metrics = evaluate_run(runs[0], resamples=20)
    assert "figures.mistakes" not in metrics["undefined"]
    assert (runs[0] / "figures" / "mistakes.png").is_file()
    for number in range(90):
        (data / f"{number}.raw").write_bytes(bytes(3))  # damaged since
    assert compare_runs(runs, resamples=20)["timed_shape"] == [8, 8, 1]


def test_a_vote_is_drawn_beside_its_members(runs, tmp_path):
    (runs[3] / "ensemble.yaml").write_text("vote: soft\nmembers: [{run: cnn, weight: 1.0}]\n")
    (runs[3] / "history.csv").unlink()
    comparison = compare(runs)
    assert comparison["runs"][3]["vote"] == "soft"
    assert comparison["runs"][3]["loss"] is None
    assert [group["name"] for group in comparison["seeds"]["groups"]] == ["cnn", "vgg16"]
    write_comparison(tmp_path / "out", comparison)
    assert (tmp_path / "out" / "figures" / "standalone_voting.png").exists()
    assert "| vgg16-2" in (tmp_path / "out" / "table2.md").read_text()


def test_a_comparison_that_cannot_be_written_leaves_nothing(runs, tmp_path, monkeypatch):
    comparison = compare(runs[:2])

    def fail(*_, **__):
        raise RuntimeError

    for run in runs[:2]:  # as of two votes
        (run / "history.csv").unlink()
    with monkeypatch.context() as broken:
        broken.setattr("alloyk.plots.plot_differences", fail)
        with pytest.raises(RuntimeError):
            write_comparison(tmp_path / "out", comparison)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / ".out.killed").mkdir(parents=True)
    write_comparison(tmp_path / "out", compare(runs[:2]))
    assert " – |" in (tmp_path / "out" / "table2.md").read_text()


def refused(runs, message):
    with pytest.raises(AlloykError, match=message):
        read_runs(runs)


def drop_rows(run, count, name="predictions.csv"):
    lines = (run / name).read_text().splitlines(keepends=True)
    (run / name).write_text("".join(lines[:-count]))


def test_other_test_images_are_refused_with_their_names(runs):
    drop_rows(runs[3], 4)
    differ = "same test images, but those of vgg16-2 differ from those of cnn"
    refused(runs, rf"{differ}: \S+ lacks 4 \(86\.png, .*1 more")
    refused(runs[::-1], r"those of vgg16 differ from those of vgg16-2: vgg16 has 4 more \(86\.png")


def without_plates(run, name="predictions.csv"):
    table = pd.read_csv(run / name, dtype=str)
    table.drop(columns="plate_id").to_csv(run / name, index=False)


def test_plates_come_from_any_run_whatever_the_order(runs):
    with_all, reordered = compare(runs[:2]), compare(runs[1::-1])
    without_plates(runs[0])
    assert compare(runs[:2]) == with_all
    assert compare(runs[1::-1]) == reordered


def test_other_plates_of_two_runs_are_refused_though_the_first_has_none(runs):
    without_plates(runs[0])
    text = (runs[2] / "predictions.csv").read_text()
    (runs[2] / "predictions.csv").write_text(text.replace(",P7\n", ",Q7\n"))
    refused(runs[:3], "but a different plate_id: 3")


def test_another_label_or_plate_of_an_image_is_refused(runs):
    text = (runs[3] / "predictions.csv").read_text()
    (runs[3] / "predictions.csv").write_text(text.replace(",P7\n", ",Q7\n"))
    refused(
        runs, r"images with the same path but a different plate_id: 3 \(21\.png, 22\.png, 23\.png\)"
    )


def test_equal_names_of_other_images_are_refused(runs):
    for run, five in zip(runs[:2], "ab", strict=True):
        rows = [f"4.png,1050,test,{'c' * 64}", f"5.png,1050,test,{five * 64}"]
        (run / "split.csv").write_text("\n".join(["path,label,split,sha256", *rows, ""]))
    refused(
        runs[:2],
        r"images with the same path but different content when cnn-2 was trained: 1 \(5\.png\)",
    )
    shutil.copy(runs[0] / "split.csv", runs[1])
    assert len(read_runs(runs[:2])) == 2
    (runs[1] / "split.csv").unlink()
    assert len(read_runs(runs[:2])) == 2


def test_other_classes_are_refused(runs):
    text = (runs[1] / "predictions.csv").read_text()
    (runs[1] / "predictions.csv").write_text(text.replace("7075", "2024"))
    refused(runs, "same classes, but cnn has 1050, .*7075 and cnn-2 has 1050, .*2024")


def test_classes_in_another_order_are_put_right(runs):
    original = read_predictions(runs[1] / "predictions.csv")
    order = [4, 2, 0, 1, 3]
    table = original.table.drop(columns="predicted")
    write_predictions(
        runs[1] / "predictions.csv", table, original.probabilities[:, order],
        [CLASSES[i] for i in order],
    )  # fmt: skip
    turned = read_runs(runs[:2])[1].predictions
    assert turned.classes == CLASSES
    place = {path: i for i, path in enumerate(original.table["path"])}
    rows = [place[path] for path in turned.table["path"]]
    np.testing.assert_array_equal(turned.y_true, original.y_true[rows])
    np.testing.assert_array_equal(turned.y_pred, original.y_pred[rows])
    np.testing.assert_allclose(turned.probabilities, original.probabilities[rows], rtol=1e-12)


def test_too_few_runs_or_one_twice_are_refused(runs, tmp_path):
    refused(runs[:1], "number of runs must be 2 or more, got 1")
    refused([runs[0], tmp_path / "x" / ".." / "cnn"], "must be given once, got .* twice")
    refused([runs[0], tmp_path / "nowhere"], "must be a folder, got .*nowhere")


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    runs = [write_run(tmp_path / a / "cnn", seed=s) for s, a in enumerate(("x", "y"))]
    assert [run.name for run in read_runs(runs)] == ["x/cnn", "y/cnn"]


def test_the_command_prints_its_tables(runs, tmp_path, runner):
    command = ["compare", *map(str, runs[:2]), "--out", str(tmp_path / "out"), "--no-timing"]
    result = runner.invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "| cnn-2 |" in result.stdout
    assert "metrics and intervals" in result.stderr
    drop_rows(runs[1], 1)
    result = runner.invoke(main, command)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: all runs must have the same test images, but those of")
    assert runner.invoke(main, ["compare", str(runs[0])]).exit_code == 2


@pytest.mark.parametrize(
    "text", ["", "x: [", "members: 3", "vote: soft\nmembers: [cnn]", "vote: soft"]
)
def test_a_damaged_ensemble_file_is_named(tmp_path, text):
    run = RunFolder(tmp_path)
    assert run.ensemble is None
    (tmp_path / "ensemble.yaml").write_text(text)
    with pytest.raises(AlloykError, match=r"ensemble\.yaml"):
        _ = run.ensemble
    (tmp_path / "ensemble.yaml").write_text("vote: soft\nmembers: [{run: cnn}]")
    assert run.ensemble == Ensemble("soft", (Member("cnn"),))
