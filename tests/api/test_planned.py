"""A search and a cross-validation start from the same defaults as a run on the data set."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

import alloyk
from alloyk.api.settings import configuration_overrides
from alloyk.autoconfig import plan_training
from alloyk.config import resolve_config
from alloyk.errors import AlloykError
from alloyk.training import cross_validation

pytestmark = pytest.mark.usefixtures("uncollected", "unrendered")

SMALL = {"train.epochs": 1, "model.hidden_units": 8, "model.depth": 1, "preprocess.repair": False,
         "optimizer.name": "sgd", "optimizer.clip_norm": None}  # fmt: skip


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Images of two classes on 40 plates of two images each, in class folders."""
    folder = tmp_path_factory.mktemp("plates")
    random = np.random.default_rng(0)
    rows = ["path,label,plate_id"]
    for number in range(80):
        label = ("1050", "2017")[number // 2 % 2]
        pixels = random.normal(6000 + 3000 * (label == "2017"), 500, (16, 16)).astype(np.uint16)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        rows.append(f"{number:02}.png,{label},{number // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def counted(monkeypatch):
    """Number of times that a data set was measured."""
    from alloyk.autoconfig import plan

    made, measure = [], plan.fingerprint_of
    monkeypatch.setattr(plan, "fingerprint_of", lambda *of: made.append(measure(*of)) or made[-1])
    return made


def planned(plates, arch, settings):
    """The plan that a training run with these settings makes."""
    return plan_training(configuration_overrides(settings, arch, plates))


def tuned(plates, out, *, arch="fnn", over=None, **settings):
    over = over or {"model.dropout": [0.1, 0.3]}
    return alloyk.tune(data=plates, arch=arch, over=over, out=out, set={**SMALL, **settings})


def test_trials_are_configured_as_a_training_would_be(plates, tmp_path, counted, caplog):
    caplog.set_level(logging.INFO)
    tuned(plates, tmp_path / "s")
    plan = planned(plates, "fnn", {**SMALL, "model.dropout": 0.3})
    trial = resolve_config(tmp_path / "s" / "trial_0001" / "settings.yaml")
    assert trial == plan.config
    assert trial.train.batch_size == 4  # 5 % of 56 training images; the recipe has 32
    assert trial.preprocess.image_size == (16, 16)
    assert "train.batch_size = 4  (the smallest that batch norm can use)" in caplog.text
    assert "train.epochs = 1  (set by you)" in caplog.text
    text = (tmp_path / "s" / "plan.yaml").read_text()
    assert "  batch_size: 4  # the smallest that batch norm can use" in text.splitlines()
    assert "  epochs: 1  # set by you" in text.splitlines()

    counted.clear()
    caplog.clear()
    trials = tuned(plates, tmp_path / "s").trials_text
    assert not counted  # the recorded plan is taken
    assert "settings are those chosen at the start" in caplog.text
    assert trials == (tmp_path / "s" / "trials.csv").read_text()
    assert (tmp_path / "s" / "plan.yaml").read_text() == text


def test_a_resumed_search_keeps_its_plan_and_refuses_other_settings(plates, tmp_path):
    tuned(plates, tmp_path / "s")
    file = tmp_path / "s" / "search.json"
    content = json.loads(file.read_text())
    content["planned"]["settings"]["fnn"]["train"]["batch_size"] = 8  # as if planned elsewhere
    content["config"]["train"]["batch_size"] = 8
    file.write_text(json.dumps(content))
    tuned(plates, tmp_path / "s")
    assert json.loads(file.read_text()) == content
    with pytest.raises(AlloykError, match=r"train\.batch_size was 8, got 16"):
        tuned(plates, tmp_path / "s", **{"train.batch_size": 16})
    with pytest.raises(AlloykError, match=r"seed was 0, got 1"):
        tuned(plates, tmp_path / "s", seed=1)


def test_a_search_over_networks_plans_for_each_of_them(plates, tmp_path, counted):
    over = {"model.arch": ["cnn", "fnn"]}
    settings = {k: v for k, v in SMALL.items() if not k.startswith("optimizer")}
    alloyk.tune(data=plates, over=over, out=tmp_path / "s", set=settings)
    assert len(counted) == 1
    for number, arch in enumerate(("cnn", "fnn")):
        trial = resolve_config(tmp_path / "s" / f"trial_000{number}" / "settings.yaml")
        assert trial == planned(plates, arch, settings).config
    made = json.loads((tmp_path / "s" / "search.json").read_text())["planned"]
    assert made["arch"] == "resnet18"
    rates = {arch: one["optimizer"]["learning_rate"] for arch, one in made["settings"].items()}
    assert rates["cnn"] > rates["fnn"]  # each network's own, scaled to the batch


def test_a_file_and_the_recipe_of_the_study_stay_as_they_are(plates, tmp_path, counted):
    file = tmp_path / "own.yaml"
    file.write_text(
        f"data: {{path: {plates}}}\nmodel: {{arch: fnn, hidden_units: 8}}\n"
        "train: {epochs: 1}\npreprocess: {image_size: 16, repair: false}\n"
    )
    alloyk.tune(file, over={"model.dropout": [0.1]}, out=tmp_path / "s")
    tuned(plates, tmp_path / "study", recipe="study", **{"preprocess.image_size": 16})
    assert not counted
    for name in ("s", "study"):
        assert not (tmp_path / name / "plan.yaml").exists()
        assert "planned" not in json.loads((tmp_path / name / "search.json").read_text())


def test_folds_share_one_plan_made_from_the_training_images_of_the_first(
    plates, tmp_path, counted, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    configs = {}

    class StoppedError(AlloykError): ...

    def stop_in_the_second(config, run, **options):
        configs[run.name] = config
        if len(configs) == 2:
            raise StoppedError

    monkeypatch.setattr(cross_validation, "run_training", stop_in_the_second)
    options = {"data": plates, "arch": "fnn", "folds": 4, "out": tmp_path / "cv", "set": SMALL}
    with pytest.raises(StoppedError):
        alloyk.cross_validate(**options)
    (found,) = counted
    assert found.images["test"] == 20
    assert found.train < 60
    assert configs["fold_1"].train.batch_size == 4
    assert configs["fold_1"].data.fold == "1/4"
    same = configs["fold_2"].model_copy(update={"data": configs["fold_1"].data})
    assert same == configs["fold_1"]
    assert "train.batch_size = 4  (the smallest that batch norm can use)" in caplog.text
    text = (tmp_path / "cv" / "plan.yaml").read_text()
    assert "1/4" not in text

    counted.clear()
    before = dict(configs)
    configs.clear()
    with pytest.raises(StoppedError):
        alloyk.cross_validate(**options)
    assert not counted
    assert configs == before
    with pytest.raises(AlloykError, match="holds another cross-validation"):
        alloyk.cross_validate(**{**options, "set": {**SMALL, "train.epochs": 2}})


def test_a_run_with_little_time_has_smaller_images_and_says_so(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    for number in range(60):
        folder = tmp_path / "plates" / ("1050", "2017")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 64), 100 + number).save(folder / f"{number}.png")
    started = {}

    class StoppedError(AlloykError): ...

    def stop(config, run, **options):
        started.update(config=config, **options)
        raise StoppedError

    monkeypatch.setattr("alloyk.training.run.run_training", stop)
    monkeypatch.setattr("alloyk.autoconfig.measured.estimate_step", lambda *of: 0.5)
    with pytest.raises(StoppedError):
        alloyk.train(data=tmp_path / "plates", run=tmp_path / "run", time_budget=3)
    assert started["config"].preprocess.image_size == (32, 32)
    line = "preprocess.image_size = [32, 32]  (at 64×64 the time budget allows "
    assert line in caplog.text.partition("changed for the time budget:\n  ")[2]
    assert "  image_size: [32, 32]  # at 64×64 the" in started["plan"]


@pytest.mark.parametrize("damaged", [3, {}, {"arch": "fnn", "settings": [], "text": ""}])
def test_a_damaged_plan_is_named(plates, tmp_path, damaged):
    for name, command in (("search", tuned), ("cross_validation", alloyk.cross_validate)):
        out = tmp_path / name
        out.mkdir()
        (out / f"{name}.json").write_text(json.dumps({"config": {}, "planned": damaged}))
        with pytest.raises(AlloykError, match=rf"{name}\.json must have `arch`, .* in `planned`"):
            command(plates, out) if command is tuned else command(data=plates, out=out)
