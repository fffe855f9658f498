"""What is said of a folder that has no model."""

import pytest

from alloyk.cli import main
from alloyk.errors import AlloykError
from alloyk.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "must be a run folder, but .*run does not exist; check the path"),
        ([], r"must be a run folder, but .*run has no model\.keras"),
        (["config.yaml"], "its training did not end; resume .*--resume"),
        (
            ["config.yaml", "metrics.json"],
            r"finished run without its model\.keras; restore the file",
        ),
        (
            ["config.yaml", "metrics.json", "ensemble.yaml"],
            "is a hard vote, which .* with --vote soft, or evaluate .*run with --from-predictions",
        ),
        (
            ["config.yaml", "metrics.json", "cross_validation.json"],
            r"is a cross-validation, .* name one of them",
        ),
    ],
)
def test_why_a_run_has_no_model(tmp_path, files, message):
    run = tmp_path / "run"
    if files is not None:
        run.mkdir()
        for name in files:
            (run / name).touch()
    with pytest.raises(AlloykError, match=message):
        RunFolder(run).require_model()


def test_the_model_of_a_run_and_of_a_file(tmp_path):
    model = tmp_path / "model.keras"
    model.touch()
    assert RunFolder(tmp_path).require_model() == model
    with pytest.raises(AlloykError, match=r"must be a run folder, but .*model\.keras is a file"):
        RunFolder(model).require_model()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["evaluate", "RUN"], "is a hard vote"),
        (["predict", "RUN", "IMAGE"], "is a hard vote"),
        (["export", "RUN", "--format", "savedmodel", "--out", "OUT"], "is a hard vote"),
        (["explain", "RUN"], "is a hard vote"),
        (["explain", "RUN", "IMAGE"], "is a hard vote"),
        (["explain", "NOWHERE"], "must be a run folder"),
    ],
)
def test_a_command_says_what_a_hard_vote_cannot_do(tmp_path, runner, command, message):
    from PIL import Image

    places = {
        name: tmp_path / name.lower() for name in ("RUN", "OUT", "NOWHERE")
    } | {"IMAGE": tmp_path / "image.png"}  # fmt: skip
    Image.new("L", (32, 32)).save(places["IMAGE"])
    places["RUN"].mkdir()
    for name in ("config.yaml", "ensemble.yaml", "metrics.json"):
        (places["RUN"] / name).touch()
    result = runner.invoke(main, [str(places.get(word, word)) for word in command])
    assert result.exit_code == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert not places["OUT"].exists()
