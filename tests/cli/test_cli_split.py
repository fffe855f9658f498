"""`alloyk split`: where every image ends, what is refused, and what a kill leaves behind."""

import csv
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from alloyk.cli import main
from alloyk.data import journal, load_dataset
from alloyk.data.reorganize.apply import place
from alloyk.data.reorganize.plan import plan_split
from alloyk.errors import AlloykError
from alloyk.imaging import RawLayout, read_image
from alloyk.progress import CallbackProgress

SPLITS = ("train", "val", "test")


def make(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def class_folders(root, images=20):
    names = [f"{label}/{i:02}.png" for label in ("1050", "2017") for i in range(images)]
    return make(root, {name: name for name in names})


def plates(root, plates=10, images=3):
    """A data set with a manifest; each image's content is its first name."""
    names = [
        (f"{label}/p{label}_{plate:02}_{i}.png", label, f"p{label}_{plate:02}", 0.1 + 0.2)
        for label in ("1050", "2017")
        for plate in range(plates)
        for i in range(images)
    ]
    make(root, {row[0]: row[0] for row in names})
    with open(root / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "plate_id", "tube_voltage_kvp"))
        writer.writerows(names)
    return root


def images(root):
    """Every image below a folder: relative path → content."""
    return {p.relative_to(root).as_posix(): p.read_text() for p in sorted(root.rglob("*.png"))}


