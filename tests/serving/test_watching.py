"""`alloyk predict --watch`: finished files only, each once, whatever ends the process."""

import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import raw_image

from alloyk.cli import main
from alloyk.errors import AlloykError, ConfigError, DataError
from alloyk.inference import load
from alloyk.serving.arrivals import Arrivals
from alloyk.serving.journal import Journal
from alloyk.serving.watching import FolderWatch, read_time, shown_time

MODEL = Path(__file__).parent / "tiny.tflite"
COLUMNS = ["path", "bytes", "modified", "predicted"]


@pytest.fixture(scope="module")
def classifier():
    return load(MODEL)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def png(number):
    content = io.BytesIO()
    Image.fromarray(raw_image(number)).save(content, "png")
    return content.getvalue()


def rows_of(file):
    text = file.read_text()
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text)))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


# What arrives.


def test_a_file_is_ready_once_it_has_not_changed_for_a_while(folder):
    clock = Clock()
    arrivals = Arrivals(folder, 2.0, clock=clock)
    (folder / "a.png").write_bytes(b"half")
    assert arrivals.ready() == []
    clock.now = 1.9
    assert arrivals.ready() == []
    with (folder / "a.png").open("ab") as file:
        file.write(b" and the other half")
    clock.now = 3.0
    assert arrivals.ready() == []
    clock.now = 5.0
    (ready,) = arrivals.ready()
    assert (ready.name, ready.size) == ("a.png", 23)
    assert arrivals.ready() == [ready]  # not done
    arrivals.mark_processed(ready)
    assert arrivals.ready() == []


SHOT_NS = 1_700_000_001_912_345_678


def processed(folder, clock, modified_ns=SHOT_NS):
    """The arrivals after one file was processed."""
    arrivals = Arrivals(folder, 2.0, clock=clock)
    (folder / "a.png").write_bytes(b"1")
    os.utime(folder / "a.png", ns=(modified_ns, modified_ns))
    arrivals.ready()
    clock.now += 2
    (first,) = arrivals.ready()
    arrivals.mark_processed(first)
    return arrivals


def is_new(folder, arrivals, clock, modified_ns):
    os.utime(folder / "a.png", ns=(modified_ns, modified_ns))
    arrivals.ready()
    clock.now += 2
    return [one.modified_ns for one in arrivals.ready()] == [modified_ns]


@pytest.mark.parametrize("later", [1_000_000_000, -1_000_000_000, 1, 10**6, 3 * 10**9])
def test_a_file_that_is_replaced_by_one_of_equal_size_is_another_image(folder, later):
    clock = Clock()
    arrivals = processed(folder, clock)
    assert is_new(folder, arrivals, clock, SHOT_NS + later)


