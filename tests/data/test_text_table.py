"""Manifests cell by cell: what users write comes back as they wrote it, or is refused."""

import codecs
import csv
import os
import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloyk.cli import main
from alloyk.data import load_dataset
from alloyk.data.names import folded, split_called
from alloyk.data.text_table import csv_line, parse_text_table, text_of_table
from alloyk.errors import AlloykError, DataError

HEADERS = [
    "serial", " leading", "trailing ", "a,b", 'say "x"', "two\nlines", "two\r\nlines", "a;b",
    "tab\there", "0100", "1e2", "NaN", "NA", "Größe", "厚さ", "p_1050x", "predicted",
    "predicted_x", "manifest_predicted", "sha256x", "Unnamed: 0", "",
]  # fmt: skip
CELLS = [
    "000", "NaN", "NA", "", "400638133393112345", "1e2", "100.0", "0100", " blank ", 'quote "q"',
    "line\nbreak", "line\r\nbreak", "return\ronly", "ünïcode 合金", "a,b;c\td", "=1+1", "True",
    "None", "2026-11-25", "1,5", "\\", "'", "#", "  ",
]  # fmt: skip


def hostile(root, images=24):
    """A data set of two classes whose manifest has every header and every cell."""
    paths = [f"{label}/{i:02}.png" for label in ("1050", "2017") for i in range(images)]
    rows = [
        [CELLS[(row + column) % len(CELLS)] for column in range(len(HEADERS))]
        for row in range(len(paths))
    ]
    root.mkdir()
    with open(root / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["path", "label", *HEADERS])
        for path, row in zip(paths, rows, strict=True):
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_text(path)
            writer.writerow([path, path[:4], *row])
    return dict(zip(paths, rows, strict=True))


