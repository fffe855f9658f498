"""`alloyk plan`: the ceiling over set-ups."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from alloyk.cli import main
from alloyk.errors import AlloykError
from alloyk.simulator.ceiling import design as sweeping
from alloyk.simulator.ceiling.design import parse_sweeps, plan_rows, plan_setups, verdict
from alloyk.simulator.ceiling.reference import reference_ceiling
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.presets import preset_parameters

ALLOYS5 = preset_parameters("alloys5")


@pytest.fixture(scope="module")
def tolerances():
    return plan_setups(ALLOYS5, parse_sweeps(["plate.tolerance_scale=0.25,1,2"]), 32)


def test_each_point_is_the_ceiling_of_its_setup(tolerances):
    tight = with_overrides(ALLOYS5, {"plate.tolerance_scale": 0.25})
    assert tolerances.points[0].ceiling == reference_ceiling(tight, 32)
    accuracy = [point.ceiling.accuracy for point in tolerances.points]
    assert accuracy == sorted(accuracy, reverse=True)
    assert tolerances.best.values == ("0.25",)


def test_the_setup_as_it_is_gains_nothing_without_error(tolerances):
    as_it_is = tolerances.points[1]
    assert (as_it_is.gain, as_it_is.gain_error) == (0, 0)


def test_gains_are_surer_than_the_ceilings_because_the_draws_are_shared(tolerances):
    small = plan_setups(ALLOYS5, parse_sweeps(["exposure.photons_per_mm2=2.8e5,3.2e5"]), 32)
    point = small.points[1]
    assert point.gain_error < 0.7 * np.hypot(point.ceiling.error, small.base.error)


def test_two_sweeps_run_over_all_pairs():
    sweeps = parse_sweeps(["alloys=[1050,2017],[5083,6082]", "image_size=16,24"])
    found = plan_setups(ALLOYS5, sweeps, 16)
    assert [point.values for point in found.points] == [
        ("[1050,2017]", "16"), ("[1050,2017]", "24"), ("[5083,6082]", "16"), ("[5083,6082]", "24"),
    ]  # fmt: skip
    assert found.points[1].ceiling.image_size == 24
    assert found.points[2].ceiling.classes == ("5083", "6082")
    assert found.points[0].ceiling.accuracy == 1 > found.points[2].ceiling.accuracy


def test_verdict_says_what_is_best_and_when_nothing_is(tolerances):
    text = verdict(tolerances)
    assert text.startswith("best: plate.tolerance_scale=0.25: ")
    assert "points over the base set-up (" in text
    same = plan_setups(ALLOYS5, parse_sweeps(["detector.swank=0.92,0.93"]), 16)
    assert "no reason to change the set-up" in verdict(same)


def made_up(*accuracies):
    """A plan of such accuracies; the base set-up has 0.9, every error is a tenth of a point."""
    blocks = 0.001 * np.sqrt(11) * np.array([-1, 1] * 6)

    def ceiling(accuracy):
        values = accuracy + blocks * (1 if accuracy != 0.9 else 0)
        return replace(SOME, accuracy=accuracy, error=0.001, by_block=tuple(values))

    base = ceiling(0.9)
    points = []
    for nth, accuracy in enumerate(accuracies):
        found = ceiling(accuracy)
        points.append(sweeping.Point((str(nth),), found, *sweeping._gain(found, base)))
    return sweeping.Plan((sweeping.Sweep("wedge.height_mm", ("0", "1")),), base, tuple(points))


SOME = reference_ceiling(ALLOYS5, 8)


@pytest.mark.parametrize(
    ("accuracies", "end"),
    [
        ((0.80, 0.87), "(90.0 ± 0.1 %). No set-up is as good as the base set-up."),
        ((0.80, 0.8985), "within the Monte Carlo error: no reason to change the set-up."),
        ((0.80, 0.9015), "within the Monte Carlo error: no reason to change the set-up."),
        ((0.80, 0.95), "points over the base set-up (90.0 ± 0.1 %)."),
        ((0.95, 0.95), "). 1 other set-up is as good within the Monte Carlo error."),
        ((0.95, 0.95, 0.95), "). 2 other set-ups are as good within the Monte Carlo error."),
    ],
)
def test_verdict_of_a_loss_a_tie_and_a_gain(accuracies, end):
    assert verdict(made_up(*accuracies)).endswith(end)


def test_a_setup_with_hardly_a_photon_is_pointed_out():
    sweeps = parse_sweeps(["exposure.photons_per_mm2=0.5,1e4"])
    notes = plan_setups(preset_parameters("easy"), sweeps, 60).notes
    assert all(note.startswith("exposure.photons_per_mm2=0.5: ") for note in notes)
    assert "gets 0.5 photons" in notes[-1]


def test_a_voltage_at_held_exposure_is_pointed_out():
    sweeps = parse_sweeps(["tube.voltage_kvp=45,50"])
    found = plan_setups(preset_parameters("easy"), sweeps, 16)
    assert "exposure is fixed at 2.3e+04" in found.notes[0]
    timed = with_overrides(preset_parameters("easy"), {"exposure.exposure_time_s": 1})
    assert plan_setups(timed, sweeps, 16).notes == ()


def test_nothing_is_computed_when_one_value_is_wrong(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr(sweeping, "reference_ceiling", refuse)
    for text, message in (
        ("tube.voltage_kvp=45,-1", "voltage_kvp must be 10 to 500 .*, got -1"),
        (
            "detector.offset_counts=0,2e4",
            "offset_counts=2e4: at most half of the pixels must saturate, got 1",
        ),
        ("tube.anode=W,Pb", "a Pb tube at 12° with"),
        ("image_size=16,4", "image_size must be >= 8, got '4'"),
        ("wedge.hight_mm=1,2", "did you mean wedge.height_mm"),
    ):
        with pytest.raises(AlloykError, match=message):
            plan_setups(ALLOYS5, parse_sweeps([text]), 16)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["tube.voltage_kvp"],
            "^--sweep must be KEY=A,B,… with two or more values, got",
        ),
        (["tube.voltage_kvp=40"], "two or more values, got"),
        (["tube.voltage_kvp=40,,50"], "two or more values, got"),
        (["tube.voltage_kvp=40,40"], "^--sweep must have each value once, got"),
        (["a=1,2", "a=3,4"], "^sweeps must have different keys, got a twice"),
        (["a=1,2", "b=1,2", "c=1,2"], "--sweep must be given once or twice, got 3 sweeps"),
    ],
)
def test_bad_sweeps_are_named(texts, message):
    with pytest.raises(AlloykError, match=message):
        parse_sweeps(texts)


def test_command_writes_table_and_picture_that_agree(runner, tmp_path):
    result = runner.invoke(
        main,
        ["plan", "--preset", "alloys5", "--image-size", "16", "--alloys", "5083,6082",
         "--sweep", "exposure.photons_per_mm2=1e3,1e5", "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"plan.csv", "plan.png"}
    with (tmp_path / "out" / "plan.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == [
        "exposure.photons_per_mm2", "accuracy", "error", "gain", "gain_error",
    ]  # fmt: skip
    assert float(rows[0]["accuracy"]) < float(rows[1]["accuracy"])
    assert f"{100 * float(rows[1]['accuracy']):.1f} ± " in result.stdout
    assert "simulated" in result.stdout


def test_rows_hold_the_recall_of_each_class(tolerances):
    row = plan_rows(tolerances)[0]
    assert row["recall_5083"] == pytest.approx(
        tolerances.points[0].ceiling.recall["5083"], abs=1e-6
    )


def test_a_sweep_over_alloys_has_a_column_and_a_line_for_each(runner, tmp_path):
    result = runner.invoke(
        main,
        ["plan", "--preset", "alloys5", "--image-size", "8", "--out", str(tmp_path),
         "--sweep", "alloys=[1050,2017],[1050,5083]"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with (tmp_path / "plan.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first)[-4:] == ["recall_1050", "recall_2017", "recall_5083", "thickness_rmse_mm"]
    assert [first["recall_5083"], second["recall_2017"]] == ["", ""]
    assert 0 < float(second["recall_5083"]) <= 1
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_usage_errors(runner, tmp_path):
    assert runner.invoke(main, ["plan", "--out", str(tmp_path)]).exit_code == 2
    assert runner.invoke(main, ["plan", "--sweep", "a=1,2"]).exit_code == 2
    wrong = runner.invoke(main, ["plan", "--sweep", "a=1,2", "--out", str(tmp_path / "x")])
    assert wrong.exit_code == 1
    assert "unknown key a;" in wrong.stderr
    assert not (tmp_path / "x").exists()