@pytest.mark.parametrize("grid", [100, 10**3, 10**7, 10**9, 2 * 10**9])
@pytest.mark.parametrize("up", [0, 1])
def test_a_modification_time_that_a_server_rounds_is_no_new_image(folder, grid, up):
    clock = Clock()
    arrivals = processed(folder, clock)
    rounded = (SHOT_NS // grid + up) * grid
    assert not is_new(folder, arrivals, clock, rounded)
    assert is_new(folder, arrivals, clock, rounded + 2 * 10**9)


def test_a_folder_with_times_of_whole_seconds_has_new_images_too(folder):
    clock = Clock()
    arrivals = processed(folder, clock, 1_700_000_001 * 10**9)
    assert is_new(folder, arrivals, clock, 1_700_000_002 * 10**9)


def test_only_images_that_are_not_hidden_count(folder):
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("deep/deeper/a.PNG", ".b.png", ".hidden/c.png", "d.png.part", "e.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "IM0001").write_bytes(png(0))
    (folder / "README").write_bytes(b"text")
    (folder / "circle").symlink_to(folder)
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "pipe.png").parent.mkdir(exist_ok=True)
    os.mkfifo(folder / "pipe.png")
    names = {one.name for one in Arrivals(folder, 0.0).ready()}
    assert names == {"deep/deeper/a.PNG", "IM0001"}


def test_a_folder_that_is_gone_for_a_while_is_waited_for(folder):
    arrivals = Arrivals(folder, 0.0)
    (folder / "a.png").write_bytes(b"x")
    folder.rename(folder.parent / "away")
    assert arrivals.ready() == []
    (folder.parent / "away").rename(folder)
    assert len(arrivals.ready()) == 1
    with pytest.raises(DataError, match="the folder to watch must be an existing folder"):
        Arrivals(folder / "nowhere", 0.0)


def test_files_behind_a_share_that_drops_out_are_kept_for_later(folder):
    arrivals = Arrivals(folder, 0.0, patience_s=0.0)
    (folder / "a.png").write_bytes(b"x")
    (first,) = arrivals.ready()
    folder.rename(folder.parent / "away")
    assert not arrivals.is_final(first, failed=True)
    assert arrivals.ready() == []
    (folder.parent / "away").rename(folder)
    assert arrivals.ready() == [first]


def test_patience_begins_with_the_first_attempt(folder):
    """Behind a long backlog, a file may have been complete for minutes before it is read."""
    times = [0.0]
    arrivals = Arrivals(folder, 2.0, 30.0, clock=lambda: times[-1])
    (folder / "a.png").write_bytes(b"x")
    arrivals.ready()
    times.append(300.0)
    (first,) = arrivals.ready()
    final = []
    for now in (300.0, 302.0, 329.0, 331.0):
        times.append(now)
        assert arrivals.ready() == [first]
        final.append(arrivals.is_final(first, failed=True))
    assert final == [False, False, False, True]


def test_a_file_that_was_locked_is_looked_at_again(folder, monkeypatch):
    arrivals = Arrivals(folder, 0.0)
    (folder / "IM0001").write_bytes(png(1))

    def locked(self, *arguments, **options):
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", locked)
        assert arrivals.ready() == []
    assert [one.name for one in arrivals.ready()] == ["IM0001"]


# The table.


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_an_incomplete_last_row_is_removed(tmp_path, ending):
    file = tmp_path / f"found.{ending}"
    columns = ["path", "bytes"]
    rows = [{"path": f'{n}"\n\r\udcff', "bytes": n} for n in range(3)]
    with Journal(file, columns) as journal:
        assert journal.rows == []
        journal.append(rows[:2])
        journal.append(rows[2:])
    whole = file.read_bytes()
    with Journal(file, columns) as journal:
        assert [row["path"] for row in journal.rows] == [row["path"] for row in rows]
    begins = b'"%d""\n' if ending == "csv" else b'{"path": "%d'
    ends = [*(whole.index(begins % n) for n in (1, 2)), len(whole)]
    head = whole[: whole.index(begins % 0)]  # of a CSV file; written again at once
    for length in range(len(whole) - 1, -1, -1):
        file.write_bytes(whole[:length])
        with Journal(file, columns) as journal:
            count = len(journal.rows)
        assert count == sum(end <= length for end in ends)
        assert file.read_bytes() == (whole[: ends[count - 1]] if count else head)


def test_whole_rows_after_an_open_quote_are_not_removed(tmp_path):
    file = tmp_path / "found.csv"
    before = 'path,bytes\na.png,1\nb".png,2\nc.png,3\nd.png,4\n'
    file.write_text(before)
    with pytest.raises(DataError, match=r"got a quote that is not closed in 'b\"\.png,2'; repair"):
        Journal(file, ["path", "bytes"])
    assert file.read_text() == before


def test_another_table_is_refused(tmp_path):
    file = tmp_path / "found.csv"
    file.write_text("path,predicted,p_1050\n")
    with pytest.raises(ConfigError, match=r"found\.csv must have the columns path,bytes,modified"):
        Journal(file, COLUMNS)
    file.write_text(",".join(COLUMNS) + "\na.png,1\n")
    with pytest.raises(DataError, match=r"row 1 of .*found\.csv must have 4 cells, got 2"):
        Journal(file, COLUMNS)
    file.write_text(",".join(COLUMNS) + "\na\rb.png,1,,\n")
    with pytest.raises(DataError, match=r"row 1 of .* must be CSV, got new-line .*; repair it or"):
        Journal(file, COLUMNS)
    lines = tmp_path / "found.jsonl"
    lines.write_text('{"path": "a.png"}\n[1]\n')
    with pytest.raises(DataError, match=r"line 2 of .*found\.jsonl must be a JSON object"):
        Journal(lines, COLUMNS)
    assert file.read_bytes().endswith(b"b.png,1,,\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.csv", "path,label\na.png,1050\nb.png,2017"),
        ("manifest.csv", 'path,note\na.png,5" pipe\nb.png,\n'),
        ("one.csv", "only a line"),
        ("one.jsonl", '{"label": "1050"}'),
        ("found.jsonl", '{"path": "a.png", "predicted": "1050"}\n{"path": "b.p'),
    ],
)
def test_a_foreign_file_stays_as_it_was(folder, tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(ConfigError, match=f"{name} must .*choose another --output"):
        FolderWatch(load(MODEL), folder, file)
    assert file.read_text() == content


def test_rows_of_a_model_with_other_classes_are_refused(folder, tmp_path):
    file = tmp_path / "found.jsonl"
    row = {"path": "a.png", "bytes": 1, "modified": "2023-11-14T22:13:20.000000000Z",
           "predicted": "iron", "probabilities": {"iron": 1.0}}  # fmt: skip
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigError, match=r"the columns .*p_1050,.* of this model .*,p_iron; "):
        FolderWatch(load(MODEL), folder, file)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("abstain", [(None, 0.05), (0.05, None)])
