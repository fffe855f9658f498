"""The predictions file: nothing is lost or changed on the way, and nothing wrong is let in."""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloyk.errors import AlloykError
from alloyk.files import whole_file
from alloyk.runs.predictions import read_predictions, with_fold, write_predictions

HEADER = "path,label,predicted,p_A,p_B\n"


def table_of(labels, **columns):
    paths = [f"{label}/{i}.png" for i, label in enumerate(labels)]
    return pd.DataFrame({"path": paths, "label": labels, **columns})


def test_labels_stay_the_strings_they_are(tmp_path):
    classes = ["01", "1050", "NA", "nan", 'a "b", c', " x", "1e3", "Ünïcode"]
    path = tmp_path / "predictions.csv"
    write_predictions(path, table_of(classes), np.eye(len(classes)), classes)
    read = read_predictions(path)
    assert list(read.classes) == classes
    assert list(read.table["label"]) == classes
    assert list(read.table["predicted"]) == classes
    np.testing.assert_array_equal(read.y_true, np.arange(len(classes)))


def test_columns_stand_in_the_promised_order_with_every_manifest_column(tmp_path):
    table = table_of(["A", "B"], plate_id=["007", None], thickness_mm=[1.5, np.nan])
    path = tmp_path / "predictions.csv"
    write_predictions(path, table[["plate_id", "label", "path", "thickness_mm"]],
                      np.array([[0.75, 0.25], [0.5, 0.5]]), ["A", "B"])  # fmt: skip
    assert path.read_text().splitlines() == [
        "path,label,predicted,p_A,p_B,plate_id,thickness_mm",
        "A/0.png,A,A,0.75,0.25,007,1.5",
        "B/1.png,B,A,0.5,0.5,,",  # of equals, the first class
    ]
    assert list(read_predictions(path).table["plate_id"]) == ["007", ""]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(1e-30, 1), min_size=3, max_size=3), min_size=1, max_size=5))
def test_probabilities_come_back_to_the_last_bit(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("p") / "predictions.csv"
    raw = np.array(rows)
    write_predictions(path, table_of(["A"] * len(raw)), raw, ["A", "B", "C"])
    np.testing.assert_array_equal(
        read_predictions(path).probabilities, raw / raw.sum(axis=1, keepdims=True)
    )


def test_float32_softmax_is_scaled_to_sum_to_one(tmp_path):
    logits = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(softmax.astype(float).sum(axis=1) - 1).max() > 1e-8
    path = tmp_path / "predictions.csv"
    write_predictions(path, table_of(["A"] * 500), softmax, list("ABCDE"))
    read = read_predictions(path)
    np.testing.assert_allclose(read.probabilities.sum(axis=1), 1, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(read.y_pred, read.probabilities.argmax(axis=1))


def test_a_decision_other_than_the_most_probable_class_is_kept(tmp_path):
    path = tmp_path / "predictions.csv"
    likely = np.array([[0.6, 0.4]])
    write_predictions(path, table_of(["A"]), likely, ["A", "B"], predicted=["B"])
    read = read_predictions(path)
    assert read.y_pred.tolist() == [1]
    assert read.confidence.tolist() == [0.4]


def test_manifest_columns_cannot_be_taken_for_probabilities(tmp_path):
    table = table_of(["A"], p_value=["0.03"], predicted=["human says B"], p_A=["x"])
    path = tmp_path / "predictions.csv"
    write_predictions(path, table, np.array([[0.9, 0.1]]), ["A", "B"])
    read = read_predictions(path)
    assert read.classes == ("A", "B")
    assert read.table.loc[0, "manifest_p_value"] == "0.03"
    assert read.table.loc[0, "manifest_predicted"] == "human says B"


@pytest.mark.skipif(os.name != "posix", reason="file names are text elsewhere")
def test_a_file_name_that_is_not_utf8_survives(tmp_path):
    name = os.fsdecode(b"A/caf\xe9.png")
    path = tmp_path / "predictions.csv"
    table = table_of(["A"]).assign(path=pd.Series([name], dtype=object))
    write_predictions(path, table, np.array([[1.0, 0.0]]), ["A", "B"])
    assert b"caf\xe9" in path.read_bytes()
    assert read_predictions(path).table.loc[0, "path"] == name


def test_a_column_fold_of_the_manifest_keeps_its_values():
    table = pd.DataFrame({"path": ["x.png"], "fold": ["top left"], "manifest_fold": ["a"]})
    found = with_fold(table, "fold_2").iloc[0].to_dict()
    assert found == {
        "path": "x.png", "manifest_manifest_fold": "top left", "manifest_fold": "a",
        "fold": "fold_2",
    }  # fmt: skip


def test_a_spreadsheet_s_byte_order_mark_and_blank_last_line_are_no_matter(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + "x.png,A,B,.25,0.75\n\n").encode())
    assert read_predictions(path).probabilities.tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x.png,A,A,nan,0.5\n", r"line 2, column p_A must be a number from 0 to 1, got 'nan'"),
        ("x.png,A,A,0.9,0.1\ny.png,A,A,0.9,\n", r"line 3, column p_B must .* got ''"),
        ("x.png,A,A,0.9,much\n", r"line 2, column p_B must .* got 'much'"),
        ("x.png,A,A,1.2,-0.2\n", r"line 2, column p_A must .* got '1.2'"),
        ("x.png,A,A,inf,0\n", r"line 2, column p_A must .* got 'inf'"),
        ("x.png,A,A,0.5,0.4\n", r"line 2, columns p_A to p_B must sum to 1, got 0.9"),
        ("x.png,A,A,1,0\ny.png,A,A,1,0\nx.png,B,A,1,0\n", r"line 4.*x.png is in line 2 too"),
        ("x.png,C,A,1,0\n", r"line 2, column label must be one of A, B, got 'C'"),
        ("x.png,A,,1,0\n", r"line 2, column predicted must .* got ''"),
        ("x.png,A,A,1\n", r"line 2 must have 5 fields .* got 4"),
        ("\n\nx.png,A,A,1\n", r"line 4 must have 5 fields .* got 4"),
        ("\nx.png,A,A,nan,0.5\n", r"line 3, column p_A must be a number"),
        ('"x\ny.png",A,A,1,0\n\nz.png,A,A,0.5,0.4\n', r"line 5, columns p_A to p_B must sum to 1"),
        ("", r"must have a prediction, got none"),
    ],
)
def test_wrong_rows_are_refused_by_line_and_column(tmp_path, rows, message):
    path = tmp_path / "predictions.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(AlloykError, match=message):
        read_predictions(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", r"must have a column path, got an empty file"),
        ("path;label;predicted\n", r"must have a column path, got path;label;predicted"),
        ("path,label,p_A,p_B\n", r"must have a column predicted"),
        ("path,label,predicted,p_A\n", r"two or more classes, got p_A"),
        ("path,label,predicted,p_A,p_B,p_A\n", r"column p_A once, got it twice"),
    ],
)
def test_wrong_headers_are_refused(tmp_path, header, message):
    path = tmp_path / "predictions.csv"
    path.write_text(header)
    with pytest.raises(AlloykError, match=message):
        read_predictions(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AlloykError, match=r"cannot read predictions from .*nothing\.csv"):
        read_predictions(tmp_path / "nothing.csv")