def rows_of(file):
    """Header and rows by a second reader."""
    with open(file, newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    return header, [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("mode", ["copy", "move", "in place", "manifest"])
def test_split_keeps_every_header_and_cell(runner, tmp_path, mode):
    source = tmp_path / "v1"
    expected = hostile(source)
    out = {"in place": source, "manifest": source / "split.csv"}.get(mode, tmp_path / "out")
    options = ["--mode", "move" if mode == "in place" else mode]
    result = runner.invoke(main, ["split", str(source), str(out), *options])
    assert result.exit_code == 0, result.output
    header, rows = rows_of(out if mode == "manifest" else out / "manifest.csv")
    assert header == ["path", "label", "split", *HEADERS]
    assert len(rows) == len(expected)
    for row in rows:
        old = row["path"] if mode == "manifest" else row["path"].split("/", 1)[1]
        assert [row[name] for name in HEADERS] == expected[old]
    table = load_dataset(out).table
    assert {row["path"]: [row[name] for name in HEADERS] for _, row in table.iterrows()} == {
        row["path"]: [row[name] for name in HEADERS] for row in rows
    }


def test_an_interrupted_move_keeps_every_cell(runner, tmp_path, monkeypatch):
    from alloyk.data import journal

    expected = hostile(tmp_path / "v1")
    command = ["split", str(tmp_path / "v1"), str(tmp_path / "out"), "--mode", "move"]
    with monkeypatch.context() as patch:
        patch.setattr(journal, "move_files", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        runner.invoke(main, command)
    result = runner.invoke(main, command)
    assert result.exit_code == 0, result.output
    _, rows = rows_of(tmp_path / "out" / "manifest.csv")
    assert {row["path"].split("/", 1)[1]: [row[h] for h in HEADERS] for row in rows} == expected


def test_predictions_keep_every_cell(tmp_path):
    import numpy as np

    from alloyk.runs.predictions import read_predictions, write_predictions

    expected = hostile(tmp_path / "v1")
    table = load_dataset(tmp_path / "v1").table
    file = tmp_path / "predictions.csv"
    write_predictions(file, table, np.full((len(table), 2), 0.5), ["1050", "2017"])
    header, rows = rows_of(file)
    further = header[header.index("p_2017") + 2 :]  # behind the split
    assert len(set(header)) == len(header)
    assert {row["path"]: [row[name] for name in further] for row in rows} == expected
    again = read_predictions(file).table
    assert again["serial"].tolist() == [expected[path][0] for path in again["path"]]


@given(rows=st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=8))
def test_any_cells_read_back(rows):
    text = "".join(map(csv_line, [("a", "b", "c"), *rows]))
    table = parse_text_table(text)
    assert list(table.itertuples(index=False, name=None)) == rows
    assert text_of_table(table) == text


# --- Groups and thickness ------------------------------------------------------------------------


def data_set(root, header, rows, *, encoding="utf-8", separator=",", end="\n", mark=b""):
    """A data set whose manifest is written as text, each cell as given."""
    root.mkdir(exist_ok=True)
    lines = [separator.join(row) + end for row in [header, *rows]]
    (root / "manifest.csv").write_bytes(mark + "".join(lines).encode(encoding))
    for row in rows:
        path = root / row[0].strip().replace("\\", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return root


def plates(count=4, images=3, split=False):
    parts = ["train", "train", "val", "test"]
    return [
        (f"{label}/{plate}_{i}.png", label, f"{label}-{plate}", *([parts[plate]] if split else []))
        for label in ("1050", "2017")
        for plate in range(count)
        for i in range(images)
    ]


def test_numbers_that_are_equal_are_different_groups(tmp_path):
    batches = ["0100", "100", "1e2", "100.0"]
    rows = [
        (f"{label}/{b}_{i}.png", label, prefix + batch)
        for label, prefix in (("1050", ""), ("2017", "b"))
        for b, batch in enumerate(batches)
        for i in range(3)
    ]
    root = data_set(tmp_path / "a", ("path", "label", "batch"), rows)
    table = load_dataset(root, group_by="batch").table
    assert table.groupby("batch")["split"].nunique().to_dict() == dict.fromkeys(
        [prefix + batch for prefix in ("", "b") for batch in batches], 1
    )
    assert set(table["split"]) == {"train", "val", "test"}


def test_a_decimal_comma_stratifies_by_thickness(tmp_path):
    rows = [
        (f"{label}/{mm}_{i}.png", label, mm)
        for label in ("1050", "2017") for mm in ("1,5", "3") for i in range(20)
    ]  # fmt: skip
    root = data_set(tmp_path / "a", ("path", "label", "thickness_mm"), rows, separator=";")
    table = load_dataset(root).table
    counts = table.groupby(["label", "thickness_mm", "split"]).size()
    assert counts.min() == 3
    assert counts.max() == 14
    assert set(table["thickness_mm"]) == {"1,5", "3"}


def test_a_thickness_that_is_no_number_is_refused(tmp_path):
    rows = [(f"{label}/{i}.png", label, "2 mm") for label in ("a", "b") for i in range(9)]
    root = data_set(tmp_path / "a", ("path", "label", "thickness_mm"), rows)
    with pytest.raises(DataError, match="must be a number in millimetres or empty, got '2 mm' for"):
        load_dataset(root)


# --- Spelling of headers, splits and files -------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        ("path", "label", " plate_id", " split"),
        ("Path", "LABEL", "Plate_ID", "Split"),
        ("path ", " label", "plate-id", "split "),
        ("path", "label", "Plate ID", "SPLIT"),
        ("path", "label", "plateid", "\ufeffsplit"),
        ("path", "ｌabel", "ｐlate_id", "ＳＰＬＩＴ"),
    ],
)
def test_near_misses_of_known_columns_are_taken(tmp_path, header):
    root = data_set(tmp_path / "a", header, plates(split=True))
    dataset = load_dataset(root)
    assert list(dataset.table.columns) == ["path", "label", "split", "plate_id"]
    assert dataset.grouped_by == "manifest"
    assert any("Read the column" in note for note in dataset.notes)
    assert (dataset.table.groupby("plate_id")["split"].nunique() == 1).all()


def test_a_column_that_may_number_the_plates_is_named(tmp_path):
    root = data_set(tmp_path / "a", ("path", "label", "Plate no"), plates())
    expected = "'Plate no' is not used; if it tells the plates apart, rename it to plate_id or"
    assert any(expected in note for note in load_dataset(root).notes)
    for group_by in ("Plate no", "none"):
        assert not any("not used" in note for note in load_dataset(root, group_by=group_by).notes)


def test_a_column_that_names_splits_is_named(tmp_path):
    rows = [(*row[:2], ("train", "Validation", "TEST")[n % 3]) for n, row in enumerate(plates())]
    root = data_set(tmp_path / "a", ("path", "label", "subset"), rows)
    expected = "The column 'subset' of .*manifest.csv names splits and is not used; rename it to s"
    assert any(re.match(expected, note) for note in load_dataset(root).notes)


def test_plates_that_are_a_word_for_unknown_are_counted(tmp_path):
    rows = [(*row[:2], "NA" if n % 2 else f"p{n}") for n, row in enumerate(plates())]
    root = data_set(tmp_path / "a", ("path", "label", "plate_id"), rows)
    expected = f"plate_id is 'NA' in {len(rows) // 2} rows of .*, which is taken for the name of o"
    assert any(re.match(expected, note) for note in load_dataset(root).notes)


def test_a_column_with_another_value_for_every_image_numbers_no_plates(tmp_path):
    rows = [(*row[:2], str(number)) for number, row in enumerate(plates())]
    root = data_set(tmp_path / "a", ("path", "label", "sample"), rows)
    assert not any("not used" in note for note in load_dataset(root).notes)


def test_two_spellings_of_one_column_are_refused(tmp_path):
    rows = [(*row, "x") for row in plates()]
    root = data_set(tmp_path / "a", ("path", "label", "plate_id", "Plate ID"), rows)
    with pytest.raises(DataError, match="must have one column plate_id, got 'plate_id' and 'Plate"):
        load_dataset(root)


def test_a_group_column_is_found_in_another_spelling(tmp_path):
    root = data_set(tmp_path / "a", ("path", "label", "Batch_No"), plates())
    dataset = load_dataset(root, group_by="batch no")
    assert dataset.grouped_by == "Batch_No"
    assert (dataset.table.groupby("Batch_No")["split"].nunique() == 1).all()


def test_splits_in_a_manifest_are_taken_in_another_spelling(tmp_path):
    words = {"train": "Training", "val": " valid", "test": "TEST"}
    rows = [(*row[:3], words[row[3]]) for row in plates(split=True)]
    dataset = load_dataset(data_set(tmp_path / "a", ("path", "label", "plate_id", "split"), rows))
    assert dataset.table["split"].value_counts().to_dict() == {"train": 12, "val": 6, "test": 6}
    assert any("'Training' as train" in note for note in dataset.notes)


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
    ],
)
def test_separators_line_ends_and_encodings_are_read(tmp_path, separator, end, encoding, mark):
    rows = [(*row, "Ö, 1,5") for row in plates()]
    root = data_set(
        tmp_path / "a", ("path", "label", "plate_id", "note"), rows,
        encoding=encoding, separator=separator, end=end, mark=mark,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load_dataset(root)
    assert dataset.grouped_by == "plate_id"
    assert set(dataset.table["note"]) == {"Ö, 1,5"}


def test_excels_line_that_names_the_separator_is_read(tmp_path):
    root = data_set(tmp_path / "a", ("path", "label", "plate_id"), plates(), separator=";")
    file = root / "manifest.csv"
    file.write_bytes(b"sep=;\r\n" + file.read_bytes())
    assert load_dataset(root).grouped_by == "plate_id"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "path,label,note\na.png,x,Größe\n".encode("latin-1"),
            "UTF-8, got the byte 0xf6 in line 2",
        ),
        ("path,label\na.png,x\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        (b"path,label\na.png,x,y\n", "must have 2 cells like its header, got 3 in line 2"),
        (b"path,label,note\na.png,x\n", "must have 3 cells like its header, got 2 in line 2"),
        (b'path,label\n"a.png,x\n', "must be a CSV table, got line 2: unexpected end of data"),
    ],
)
def test_unreadable_tables_are_refused_with_the_reason(tmp_path, content, message):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load_dataset(tmp_path)
    assert "\n" not in str(error.value)