def test_rows_of_other_options_are_refused(folder, tmp_path, classifier, ending, abstain):
    before, after = abstain
    file = tmp_path / f"found.{ending}"
    (folder / "a.png").write_bytes(b"broken")
    with FolderWatch(classifier, folder, file, settle_s=0, patience_s=0, abstain=before) as watch:
        assert len(list(watch.step())) == 1
        (folder / "b.png").write_bytes(png(1))
        assert len(list(watch.step())) == 1
    content = file.read_bytes()
    with pytest.raises(ConfigError, match=r"of this model and these options, got path,bytes,"):
        FolderWatch(classifier, folder, file, abstain=after)
    assert file.read_bytes() == content
    with FolderWatch(classifier, folder, file, abstain=before) as watch:
        assert watch.count == 2


def test_rows_with_other_estimates_are_refused(folder, tmp_path, classifier):
    file = tmp_path / "found.jsonl"
    (folder / "a.png").write_bytes(png(1))
    with FolderWatch(classifier, folder, file, settle_s=0) as watch:
        assert len(list(watch.step())) == 1
    (row,) = rows_of(file)
    file.write_text(json.dumps({**row, "estimates": {"thickness_mm": 2.0}}) + "\n")
    with pytest.raises(ConfigError, match=r"got path,.*,predicted_thickness_mm; choose another"):
        FolderWatch(classifier, folder, file)


def test_an_image_that_is_moved_away_after_reading_has_its_row(folder):
    arrivals = Arrivals(folder, 0.0)
    (folder / "a.png").write_bytes(b"x")
    (first,) = arrivals.ready()
    assert arrivals.is_final(first, failed=False)
    (folder / "a.png").unlink()
    assert arrivals.is_final(first, failed=False)
    (folder / "a.png").write_bytes(b"another")
    assert not arrivals.is_final(first, failed=False)


