"""`alloyk predict --address`: the rows of one machine, killed, resumed, refused."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import raw_image, write_dataset, write_run

import alloyk
from alloyk.cli import main
from alloyk.errors import AlloykError, ConfigError, OptionError
from alloyk.inference import on_cluster, shards, sources
from alloyk.runtime import ray_cluster, ray_map
from alloyk.runtime.ray_cluster import installed_versions
from alloyk.runtime.ray_map import Place, Shard, map_shards

MODEL = Path(__file__).parents[1] / "serving" / "tiny.tflite"
COUNT, SIZE = 50, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """50 images: of two depths, one unlike those of training, one unreadable, and a text file."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        Image.fromarray(raw_image(number)).save(folder / f"{number:02}.png")
    for number in (3, 41):
        Image.fromarray((raw_image(number) // 64).astype(np.uint8)).save(
            folder / f"{number:02}.png"
        )
    Image.fromarray(np.zeros((40, 48), np.uint16)).save(folder / "20.png")
    (folder / "30.png").write_bytes((folder / "29.png").read_bytes()[:-30])
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def cluster():
    """Ray, started once; commands that are given `--address local` use it."""
    import ray

    environment = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        ray.init(
            "local", num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20,
            log_to_driver=False, configure_logging=False,
        )  # fmt: skip
        yield ray
        ray.shutdown()
    signal.signal(signal.SIGTERM, before)  # Ray's own handler ends the process


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(sources, "SHARD_IMAGES", SIZE)


def command(folder, out, *options):
    return ["predict", str(MODEL), str(folder), "--output", str(out), *map(str, options)]


def on_ray(folder, out, *options):
    return command(folder, out, "--address", "local", *options)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json"])
def test_the_rows_are_those_of_this_machine(cluster, runner, folder, tmp_path, ending):
    here, there = tmp_path / f"here{ending}", tmp_path / f"ray{ending}"
    one = runner.invoke(main, command(folder, here, "--abstain", "0.05"))
    two = runner.invoke(main, on_ray(folder, there, "--abstain", "0.05"))
    assert there.read_bytes() == here.read_bytes()
    assert (one.exit_code, two.exit_code) == (1, 1)
    assert two.stderr == one.stderr.replace(str(here), str(there))
    for message in ("2 images are of depth uint8", "unlike the training images",
                    "49 images: ", "Error: 1 of 50 images could not"):  # fmt: skip
        assert message in two.stderr
    assert set(tmp_path.iterdir()) == {here, there}


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json"])
def test_python_returns_what_it_returns_here(cluster, folder, tmp_path, ending):
    here = alloyk.predict(MODEL, folder, keep_going=True, abstain=0.05)
    options = {"address": "local", "output": tmp_path / f"found{ending}", "abstain": 0.05}
    there = alloyk.predict(MODEL, folder, keep_going=True, **options)
    for name in ("paths", "labels", "classes", "errors", "notes", "abstained", "estimates"):
        assert getattr(there, name) == getattr(here, name), name
    np.testing.assert_allclose(there.probabilities, here.probabilities, rtol=1e-6)
    np.testing.assert_allclose(there.unlike, here.unlike, rtol=1e-6)
    with pytest.raises(AlloykError, match=r"^1 of 50 images could not be classified"):
        alloyk.predict(MODEL, folder, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "local"}, "`address` needs `output`"),
        ({"workers": 2}, "`workers` needs `address`"),
        ({"output": "a.csv", "names": ["a"]}, "`output` needs files without `names`"),
        ({"address": "local", "output": "a.txt"}, "`output` must be a .csv, .json or .jsonl file"),
    ],
)
def test_python_options_that_need_each_other(folder, options, message):
    with pytest.raises(OptionError, match=message):
        alloyk.predict(MODEL, folder, **options)