def run(runner, *arguments, code=0):
    result = runner.invoke(main, ["split", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def refused(runner, message, *arguments):
    result = run(runner, *arguments, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize("mode", ["copy", "move", "link"])
def test_class_folders_are_sorted(runner, tmp_path, mode):
    source, out = class_folders(tmp_path / "a b"), tmp_path / "deep" / "out"
    before = images(source)
    result = run(runner, source, out, "--mode", mode)
    after = images(out)
    assert sorted(after.values()) == sorted(before.values())
    assert all(path.split("/", 1)[1] == content for path, content in after.items())
    assert [sum(path.startswith(s) for path in after) for s in SPLITS] == [28, 6, 6]
    assert images(source) == ({} if mode == "move" else before)
    if mode == "link":
        assert os.stat(out / next(iter(after))).st_nlink == 2
    assert result.stderr == ""
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["train", "val", "test"],
        ["1050", "14", "3", "3"],
        ["2017", "14", "3", "3"],
        ["all", "28", "6", "6"],
    ]
    dataset = load_dataset(out)
    assert dataset.grouped_by is None
    assert dataset.notes == ()
    assert {*os.listdir(out)} == {*SPLITS, "split.json"}


def test_the_seed_decides_and_nothing_else(runner, tmp_path):
    source = class_folders(tmp_path / "in")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(runner, source, tmp_path / name, "--seed", seed)
    assert images(tmp_path / "a") == images(tmp_path / "b")
    assert images(tmp_path / "a") != images(tmp_path / "c")


def test_plates_stay_together_and_the_manifest_comes_along(runner, tmp_path):
    source = plates(tmp_path / "in")
    (source / "simulation.yaml").write_text("seed: 0\n")
    run(runner, source, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.grouped_by == "plate_id"
    assert dataset.simulated
    assert (dataset.table.groupby("plate_id")["split"].nunique() == 1).all()
    assert set(dataset.table["tube_voltage_kvp"]) == {str(0.1 + 0.2)}
    assert json.loads((tmp_path / "out/split.json").read_text())["images"] == {
        "train": 42,
        "val": 9,
        "test": 9,
    }


def test_a_split_by_image_of_known_plates_is_said_now_and_later(runner, tmp_path):
    source = plates(tmp_path / "in", plates=1, images=20)
    refused(runner, "--group-by none", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = run(runner, source, tmp_path / "out", "--group-by", "none")
    assert "groups (by plate_id) with train" in result.stderr
    assert any("with train" in note for note in load_dataset(tmp_path / "out").notes)


def test_a_regular_expression_groups(runner, tmp_path):
    source = plates(tmp_path / "in")
    (source / "manifest.csv").unlink()
    run(runner, source, tmp_path / "out", "--group-by", r"^(p\d+_\d+)_")
    splits = {}
    for path in images(tmp_path / "out"):
        splits.setdefault(Path(path).name.rsplit("_", 1)[0], set()).add(path.split("/")[0])
    assert len(splits) == 20
    assert all(len(found) == 1 for found in splits.values())


def test_labels_of_a_manifest_become_folders(runner, tmp_path):
    files = {f"scans/{i}.png": str(i) for i in range(20)}
    source = make(tmp_path / "in", files)
    rows = [f"{path},{'ab'[i % 2]}\n" for i, path in enumerate(files)]
    (source / "labels.csv").write_text("path,label\n" + "".join(rows))
    run(runner, source / "labels.csv", tmp_path / "out")
    found = images(tmp_path / "out")
    assert all(path.split("/")[1] == "ab"[int(content) % 2] for path, content in found.items())
    assert len(load_dataset(tmp_path / "out").table) == 20


def test_a_flat_folder_without_labels_is_split_in_place(runner, tmp_path):
    source = make(tmp_path / "in", {f"scan {i}.png": str(i) for i in range(20)} | {"a.txt": ""})
    before = sorted(images(source).values())
    run(runner, source, source, "--mode", "move")
    after = images(source)
    assert sorted(after.values()) == before
    assert [sum(path.startswith(f"{s}/scan ") for path in after) for s in SPLITS] == [14, 3, 3]
    again = run(runner, source, source, "--mode", "move")
    assert "nothing is left to move" in again.stdout
    assert images(source) == after


@pytest.mark.parametrize("place", ["in place", "out"])
def test_a_finished_move_names_images_added_since(runner, tmp_path, place):
    source = class_folders(tmp_path / "in")
    out = source if place == "in place" else tmp_path / "out"
    make(source, {"contact_sheet.png": "sheet"})
    run(runner, source, out, "--mode", "move")
    assert "nothing is left to move" in run(runner, source, out, "--mode", "move").stdout
    make(source, {"1050/new.png": "new"})
    message = f"has this split already, but lacks 1 image of {source} (1050/new.png)"
    refused(runner, message, source, out, "--mode", "move")
    assert images(source)["1050/new.png"] == "new"


def test_a_finished_move_of_a_manifest_is_finished_whatever_lies_beside(runner, tmp_path):
    source, out = plates(tmp_path / "in"), tmp_path / "out"
    make(source, {"contact_sheet.png": "sheet"})
    run(runner, source, out, "--mode", "move")
    assert "nothing is left to move" in run(runner, source, out, "--mode", "move").stdout
    part = make(tmp_path / "part", {f"{i}.png": str(i) for i in range(20)})
    (part / "half.csv").write_text("path\n" + "".join(f"{i}.png\n" for i in range(10)))
    for _ in range(2):
        result = run(runner, part / "half.csv", tmp_path / "half", "--mode", "move")
    assert "nothing is left to move" in result.stdout
    assert len(images(part)) == 10


def test_class_folders_with_a_manifest_are_split_in_place(runner, tmp_path):
    source = plates(tmp_path / "in")
    make(source, {"1050/notes.txt": "stays"})
    run(runner, source, source, "--mode", "move")
    dataset = load_dataset(source)
    assert len(dataset.table) == 60
    assert dataset.grouped_by == "plate_id"
    assert all(path.is_file() for path in dataset.paths("train"))
    assert (source / "1050/notes.txt").is_file()
    assert not (source / "2017").exists()


def test_manifest_mode_writes_a_table_and_touches_no_image(runner, tmp_path):
    source = class_folders(tmp_path / "in")
    before = images(source)
    run(runner, source, source / "split.csv", "--mode", "manifest")
    assert images(source) == before
    inside = load_dataset(source / "split.csv")
    assert inside.table["split"].value_counts().to_dict() == {"train": 28, "val": 6, "test": 6}
    run(runner, source, tmp_path / "above.csv", "--mode", "manifest")
    assert (load_dataset(tmp_path / "above.csv").table["path"].str.startswith("in/")).all()
    refused(runner, "already exists", source, source / "split.csv", "--mode", "manifest")
    (tmp_path / "other").mkdir()
    refused(runner, "manifest must be in", source, tmp_path / "other", "--mode", "manifest")


def test_manifest_mode_through_a_linked_folder_writes_paths_that_hold(runner, tmp_path):
    class_folders(tmp_path / "real" / "deep" / "in")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    source = tmp_path / "link" / "in"
    run(runner, source, source / "split.csv", "--mode", "manifest")
    assert len(load_dataset(source / "split.csv").table) == 40
    run(runner, source, tmp_path / "link" / "above.csv", "--mode", "manifest")
    assert len(load_dataset(tmp_path / "link" / "above.csv").table) == 40


def test_a_manifest_that_cannot_be_written_is_an_error_of_one_line(runner, tmp_path, monkeypatch):
    source = class_folders(tmp_path / "in")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "write_synced", full_disk)
    message = f"cannot write {source / 'split.csv'}: No space left on device"
    refused(runner, message, source, source / "split.csv", "--mode", "manifest")


def test_a_finished_move_with_another_grouping_is_not_taken_for_the_same(runner, tmp_path):
    make(tmp_path, {f"1050/p{plate}_{i}.png": "x" for plate in range(6) for i in range(3)})
    make(tmp_path, {f"2017/q{plate}_{i}.png": "x" for plate in range(6) for i in range(3)})
    run(runner, tmp_path, tmp_path, "--mode", "move")
    again = [tmp_path, tmp_path, "--mode", "move"]
    assert "nothing is left to move" in run(runner, *again).stdout
    found = run(runner, *again, "--group-by", "^(.\\d)_", code=1)
    assert "is split already" in found.stderr


def test_what_stands_in_the_way_is_named(runner, tmp_path):
    source = class_folders(tmp_path / "in")
    make(tmp_path, {"full/x.txt": "", "file": ""})
    refused(runner, "full is not empty", source, tmp_path / "full")
    refused(runner, "must be a new folder, got the file", source, tmp_path / "file")
    refused(runner, "lies inside", source, source / "out")
    refused(runner, "is the source itself", source, source)
    refused(runner, "that sum to 1", source, tmp_path / "o", "--ratios", "70", "15", "15")
    run(runner, source, tmp_path / "out")
    refused(runner, "is split already (into test, train, val)", tmp_path / "out", tmp_path / "o")
    refused(runner, "no image in", tmp_path / "full", tmp_path / "o")
    refused(runner, "absent does not exist", tmp_path / "absent", tmp_path / "o")
    os.symlink(make(tmp_path, {"y.png": ""}) / "y.png", source / "2017/link.png")
    refused(runner, "moving a link breaks it", source, tmp_path / "o", "--mode", "move")
    (source / "2017/link.png").unlink()
    os.symlink("00.png", source / "2017/link.png")
    refused(runner, "moving a link breaks it", source, tmp_path / "o", "--mode", "move")
    assert not (tmp_path / "o").exists()


def test_a_failed_copy_leaves_nothing(runner, tmp_path, monkeypatch):
    source = class_folders(tmp_path / "in")
    import shutil

    copy = shutil.copy2

    def full_disk(old, new):
        if old.name == "07.png":
            raise OSError(28, "No space left on device", str(new))
        return copy(old, new)

    monkeypatch.setattr(shutil, "copy2", full_disk)
    refused(runner, "No space left on device", source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["in"]


def test_a_second_copy_to_one_place_is_refused_while_the_first_goes_on(tmp_path):
    plan = plan_split(class_folders(tmp_path / "in"), tmp_path / "out")
    refusals = []

    def second():
        with pytest.raises(AlloykError, match="out is in use by process") as error:
            place(plan)
        refusals.append(error)

    def at_ten(label, done, total, unit):
        if done == 10:
            other = threading.Thread(target=second)
            other.start()
            other.join()

    place(plan, CallbackProgress(at_ten))
    assert len(refusals) == 1
    assert len(images(tmp_path / "out")) == 40


@pytest.mark.parametrize("absent", [False, True])
def test_a_link_to_the_place_of_the_copy_stays_a_link(runner, tmp_path, absent):
    folder, link = tmp_path / "disk" / "place", tmp_path / "out"
    (folder.parent if absent else folder).mkdir(parents=True)
    link.symlink_to(folder)
    run(runner, class_folders(tmp_path / "in"), link)
    assert link.is_symlink()
    assert len(images(folder)) == 40


def test_help_has_an_example_and_no_heavy_import(tmp_path):
    code = (
        "import sys; from alloyk.cli import main;"
        "main(['split', '--help'], standalone_mode=False);"
        "assert not {'tensorflow', 'pandas', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "alloyk split radiographs sorted" in done.stdout


# --- Interrupted moves ------------------------------------------------------------------------

# Runs one move per way to be killed, each in a forked child, so that pandas loads once. Prints a
# line per kill; the parent test looks at the folders.
DRIVER = """
import os, random, shutil, signal, sys, time
from pathlib import Path
import alloyk.data.journal, alloyk.data.reorganize.apply
from alloyk.data.reorganize.plan import plan_split
from alloyk.data.reorganize.apply import place

def move(source, target):
    place(plan_split(source, target, mode="move", seed=3))

def states(source, target):
    found = {}
    for folder in {source, target}:
        for path in folder.rglob("*.png"):
            found.setdefault(path.read_text(), []).append(path)
    return found

def check(source, target, names, step):
    found = states(source, target)
    assert set(found) == names, (step, "lost", names - set(found))
    doubled = [paths for paths in found.values() if len(paths) > 1]
    assert not doubled, (step, "doubled", doubled)

CALLS = ["rename", "replace", "mkdir", "makedirs", "unlink", "rmdir", "fsync", "link", "rmtree"]

def kill_before_call(number):
    # Every change to the disk goes through os or shutil; the child kills itself before the n-th.
    left = [number]
    def wrapped(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call
    for name in CALLS:
        for module in (os, shutil):
            if hasattr(module, name):
                setattr(module, name, wrapped(getattr(module, name)))

def killed_child(source, target, number=None, delay=None):
    pid = os.fork()
    if pid == 0:
        if number is not None:
            kill_before_call(number)
        try:
            move(source, target)
        except BaseException as error:
            print("child:", repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]

def fresh(template, work, in_place):
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(template, work / "in")
    return work / "in", work / ("in" if in_place else "out")

def expected(template, work, in_place):
    source, target = fresh(template, work, in_place)
    names = set(states(source, target))
    move(source, target)
    return names, {p.relative_to(target).as_posix(): p.read_text() for p in target.rglob("*.png")}

def finish(source, target, names, wanted, step):
    check(source, target, names, step)
    move(source, target)
    check(source, target, names, step)
    found = {p.relative_to(target).as_posix(): p.read_text() for p in target.rglob("*.png")}
    assert found == wanted, (step, "the finished split differs")
    left = [n for n in os.listdir(target) + os.listdir(source) if n.startswith(".")]
    assert not left, (step, left)

template, work, in_place = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "in-place"
names, wanted = expected(template, work, in_place)
if sys.argv[1] == "every":
    number = 0
    while True:
        source, target = fresh(template, work, in_place)
        status = killed_child(source, target, number=number)
        if status == 0:
            break
        assert os.WIFSIGNALED(status), (number, "the child failed by itself")
        if number % 3 == 0:  # and once more on the way
            killed_child(source, target, number=number // 2)
        finish(source, target, names, wanted, number)
        number += 1
    print(number)
else:
    source, target = fresh(template, work, in_place)
    start = time.monotonic()
    assert killed_child(source, target) == 0
    whole = 0.9 * (time.monotonic() - start)
    dice = random.Random(int(sys.argv[5]))
    killed = 0
    for step in range(50):
        source, target = fresh(template, work, in_place)
        status = killed_child(source, target, delay=dice.uniform(0, whole))
        killed += os.WIFSIGNALED(status)
        finish(source, target, names, wanted, step)
    print(killed)
"""


def drive(*arguments):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("place", ["in-place", "aside"])
def test_a_kill_before_every_change_to_the_disk_loses_and_doubles_nothing(tmp_path, place):
    template = plates(tmp_path / "template", plates=3, images=1)
    kills = drive("every", template, tmp_path / "work", place)
    assert kills > 25  # six moves, the journal, the folders


@pytest.mark.slow
def test_fifty_random_kills_lose_and_double_nothing(tmp_path):
    template = plates(tmp_path / "template", plates=40, images=4)
    kills = drive("random", template, tmp_path / "work", "aside", 0)
    assert kills > 10  # the others had finished


def test_a_half_moved_data_set_is_not_taken_for_a_whole_one(runner, tmp_path, monkeypatch):
    source, out = class_folders(tmp_path / "in"), tmp_path / "out"
    rename = os.rename

    def interrupted(old, new):
        if Path(old).name == "07.png":
            raise KeyboardInterrupt
        return rename(old, new)

    monkeypatch.setattr(os, "rename", interrupted)
    run(runner, source, out, "--mode", "move", code=1)
    monkeypatch.undo()
    for folder in (source, out):
        with pytest.raises(AlloykError, match=r"an unfinished move: .* run the same command again"):
            load_dataset(folder)
    refused(runner, "an unfinished move", source, tmp_path / "elsewhere")
    refused(runner, "unfinished move", source, out, "--mode", "move", "--seed", "5")
    result = run(runner, source, out, "--mode", "move")
    assert "resuming an interrupted move" in result.stderr
    assert len(load_dataset(out).table) == 40


def test_a_move_is_resumed_by_the_name_that_its_column_was_given(runner, tmp_path, monkeypatch):
    source, out = plates(tmp_path / "in"), tmp_path / "out"
    options = ("--mode", "move", "--group-by", "Plate ID")
    monkeypatch.setattr(journal, "move_files", lambda *of: (_ for _ in ()).throw(KeyboardInterrupt))
    run(runner, source, out, *options, code=1)
    monkeypatch.undo()
    assert "resuming an interrupted move" in run(runner, source, out, *options).stderr


def test_a_move_to_another_disk_is_safe_too(runner, tmp_path, monkeypatch):
    source, out = class_folders(tmp_path / "in"), tmp_path / "out"
    rename = os.rename

    def other_disk(old, new):
        if str(old).startswith(str(source)) and str(new).startswith(str(out)):
            raise OSError(18, "Invalid cross-device link")
        return rename(old, new)

    monkeypatch.setattr(os, "rename", other_disk)
    unlink = os.unlink

    def interrupted(path, **kwargs):
        if Path(path).name == "07.png":
            raise KeyboardInterrupt  # the copy is there, the original is not yet gone
        return unlink(path, **kwargs)

    monkeypatch.setattr(os, "unlink", interrupted)
    run(runner, source, out, "--mode", "move", code=1)
    monkeypatch.setattr(os, "unlink", unlink)
    run(runner, source, out, "--mode", "move")
    assert images(source) == {}
    assert len(images(out)) == 40


def test_two_different_files_for_one_place_are_both_kept(tmp_path):
    make(tmp_path, {"in/a.png": "old", "out/train/a.png": "new"})
    with pytest.raises(AlloykError, match=r"both .* exist, and they differ"):
        journal.move_files(tmp_path / "in", tmp_path / "out", [("a.png", "train/a.png")])
    assert images(tmp_path) == {"in/a.png": "old", "out/train/a.png": "new"}
    (tmp_path / "in/a.png").unlink()
    (tmp_path / "out/train/a.png").unlink()
    with pytest.raises(AlloykError, match=r"a\.png is missing, and is not at"):
        journal.move_files(tmp_path / "in", tmp_path / "out", [("a.png", "train/a.png")])


@pytest.mark.parametrize("more", [[], ["--shards", "2"], ["--mode", "move"]])
@pytest.mark.parametrize("uniform", [True, False])
def test_raw_files_keep_their_layout(tmp_path, runner, more, uniform):
    source, target = tmp_path / "in", tmp_path / "out"
    for label, first in (("1050", 1), ("2017", 100)):
        (source / label).mkdir(parents=True)
        for number in range(20):
            path = source / label / f"{number}.raw"
            np.full((2, 4 + number % 2), first + number, np.uint16).tofile(path)
            shape = [2, 4 + number % 2]
            if uniform:
                shape = [1, 2]
                np.full((1, 2), first + number, np.uint16).tofile(path)
            Path(f"{path}.yaml").write_text(f"{{dtype: uint16, shape: {shape}}}")
    # Another description lies above the target.
    (tmp_path / "raw.yaml").write_text("{dtype: uint8, shape: [1, 2]}")
    run(runner, source, target, *more)
    dataset = load_dataset(target)
    read = [read_image(path) for split in SPLITS for path in dataset.paths(split)]
    expected = (1, 2) if uniform else (2, 5)
    assert {image.shape[:2] for image in read} == {expected, (1, 2) if uniform else (2, 4)}
    assert {int(image.max()) for image in read} == {*range(1, 21), *range(100, 120)}
    assert all((image == image.flat[0]).all() for image in read)


def test_a_layout_that_some_raw_files_have_is_not_that_of_the_others(tmp_path, runner):
    """One `raw.yaml` for all would overrule `data.raw`, which describes the others."""
    source, target = tmp_path / "in", tmp_path / "out"
    for label, order in (("1050", "<u2"), ("2017", ">u2")):
        (source / label).mkdir(parents=True)
        for number in range(20):
            path = source / label / f"{number}.raw"
            np.full((2, 4), 1000 + number, order).tofile(path)
            if label == "1050":
                Path(f"{path}.yaml").write_text("{dtype: uint16, shape: [2, 4]}")
    run(runner, source, target)
    dataset = load_dataset(target, raw=RawLayout("uint16", (2, 4), byte_order="big"))
    read = [read_image(path) for split in SPLITS for path in dataset.paths(split)]
    assert {int(image.max()) for image in read} == {*range(1000, 1020)}


@pytest.mark.parametrize("kind", ["virtual", "link"])
def test_hdf5_files_that_need_other_files_stay_in_their_place(tmp_path, runner, kind):
    """The copies found no data, and a move broke the originals too."""
    h5py = pytest.importorskip("h5py")
    data = tmp_path / "data"
    for label in "ab":
        (data / label).mkdir(parents=True)
        for number in range(4):
            name = f"{label}/{number}.h5"
            with h5py.File(data / name, "w") as file:
                if kind == "link":
                    file["data"] = h5py.ExternalLink(f"../../scans/{number}.h5", "/data")
                    continue
                layout = h5py.VirtualLayout((8, 9), "u2")
                source = h5py.VirtualSource(f"../../scans/{number}.h5", "data", (8, 9))
                layout[:] = source
                file.create_virtual_dataset("data", layout)
    for options in ([], ["--mode", "move"], ["--shards", "2"]):
        result = runner.invoke(main, ["split", str(data), str(tmp_path / "out"), *options])
        assert result.exit_code == 1
        assert "8 HDF5 files (a/0.h5, " in result.stderr
        assert "(a/0.h5 takes them from ../../scans/0.h5), which would not be" in result.stderr
        assert not (tmp_path / "out").exists()
    table = data / "split.csv"
    result = runner.invoke(main, ["split", str(data), str(table), "--mode", "manifest"])
    assert result.exit_code == 0, result.stderr
    assert table.read_text().count(".h5") == 8
