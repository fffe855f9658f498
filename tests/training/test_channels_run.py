"""Three tube voltages of one plate as channels: from simulated images to an exported file."""

import csv
import json
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import tifffile

import alloyk
from alloyk.cli import main
from alloyk.config import parse_overrides, resolve_config
from alloyk.errors import AlloykError
from alloyk.imaging import read_image
from alloyk.inference.metadata import read_metadata
from alloyk.runs.folder import RunFolder
from alloyk.simulator.dataset.simulation import simulate_dataset
from alloyk.training.run import run_training

pytestmark = pytest.mark.usefixtures("unrendered")

SETTINGS = (
    "model.arch=cnn", "model.width=8", "model.depth=1", "preprocess.image_size=32",
    "preprocess.upright=true", "preprocess.repair=false", "optimizer.learning_rate=0.003",
    "train.batch_size=16", "train.epochs=2", "train.deterministic=true",
    "data.channels.values=40,45,50",
)  # fmt: skip


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """60 plates of two alloys, each at 40, 45 and 50 kV."""
    folder = tmp_path_factory.mktemp("plates") / "easy"
    return simulate_dataset(
        folder, preset="easy", images=60, image_size=40,
        overrides={"tube.channels_kvp": [40, 45, 50]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(plates, tmp_path_factory):
    config = resolve_config(None, parse_overrides([f"data.path={plates}", *SETTINGS]))
    return run_training(config, tmp_path_factory.mktemp("runs") / "channels")


@pytest.fixture(scope="module")
def model(run):
    return alloyk.load(run)


@pytest.fixture(scope="module")
def test_rows(run):
    return pd.read_csv(run / "predictions.csv", dtype=str)


def image_of(plates, row):
    return read_image(plates / row["path"])


def test_a_sample_is_a_row_of_the_predictions(run, test_rows):
    assert len(test_rows) == 9
    assert test_rows["path"][0].endswith("_00_50kv.png")
    assert test_rows["path"][0].count("|") == 2
    assert set(test_rows["tube_voltage_kvp"]) == {"40.0|45.0|50.0"}
    metadata = read_metadata(run / "model.keras")
    assert metadata.channels is not None
    assert metadata.channels.values == ("40", "45", "50")
    assert RunFolder(run).facts.channels["column"] == "tube_voltage_kvp"


def test_the_ceiling_is_that_of_all_channels(run, plates):
    found = json.loads((run / "metrics.json").read_text())["ceiling"]
    assert "For all 3 images of a sample together, 40, 45, 50 kV" in " ".join(found["notes"])
    assert found["accuracy"] == pytest.approx(alloyk.ceiling(plates).accuracy, abs=0.01)


def test_the_model_takes_raw_channels_in_their_order(model, plates, test_rows):
    assert model.input_shape == (None, None, 3)
    row = test_rows.iloc[0]
    image = image_of(plates, row)
    expected = np.array(row[["p_1050", "p_2017"]], float)
    found = model.predict(image)
    np.testing.assert_allclose(found.probabilities[0], expected, atol=1e-5)
    assert float(found.unlike[0]) == pytest.approx(float(row["unlike"]), rel=1e-3)
    other = model.predict(image[..., ::-1].copy())
    assert np.abs(other.probabilities[0] - expected).max() > 1e-4


def test_a_manifest_a_folder_and_a_tiff_are_predicted_alike(runner, run, plates, tmp_path):
    found = runner.invoke(main, ["predict", str(run), str(plates / "manifest.csv")])
    assert found.exit_code == 0, found.output
    rows = list(csv.DictReader(found.stdout.splitlines()))
    assert len(rows) == 60
    assert rows[0]["path"].endswith("p00000_00_40kv.png|p00000_00_45kv.png|p00000_00_50kv.png")
    image = read_image(rows[0]["path"])
    with tifffile.TiffWriter(tmp_path / "pages.tif") as writer:
        for channel in np.moveaxis(image, -1, 0):
            writer.write(np.ascontiguousarray(channel), photometric="minisblack")
    tifffile.imwrite(tmp_path / "samples.tif", image, photometric="minisblack",
                     planarconfig="contig")  # fmt: skip
    paths = [tmp_path / "pages.tif", tmp_path / "samples.tif", rows[0]["path"], plates]
    again = alloyk.predict(run, paths)
    expected = [float(rows[0]["p_1050"]), float(rows[0]["p_2017"])]
    assert len(again) == 63
    for probabilities in again.probabilities[:4]:
        np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_other_images_are_refused_in_one_line(runner, run, plates, tmp_path):
    gray = next((plates / "1050").glob("*.png"))
    found = runner.invoke(main, ["predict", str(run), str(gray)])
    assert found.exit_code == 1
    assert found.stderr == (
        f"Error: {gray} must have 3 channels (tube_voltage_kvp 40, 45, 50), got 1; pass a manifest "
        "with this column, or a file with one page per channel\n"
    )
    same = np.repeat(read_image(gray), 3, axis=2)
    with pytest.raises(AlloykError, match="got 3 identical ones; a gray image saved as colour"):
        alloyk.predict(run, [same])


def test_a_plate_that_lacks_a_voltage_is_named(run, plates, tmp_path):
    lines = (plates / "manifest.csv").read_text().splitlines()
    shutil.copytree(plates, tmp_path / "less")
    (tmp_path / "less.csv").write_text("\n".join(lines[:2] + lines[3:]))
    (tmp_path / "less.csv").rename(tmp_path / "less/less.csv")
    with pytest.raises(
        AlloykError,
        match=r"^every pose_id must have one image for each of tube_voltage_kvp 40, 45, 50, but "
        r"p00000_00 has no image with tube_voltage_kvp 45 \(.*\); add the image",
    ):
        alloyk.predict(run, tmp_path / "less/less.csv")


def test_evaluation_repeats_the_predictions(run, test_rows, tmp_path):
    found = alloyk.evaluate(run, out=tmp_path / "again")
    assert found.metrics["n"] == 9
    again = pd.read_csv(tmp_path / "again" / "predictions.csv", dtype=str)
    assert again["path"].tolist() == test_rows["path"].tolist()
    for name in ("p_1050", "p_2017"):
        np.testing.assert_allclose(again[name].astype(float), test_rows[name].astype(float),
                                   atol=1e-5)  # fmt: skip


@pytest.fixture(scope="module")
def tflite(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "channels.tflite"
    return alloyk.export(run, format="tflite", out=out)


def test_a_tflite_file_agrees_with_the_run(tflite, plates, test_rows):
    assert tflite.parity.agreement.differing == ()
    assert tflite.parity.agreement.max_difference < 1e-5
    exported = alloyk.load(tflite.path)
    assert exported.input_shape == (40, 40, 3)
    assert exported.metadata.channels.values == ("40", "45", "50")
    found = exported.predict([plates / path for path in test_rows["path"]])
    np.testing.assert_allclose(
        found.probabilities[:, 0], test_rows["p_1050"].astype(float), atol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("stress",), "stress"),
        (("explain", "{image}", "--out", "{tmp}"), "an explanation"),
        (("export", "--format", "tflite", "--bundle", "{tmp}"), "--bundle"),
        (("evaluate", "--noise-control", "--out", "{tmp}"), "a baseline"),
        (("evaluate", "--classical-control", "--out", "{tmp}"), "a baseline"),
    ],
)
def test_what_takes_one_channel_says_so_in_one_line(
    runner, run, plates, test_rows, tmp_path, arguments, what
):
    image = str(plates / test_rows["path"][0])
    command, *rest = (one.format(image=image, tmp=tmp_path / "out") for one in arguments)
    found = runner.invoke(main, [command, str(run), *rest])
    assert found.exit_code == 1
    last = found.stderr.splitlines()[-1]
    expected = f"Error: {what} needs a model of one channel, got {run} with 3 (tube_voltage_kvp 40"
    assert last.startswith(expected)
    assert "; " in last
    assert not (tmp_path / "out").exists()


def test_a_server_of_channels_is_refused(run):
    from alloyk.serving.limits import Limits
    from alloyk.serving.server import run_server

    with pytest.raises(AlloykError, match="serve needs a model of one channel"):
        run_server(run, port=0, limits=Limits())


def test_a_watched_folder_takes_a_file_of_pages(model, plates, test_rows, tmp_path):
    from alloyk.serving.watching import FolderWatch

    (tmp_path / "in").mkdir()
    image = image_of(plates, test_rows.iloc[0])
    with tifffile.TiffWriter(tmp_path / "in/plate.tif") as writer:
        for channel in np.moveaxis(image, -1, 0):
            writer.write(np.ascontiguousarray(channel), photometric="minisblack")
    with FolderWatch(model, tmp_path / "in", tmp_path / "out.csv", settle_s=0) as watching:
        deadline = time.monotonic() + 20
        while not watching.count and time.monotonic() < deadline:
            list(watching.step())
            time.sleep(0.05)
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["predicted"] for row in rows] == [test_rows["predicted"][0]]


def test_runs_vote_only_with_the_same_channels(run, model, tmp_path):
    from alloyk.voting.soft_voting import save_soft_vote

    files = [run / "model.keras"] * 2
    save_soft_vote(files, np.array([0.5, 0.5]), tmp_path / "vote.keras")
    voted = alloyk.load(tmp_path / "vote.keras")
    assert (voted.input_shape, voted.channels) == ((None, None, 3), 3)
    image = np.random.default_rng(0).uniform(1000, 9000, (40, 40, 3)).astype(np.float32)
    np.testing.assert_allclose(
        voted.predict(image).probabilities, model.predict(image).probabilities, atol=1e-6
    )