def test_one_process_writes_a_table(tmp_path):
    file = tmp_path / "found.csv"
    code = (
        "import sys; from alloyk.serving.journal import Journal; journal = Journal("
        "sys.argv[1], ['path']); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(AlloykError, match=r"found\.csv is in use by process \d+"):
            Journal(file, ["path"])
        other.communicate()


def test_a_full_disk_leaves_whole_rows(tmp_path, monkeypatch):
    file = tmp_path / "found.csv"
    write = os.write
    with Journal(file, COLUMNS) as journal:
        journal.append([{"path": "a.png"}])
        whole = file.read_bytes()

        def half(descriptor, data):
            if len(data) < 10:
                raise OSError(28, "No space left on device")
            return write(descriptor, data[: len(data) // 2])

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(AlloykError, match=r"cannot write .*found\.csv: No space left"):
            journal.append([{"path": "b.png"}])
        assert file.read_bytes() == whole


def test_times_are_kept_to_the_nanosecond():
    for nanoseconds in (0, 1, 1_700_000_000_999_999_999, 253_402_300_799 * 10**9):
        assert read_time(shown_time(nanoseconds)) == nanoseconds


# Both together.


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_each_image_has_one_row_with_its_prediction(tmp_path, folder, classifier, ending):
    file = tmp_path / f"found.{ending}"
    (folder / "deep").mkdir()
    names = [f"{n}.png" for n in range(40)] + ["deep/a.png"]
    for number, name in enumerate(names):
        (folder / name).write_bytes(png(number))
    with FolderWatch(classifier, folder, file, settle_s=0, abstain=0.05) as watching:
        assert sum(len(part) for part in watching.step()) == 41
        assert list(watching.step()) == []
        (folder / "late.png").write_bytes(png(50))
        assert [part.paths for part in watching.step()] == [("late.png",)]
    with FolderWatch(classifier, folder, file, settle_s=0, abstain=0.05) as watching:
        assert watching.count == 42
        assert list(watching.step()) == []
    rows = {row["path"]: row for row in rows_of(file)}
    assert len(rows) == len(rows_of(file)) == 42
    expected = classifier.predict([folder / name for name in names], abstain=0.05)
    assert {*expected.abstained} >= {"", "uncertain"}
    for name, label, reason in zip(names, expected.labels, expected.abstained, strict=True):
        assert (rows[name]["predicted"] or "", rows[name]["abstained"] or "") == (label, reason)
        assert int(rows[name]["bytes"]) == (folder / name).stat().st_size


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_name_with_a_line_break_is_read_back(tmp_path, folder, classifier, ending):
    file = tmp_path / f"found.{ending}"
    names = ["a\rb.png", "c\n.png"]
    for name in names:
        (folder / name).write_bytes(png(1))
    for expected in (2, 0):
        with FolderWatch(classifier, folder, file, settle_s=0) as watching:
            assert sum(len(part) for part in watching.step()) == expected
            assert watching.count == 2


def test_a_half_written_file_waits_and_a_broken_one_gets_its_error(tmp_path, folder, classifier):
    file = tmp_path / "found.csv"
    content = png(1)
    (folder / "slow.png").write_bytes(content[:-40])
    (folder / "broken.png").write_bytes(content[:-40])
    with FolderWatch(classifier, folder, file, settle_s=0, patience_s=0.3) as watching:
        assert list(watching.step()) == []
        with (folder / "slow.png").open("ab") as image:
            image.write(content[-40:])
        os.utime(folder / "slow.png", ns=(1, 1))
        (part,) = watching.step()
        assert part.paths == ("slow.png",)
        time.sleep(0.35)
        (part,) = watching.step()
        assert part.paths == ("broken.png",)
        assert "the file is cut short" in part.errors[0]
        os.utime(folder / "broken.png", ns=(1, 1))
        (folder / "broken.png").write_bytes(content)  # repaired: another row
        (part,) = watching.step()
        assert part.labels[0]
    rows = rows_of(file)
    assert [row["path"] for row in rows] == ["slow.png", "broken.png", "broken.png"]
    assert [bool(row["error"]) for row in rows] == [False, True, False]


def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path, folder, classifier, monkeypatch
):
    (folder / "a.png").write_bytes(png(1))
    answers = type(classifier).answers

    def meanwhile(self, images):
        os.utime(folder / "a.png", ns=(5, 5))
        return answers(self, images)

    with FolderWatch(classifier, folder, tmp_path / "found.csv", settle_s=0) as watching:
        monkeypatch.setattr(type(classifier), "answers", meanwhile)
        assert list(watching.step()) == []
        monkeypatch.undo()
        assert len(list(watching.step())) == 1


def test_wrong_use_is_refused(tmp_path, folder, classifier, runner):
    for arguments in (
        ["--watch", folder],
        ["--watch", folder, "--output", tmp_path / "a.json"],
        ["--watch", folder, "a.png", "--output", tmp_path / "a.csv"],
        ["--watch", folder, "--json"],
        [],
    ):
        done = runner.invoke(main, ["predict", str(MODEL), *map(str, arguments)])
        assert done.exit_code == 2, done.output
    done = runner.invoke(
        main,
        [
            "predict",
            str(MODEL),
            "--watch",
            str(tmp_path / "x"),
            "--output",
            str(tmp_path / "a.csv"),
        ],
    )
    assert done.exit_code == 1
    assert done.stderr.endswith("check the path\n")
    with pytest.raises(ConfigError, match="a watched file must give one image"):
        FolderWatch(classifier, folder, tmp_path / "a.csv", page="each")


@contextmanager
def started(folder, file):
    """The command in a process of its own, which has loaded the model."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from alloyk.serving.watching import FolderWatch\n"
        "FolderWatch.__init__.__kwdefaults__['settle_s'] = 0.1\n"
        "FolderWatch.run.__defaults__ = (0.02,)\n"
        "from alloyk.cli import main; main(prog_name='alloyk')"
    )
    command = ["predict", MODEL, "--watch", folder, "--output", file]
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, command)], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stderr.readline()
            while line and not line.startswith("Watching "):
                line = process.stderr.readline()
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_kills_lose_and_double_no_row(tmp_path, folder, classifier, kills):
    """Images arrive, in two halves or at once, while the process is killed again and again."""
    file = tmp_path / "found.csv"
    rng = random.Random(kills)
    contents = {}
    for _ in range(kills):
        with started(folder, file):
            until = time.monotonic() + rng.uniform(0, 0.6)
            while time.monotonic() < until:
                name = f"{rng.choice('abc')}/{len(contents):05}.png"
                contents[name] = png(len(contents))
                (folder / name).parent.mkdir(exist_ok=True)
                half = rng.choice([0, len(contents[name]) // 2])
                with (folder / name).open("wb") as image:
                    image.write(contents[name][:half])
                    image.flush()
                    time.sleep(rng.uniform(0, 0.03))
                    image.write(contents[name][half:])
        if rng.random() < 0.5 and file.exists():  # a power cut tears the last row
            with file.open("rb+") as table:
                table.truncate(max(table.seek(0, 2) - rng.randrange(40), 0))
    with started(folder, file) as watching:
        deadline = time.monotonic() + 60
        while len(rows_of(file)) < len(contents) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        watching.send_signal(signal.SIGINT)
        _, messages = watching.communicate(timeout=20)
    assert watching.returncode == 0, messages
    assert messages.splitlines()[-1].endswith(f": {file}")
    assert "Traceback" not in messages
    rows = rows_of(file)
    assert sorted(row["path"] for row in rows) == sorted(contents)
    expected = classifier.predict([folder / row["path"] for row in rows])
    assert [row["predicted"] for row in rows] == list(expected.labels)


def test_the_terminated_process_ends_cleanly_too(tmp_path, folder):
    file = tmp_path / "found.jsonl"
    (folder / "a.png").write_bytes(png(1))
    with started(folder, file) as watching:
        assert watching.stderr.readline().startswith("a.png: ")
        watching.send_signal(signal.SIGTERM)
        _, messages = watching.communicate(timeout=20)
    assert watching.returncode == 0
    assert messages.splitlines()[-1] == f"1 image: {file}"
    assert len(rows_of(file)) == 1
    assert not list(tmp_path.glob(".*.lock"))
    shutil.rmtree(folder)
    assert np.isfinite(rows_of(file)[0]["probabilities"]["1050"])