def test_backslashes_in_paths_are_slashes(tmp_path):
    rows = [(row[0].replace("/", "\\"), *row[1:]) for row in plates()]
    dataset = load_dataset(data_set(tmp_path / "a", ("path", "label", "plate_id"), rows))
    assert "1050/0_0.png" in set(dataset.table["path"])
    assert any("backslashes in 24 paths" in note for note in dataset.notes)
    with pytest.raises(DataError, match=r"got 1 outside \(C:/x/a\.png\)"):
        load_dataset(
            data_set(tmp_path / "b", ("path", "label"), [("C:\\x\\a.png", "a")])
            if os.name != "posix"
            else _only_manifest(tmp_path / "b", "path,label\nC:\\x\\a.png,a\n")
        )


def _only_manifest(root, text):
    root.mkdir()
    (root / "manifest.csv").write_text(text)
    return root


def test_a_manifest_in_capitals_is_no_other_file(tmp_path):
    root = data_set(tmp_path / "a", ("path", "label", "plate_id"), plates())
    (root / "manifest.csv").rename(root / "Manifest.CSV")
    assert load_dataset(root).grouped_by == "plate_id"


def test_labels_that_differ_by_blanks_are_refused(tmp_path):
    rows = [(f"{i}.png", ["a", "a ", "b"][i % 3]) for i in range(30)]
    with pytest.raises(DataError, match="must spell each label the same way, got 'a' and 'a '"):
        load_dataset(data_set(tmp_path / "a", ("path", "label"), rows))


def test_names_fold_and_splits_are_known():
    assert folded(" Plate‑ID_") == "plateid"
    names = ["Train", "testing", "Validation", "valid", "DEV", "train set"]
    assert list(map(split_called, names)) == ["train", "test", "val", "val", "val", "train"]
    assert [split_called(n) for n in ("2017", "invalid", "testimony", "eval", "")] == [None] * 5


# --- Folders --------------------------------------------------------------------------------