def test_writing_refuses_nan_and_unknown_labels_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    with pytest.raises(AlloykError, match=r"must be finite, got .* for A/0\.png"):
        write_predictions(path, table_of(["A"]), np.array([[np.nan, 0.5]]), ["A", "B"])
    with pytest.raises(AlloykError, match=r"classifier \(A, B\), got 'C'"):
        write_predictions(path, table_of(["C"]), np.array([[0.5, 0.5]]), ["A", "B"])
    with pytest.raises(ValueError, match=r"\(images, classes\) = \(2, 2\), got \(1, 2\)"):
        write_predictions(path, table_of(["A", "B"]), np.array([[0.5, 0.5]]), ["A", "B"])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_file_never_has_its_final_name(tmp_path):
    path = tmp_path / "sub" / "x.txt"
    with pytest.raises(KeyboardInterrupt), whole_file(path) as unfinished:  # noqa: PT012
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    with whole_file(path) as unfinished:
        unfinished.write_text("whole")
    assert path.read_text() == "whole"


def test_a_place_that_cannot_be_written_is_an_error_of_the_user(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(AlloykError, match=r"cannot write .*x\.txt"),
        whole_file(tmp_path / "file" / "x.txt"),
    ):
        pass


def test_groups_are_plates_and_images_without_a_plate_stand_alone(tmp_path):
    path = tmp_path / "predictions.csv"
    likely = np.tile([0.9, 0.1], (5, 1))
    plates = ["7", " 7", "", "8 ", "  "]  # blanks around a name do not matter
    write_predictions(path, table_of(["A"] * 5, plate_id=plates), likely, ["A", "B"])
    read = read_predictions(path)
    assert read.has_plates
    assert read.groups.tolist() == [0, 0, 1, 2, 3]
    write_predictions(path, table_of(["A"] * 5, plate_id=[""] * 5), likely, ["A", "B"])
    assert not read_predictions(path).has_plates
    assert read_predictions(path).groups.tolist() == [0, 1, 2, 3, 4]


def test_selecting_rows_keeps_the_classes(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, table_of(["A", "B", "A"]), np.eye(2)[[0, 1, 1]], ["A", "B"])
    some = read_predictions(path).select(np.array([True, False, True]))
    assert list(some.table["path"]) == ["A/0.png", "A/2.png"]
    assert (len(some), some.classes, some.y_pred.tolist()) == (2, ("A", "B"), [0, 1])