@pytest.mark.slow
def test_the_rows_of_a_run_are_those_of_this_machine(tmp_path):
    """Batches of several images, TensorFlow's kernels and threads: each can change a last digit."""
    data = write_dataset(tmp_path / "data", sizes=((40, 48), (32, 30)), per_class=12)
    run = write_run(tmp_path / "run", data)
    tables = []
    for name, options in (("here.csv", []), ("ray.csv", ["--address", "local"])):
        arguments = ["predict", run, data / "test", "--output", tmp_path / name, *options]
        subprocess.run([sys.executable, "-c", SMALL_SHARDS, *map(str, arguments)], check=True)
        tables.append((tmp_path / name).read_bytes())
    assert tables[0] == tables[1]
    assert tables[0].count(b"\n") == 37


SMALL_SHARDS = f"""
from alloyk.cli import main
from alloyk.inference import sources
sources.SHARD_IMAGES = {SIZE}
main(prog_name="alloyk")
"""
KILLED = f"""
import os, signal
from alloyk.cli import main
from alloyk.inference import shards, sources
sources.SHARD_IMAGES = {SIZE}
write = shards.ShardFolder.write

def write_and_end(folder, number, rows):
    write(folder, number, rows)
    if len(list(folder.path.glob("*.part"))) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

shards.ShardFolder.write = write_and_end
main(prog_name="alloyk")
"""