def tree(root, *folders, images=6):
    for folder in folders:
        for i in range(images):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{i}.png").write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", "validation", "Testing"),
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TEST"),
        ("training", "dev", "tst"),
        ("train_set", "val-set", "TestSet"),
        ("TrainingSet", "val_images", "TestData"),
        ("Trainieren", "Validierung", "Testen"),
        ("entraînement", "validation", "test"),
        ("训练集", "验证集", "测试集"),
    ],
)
def test_split_folders_of_another_spelling_are_splits(runner, tmp_path, train, val, test):
    tree(tmp_path, *(f"{top}/{label}" for top in (train, val, test) for label in ("1050", "2017")))
    dataset = load_dataset(tmp_path)
    assert dataset.classes == ("1050", "2017")
    assert dataset.table["split"].value_counts().to_dict() == {"train": 12, "val": 12, "test": 12}
    assert any(f"{train} as train" in note for note in dataset.notes)
    result = runner.invoke(main, ["split", str(tmp_path), str(tmp_path / "out")])
    assert "is split already (into test, train, val)" in result.stderr


def test_training_and_testing_alone_are_splits(tmp_path):
    tree(tmp_path, *(f"{top}/{x}" for top in ("Training", "Testing") for x in "ab"), images=20)
    dataset = load_dataset(tmp_path)
    assert dataset.classes == ("a", "b")
    assert set(dataset.table["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ("train", "val", "validation"),
            "one folder must be the split val, got 'val' and 'valid",
        ),
        (("Training", "evaluation"), "got evaluation, which may be val or test"),
        (
            ("seg_train", "seg_test"),
            "seg_test, seg_train of .* look like splits; rename them to tr",
        ),
        (("train-01", "test-01"), "test-01, train-01 of .* look like splits; rename them to tr"),
        (("01_train", "02_test"), "01_train, 02_test of .* look like splits; rename them to tr"),
        (("train", "more"), "got more beside train"),
    ],
)
def test_unclear_split_folders_are_refused(tmp_path, folders, message):
    tree(tmp_path, *(f"{top}/{label}" for top in folders for label in "ab"))
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_classes_that_hold_the_same_folders_may_be_splits(tmp_path):
    tree(tmp_path / "data", *(f"{top}/{label}" for top in ("tr", "te") for label in "ab"))
    (note,) = load_dataset(tmp_path / "data").notes
    assert note == (
        "te, tr were taken as classes, but each holds the folders a, b; if these are the classes, "
        "rename te, tr to train, val, test."
    )
    tree(tmp_path / "other", "a/day1", "a/day2", "b/day2", "b/day3")
    assert load_dataset(tmp_path / "other").notes == ()


@pytest.mark.parametrize("blank", ["\n", "\r\n\r\n", ",,\n", " ;;\n\n"])
def test_blank_lines_above_a_table_are_left_out(tmp_path, blank):
    header, rows = ["path", "label", "plate_id"], plates()
    data_set(tmp_path, header, rows)
    file = tmp_path / "manifest.csv"
    file.write_bytes(blank.encode() + file.read_bytes())
    assert load_dataset(tmp_path).grouped_by == "plate_id"
    file.write_bytes(file.read_bytes() + b"one cell\n")
    line = len(file.read_text().splitlines())
    with pytest.raises(DataError, match=rf"have 3 cells like its header, got 1 in line {line};"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("splits", [("train", "test"), ("Training", "Testing"), ("train",)])
@pytest.mark.parametrize("wrapper", ["wrapper", "a/b"])
def test_a_folder_around_the_splits_is_named(runner, tmp_path, splits, wrapper):
    tree(tmp_path, *(f"{wrapper}/{top}/{label}" for top in splits for label in "ab"))
    message = f"inside {wrapper}; name {tmp_path}/{wrapper} as the data set"
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)
    for command in (["audit", str(tmp_path)], ["split", str(tmp_path), str(tmp_path / "out")]):
        result = runner.invoke(main, command)
        assert result.exit_code == 1
        assert message in result.stderr


def test_a_folder_around_the_classes_is_named(tmp_path):
    tree(tmp_path, "wrapper/1050", "wrapper/2017")
    with pytest.raises(AlloykError, match=r"got 'wrapper' alone \(with the folders 1050, 2017 ins"):
        load_dataset(tmp_path)


def test_classes_called_valid_and_invalid_are_classes(tmp_path):
    assert load_dataset(tree(tmp_path, "valid", "invalid")).classes == ("invalid", "valid")


def test_audit_knows_splits_of_another_spelling(tmp_path):
    from alloyk.auditing.source import read_for_audit

    tree(tmp_path / "a", "Training/x", "Testing/x")
    assert set(read_for_audit(tmp_path / "a")[1]["split"]) == {"train", "test"}
    tree(tmp_path / "b", "Training", "TEST", "flat")
    _, table, notes = read_for_audit(tmp_path / "b")
    assert set(table["split"]) == {"train", "test"}
    assert "label" not in table.columns
    assert "Training as train" in notes[0]
    assert "in flat" in notes[1]