def test_a_killed_prediction_is_continued(cluster, runner, folder, tmp_path, monkeypatch):
    here, out = tmp_path / "here.csv", tmp_path / "found.csv"
    runner.invoke(main, command(folder, here))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *on_ray(folder, out, "--workers", 2)], capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    finished = sorted(tmp_path.glob("found.csv.shards/*.part"))
    assert len(finished) == 3
    finished[0].write_bytes(finished[0].read_bytes()[:-1])  # as a full disk may leave it

    written = []
    write = shards.ShardFolder.write
    monkeypatch.setattr(
        shards.ShardFolder, "write",
        lambda self, number, rows: (written.append(f"{number:06}.part"), write(self, number, rows)),
    )  # fmt: skip
    result = runner.invoke(main, on_ray(folder, out))
    assert "49 images" in result.stderr
    assert out.read_bytes() == here.read_bytes()
    count = -(-COUNT // SIZE)
    assert len(written) == count - 2
    assert not {file.name for file in finished[1:]} & set(written)
    assert not (tmp_path / "found.csv.shards").exists()


@pytest.fixture
def interrupted(cluster, runner, folder, tmp_path, monkeypatch):
    """The output of a prediction that has finished one shard."""
    map_once = on_cluster.map_shards

    def first_shard(*arguments):
        yield next(map_once(*arguments))
        raise AlloykError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(on_cluster, "map_shards", first_shard)
        result = runner.invoke(main, on_ray(folder, tmp_path / "found.csv"))
    assert result.stderr.splitlines()[-1] == "Error: interrupted"
    monkeypatch.setattr(on_cluster, "map_shards", lambda *_: pytest.fail("classifies"))
    return tmp_path / "found.csv"


def test_another_prediction_is_refused_by_name(interrupted, runner, folder, monkeypatch):
    holds = "found.csv.shards holds an unfinished prediction with"
    result = runner.invoke(main, on_ray(folder, interrupted, "--abstain", "0.05"))
    assert result.exit_code == 1
    assert f"{holds} abstain null, got 0.05; give the command of that" in result.stderr
    result = runner.invoke(main, on_ray(folder, interrupted, "--page", "each"))
    assert f'{holds} page null, got "each"' in result.stderr
    result = runner.invoke(main, on_ray(folder / "0*.png", interrupted))
    assert f"{holds} other images" in result.stderr
    with monkeypatch.context() as patch:
        patch.setattr(on_cluster, "model_digest", lambda file: "another")
        result = runner.invoke(main, on_ray(folder, interrupted))
    assert f"{holds} another model" in result.stderr
    versions = {**installed_versions(["numpy"]), "numpy": "1.0"}
    monkeypatch.setattr(ray_map, "installed_versions", lambda _: versions)
    result = runner.invoke(main, on_ray(folder, interrupted))
    assert f'{holds} numpy "{np.__version__}", got "1.0"' in result.stderr
    assert len(list(interrupted.parent.glob("found.csv.shards/*.part"))) == 1


def test_a_folder_of_other_files_is_refused(cluster, runner, folder, tmp_path):
    (tmp_path / "found.csv.shards").mkdir()
    (tmp_path / "found.csv.shards" / "mine.txt").write_text("mine")
    result = runner.invoke(main, on_ray(folder, tmp_path / "found.csv"))
    assert result.exit_code == 1
    assert "found.csv.shards must be absent or hold an unfinished prediction" in result.stderr
    assert (tmp_path / "found.csv.shards" / "mine.txt").read_text() == "mine"


def test_nothing_is_kept_if_no_image_can_be_classified(cluster, runner, folder, tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    out = tmp_path / "found.csv"
    one = runner.invoke(main, command(tmp_path, out))
    two = runner.invoke(main, on_ray(tmp_path, out))
    assert two.exit_code == 1
    assert two.stderr == one.stderr
    assert "none of 2 images could be classified" in two.stderr
    assert not out.exists()
    assert not (tmp_path / "found.csv.shards").exists()


def test_one_image_that_cannot_be_classified_is_an_error(cluster, runner, folder, tmp_path):
    one, two = (
        runner.invoke(main, of(folder / "30.png", tmp_path / "found.csv"))
        for of in (command, on_ray)
    )
    assert (two.exit_code, two.stderr) == (1, one.stderr)
    assert "cut short" in two.stderr
    assert not list(tmp_path.iterdir())


def test_an_audit_finds_the_same(cluster, runner, folder, monkeypatch):
    monkeypatch.setattr("alloyk.auditing.on_cluster.SHARD_IMAGES", 20)
    one = runner.invoke(main, ["audit", str(folder), "--json"])
    two = runner.invoke(main, ["audit", str(folder), "--json", "--address", "local"])
    assert two.stdout == one.stdout
    assert "30.png" in two.stdout
    assert (two.exit_code, two.stderr) == (one.exit_code, one.stderr)


def place(**changes):
    return Place(None, (), installed_versions([]))._replace(**changes)


def test_the_shard_of_a_dead_process_is_done_again(cluster, tmp_path):
    marker = tmp_path / "tried"

    def make():
        def work(number, content):
            if content == 1 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return content * 10

        return work

    work = [Shard(number, number, f"shard {number}") for number in range(4)]
    found = dict(map_shards(cluster, work, make, place(), 2))
    assert found == {0: 0, 1: 10, 2: 20, 3: 30}
    assert marker.exists()


def test_a_shard_that_ends_every_process_is_an_error(cluster):
    def make():
        return lambda number, content: number and os.kill(os.getpid(), signal.SIGKILL)

    work = [Shard(0, 0, "the shard a"), Shard(1, 1, "the shard b")]
    found = []
    with pytest.raises(AlloykError, match=r"the shard b must succeed within 3 tries, got .*ended"):
        found.extend(map_shards(cluster, work, make, place(), 1))
    assert found == [] or found == [(0, 0)]


def test_a_machine_says_what_it_lacks(cluster, tmp_path):
    def make():
        return lambda number, content: content

    work = [Shard(0, 0, "the shard a")]
    for lacking, message in (
        ({"folder": "/nowhere"}, r"got none: \S+ must see the folder /nowhere, but it is not"),
        ({"folders": (str(tmp_path / "x"),)}, r"must see the folder .*/x, but it is not there"),
        ({"versions": {"alloyk": "0.0"}}, r"must have alloyk 0\.0, got 0\.1"),
        ({"versions": {"no-such-package": "2"}}, r"must have no-such-package 2, got none"),
    ):
        with pytest.raises(AlloykError, match=message):
            list(map_shards(cluster, work, make, place(**lacking), 1))
    with pytest.raises(ConfigError, match=r"workers must be at most 2, the number of processors"):
        list(map_shards(cluster, work, make, place(), 3))


def test_another_model_on_a_machine_is_named(cluster, folder, tmp_path):
    task = on_cluster.ShardClassifier(MODEL, "0" * 64, ".csv", on_cluster.Options(True))
    work = [Shard(0, [], "the shard a")]
    with pytest.raises(AlloykError, match=r"got none: .*must see the same model at .*, got anoth"):
        list(map_shards(cluster, work, task, place(), 1))


def test_processes_wait_for_a_processor_within_a_limit(cluster, monkeypatch):
    busy = cluster.remote(num_cpus=2)(lambda: time.sleep(600)).remote()
    monkeypatch.setattr(ray_map, "START_LIMIT_S", 2)
    with pytest.raises(AlloykError, match=r"at least one worker must start, got none: no answer w"):
        list(map_shards(cluster, [Shard(0, 0, "a")], lambda: print, place(), 1))
    cluster.cancel(busy, force=True)


def test_a_cluster_that_is_not_there_is_an_error(runner, folder, tmp_path):
    start = time.monotonic()
    result = runner.invoke(
        main, command(folder, tmp_path / "found.csv", "--address", "127.0.0.1:1")
    )
    assert result.exit_code == 1
    assert "address must be that of a running Ray cluster, got 127.0.0.1:1" in result.stderr
    assert time.monotonic() - start < 30
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_needs_a_token_is_named(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ConnectionError: Failed to connect to Ray")
    monkeypatch.setattr(ray_cluster.subprocess, "run", lambda *_, **__: failed)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
        with pytest.raises(AlloykError, match=r"to Ray; if it authenticates by token, set RAY_AUT"):
            ray_cluster.refuse_missing_cluster(address)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        with pytest.raises(AlloykError, match=r"Failed to connect to Ray; start one by `ray start"):
            ray_cluster.refuse_missing_cluster(address)


def test_ray_prints_nothing_among_the_results(cluster, capsys):
    report = {"lines": ["A worker died"], "pid": "raylet", "is_err": False}
    with ray_cluster.without_reports(cluster):
        cluster._private.worker.print_to_stdstream(report, ignore_prefix=False)
    assert capsys.readouterr().out == ""
    cluster._private.worker.print_to_stdstream({**report, "lines": ["B"]}, ignore_prefix=False)
    assert "B" in capsys.readouterr().out  # else the test shows nothing


def test_without_ray_the_extra_is_named(monkeypatch, runner, folder, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = runner.invoke(main, on_ray(folder, tmp_path / "found.csv"))
    assert result.exit_code == 1
    expected = '--address needs Ray, which is not installed; run `pip install "alloyk[ray]"`'
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--address", "local"], "--address needs --output FILE"),
        (["-", "--address", "local", "--output", "a.csv"], "and neither --watch nor -"),
        (["--watch", ".", "--address", "local", "--output", "a.csv"], "and neither --watch nor -"),
        (["a.png", "--workers", "2"], "--workers needs --address"),
    ],
)
def test_wrong_usage_ends_with_2(runner, arguments, message):
    result = runner.invoke(main, ["predict", str(MODEL), *arguments])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_manifest_names_the_images(runner, folder, tmp_path):
    rows = [f"{folder.name}/{number:02}.png,x\n" for number in (7, 2)]
    manifest = folder.parent / "Manifest of 2.csv"
    manifest.write_text("path,label\n" + "".join(rows))
    result = runner.invoke(main, ["predict", str(MODEL), str(manifest)])
    assert result.exit_code == 0, result.stderr
    paths = [line.split(",")[0] for line in result.stdout.splitlines()]
    assert paths == ["path", str(folder / "07.png"), str(folder / "02.png")]


def test_images_of_two_shards_are_never_in_one_batch(monkeypatch):
    """Else the rounding of a shard's rows would depend on what is before it."""
    monkeypatch.setattr(sources, "READ_AHEAD_PIXELS", 250)
    rng = np.random.default_rng(2)
    images = [np.zeros((1, width), np.uint8) for width in rng.integers(20, 120, 60)]
    whole = [len(chunk) for chunk in sources.chunks(sources.as_items(images, None))]
    parts = [
        len(chunk)
        for first in range(0, 60, SIZE)
        for chunk in sources.chunks(sources.as_items(images[first : first + SIZE], None))
    ]
    assert whole == parts
    assert sum(whole) == 60
