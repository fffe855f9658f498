import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

import alloyk
from alloyk.cli import main
from alloyk.errors import ConfigError
from alloyk.evaluation.ceiling import dataset_ceiling
from alloyk.simulator.ceiling import estimates
from alloyk.simulator.ceiling import reference as ceiling
from alloyk.simulator.ceiling.detection import best_detection
from alloyk.simulator.ceiling.fisher import (
    Reduction,
    coefficient_covariance,
    joint_covariance,
    prior_standard_deviations,
)
from alloyk.simulator.ceiling.reference import caveats, reference_ceiling
from alloyk.simulator.dataset.recipe import make_recipe, recipe_text
from alloyk.simulator.physics.beam import Beam, voltage_limits
from alloyk.simulator.physics.forward import expected_image, open_beam_photons, plate_depth
from alloyk.simulator.physics.plate import draw_plate
from alloyk.simulator.physics.scene import nominal_circumstances, nominal_exposures
from alloyk.simulator.physics.thickness import ThicknessLaw
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters
from alloyk.simulator.settings.presets import FIVE_ALLOYS, preset_parameters

EVERYTHING_KNOWN = {
    "exposure.output_sd": 0, "tube.voltage_drift_sd_kv": 0, "scatter.ratio_sd": 0,
    "wedge.shift_sd_mm": 0, "wedge.rotation_sd_deg": 0, "wedge.height_sd": 0,
    "plate.edge_sd_mm": 0, "plate.tilt_sd_deg": 0,
    "detector.psf_sd_mm": 0, "detector.dead_pixels": 0, "detector.electronic_noise_per_mm": 0,
    "detector.residual": 0, "detector.fixed_pattern_sd": 0, "detector.adc_bits": 16,
}  # fmt: skip


def preset(name, **changes):
    return with_overrides(
        preset_parameters(name), {key.replace("__", "."): value for key, value in changes.items()}
    )


# Measured on an independent prototype, Monte Carlo error 0.7 points.
@pytest.mark.parametrize(
    ("alloys", "layout", "expected"),
    [("1050,2017", "step", 100), ("1050,2017", "full", 100), (FIVE_ALLOYS, "step", 85.6),
     (FIVE_ALLOYS, "full", 73.6)],
)  # fmt: skip
def test_ceilings_of_the_default_set_are_the_prototypes(alloys, layout, expected):
    found = reference_ceiling(preset("alloys5", alloys=alloys, layout__name=layout), 224)
    assert 100 * found.accuracy == pytest.approx(expected, abs=2)
    assert found.error < 0.007


def test_recalls_of_the_five_alloys_are_the_prototypes():
    recall = reference_ceiling(preset("alloys5"), 96).recall
    expected = {"1050": 0.92, "6082": 0.72, "5083": 0.64, "7075": 1.0, "2017": 1.0}
    assert recall == pytest.approx(expected, abs=0.04)


def test_thickness_spread_limits_it_as_in_the_prototype():
    for sd, expected in ((0.0025, 95.5), (0.01, 88.5), (0.05, 78)):
        one = preset("alloys5", plate__thickness_law="relative", plate__thickness_relative_sd=sd)
        assert 100 * reference_ceiling(one, 96).accuracy == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(
    ("channels", "photons_per_mm2"),
    [([50], 300), pytest.param([40, 60], 200, marks=pytest.mark.slow)],
)
def test_agrees_with_the_likelihood_ratio_where_the_circumstances_are_known(
    channels, photons_per_mm2
):
    """Nothing linearised: the likelihood of whole images, averaged over 400 plates of a class.

    Few photons, so that the classes overlap by noise as well as by tolerance.
    """
    size, labels = 16, ("1050", "5083", "6082")
    settings = {"alloys": labels, "plate.thicknesses_mm": 2, "tube.channels_kvp": channels,
                "exposure.photons_per_mm2": photons_per_mm2}  # fmt: skip
    parameters = with_overrides(Parameters(), EVERYTHING_KNOWN | settings)
    beam, exposures = Beam(parameters), nominal_exposures(parameters)
    rng = np.random.default_rng(5)

    def images(label, count):
        plates = [draw_plate(0, label, 2.0, parameters.plate, rng) for _ in range(count)]
        expected = [
            [
                expected_image(beam, now, plate_depth(beam, plate), size, np.float64)
                for now in exposures
            ]
            for plate in plates
        ]
        return (
            np.stack([np.concatenate([getattr(e, what).ravel() for e in one]) for one in expected])
            for what in ("signal", "variance")
        )

    known = {label: tuple(images(label, 400)) for label in labels}
    right = []
    for label in labels:
        signal, variance = images(label, 1000)
        seen = signal + np.sqrt(variance) * rng.standard_normal(signal.shape)
        scores = []
        for other in labels:
            mean, var = known[other]
            square = seen**2 @ (1 / var).T - 2 * seen @ (mean / var).T + (mean**2 / var).sum(axis=1)
            scores.append(np.logaddexp.reduce(-(square + np.log(var).sum(axis=1)) / 2, axis=1))
        right.append(np.array(labels)[np.argmax(scores, axis=0)] == label)
    measured = np.mean(right)
    found = reference_ceiling(parameters, size)
    assert 0.6 < found.accuracy < 0.75
    assert found.accuracy == pytest.approx(measured, abs=0.025)  # two errors of 0.8 points


@pytest.mark.parametrize("photons_per_mm2", [0.01, 3, 30])
def test_agrees_with_the_likelihood_ratio_down_to_no_information(photons_per_mm2):
    """Two alloys of one thickness whose covariances differ, which alone must tell nothing.

    Read-out noise decides, so an image is a point in space and its likelihood ratio normal: the
    error rate is Φ(−d / 2) with d the distance of the two mean images in units of the noise.
    """
    settings = {"plate.thicknesses_mm": 2, "plate.thickness_law": "exact",
                "plate.composition_law": "nominal", "exposure.photons_per_mm2": photons_per_mm2,
                "alloys": ("1050", "2017")}  # fmt: skip
    parameters = with_overrides(
        Parameters(), EVERYTHING_KNOWN | settings | {"detector.electronic_noise_per_mm": 53.3}
    )
    beam, now, size = Beam(parameters), nominal_circumstances(parameters), 16
    one, two = (
        expected_image(
            beam, now,
            plate_depth(beam, draw_plate(0, label, 2.0, parameters.plate, np.random.default_rng())),
            size, np.float64,
        ).signal
        for label in parameters.alloys
    )  # fmt: skip
    distance = np.linalg.norm(one - two) / (53.3 * 60 / size)
    expected = stats.norm.cdf(distance / 2)
    assert expected < 0.8
    found = reference_ceiling(parameters, size)
    assert found.accuracy == pytest.approx(expected, abs=4 * found.error)


def test_images_without_information_leave_chance_and_the_spread_of_the_plates():
    found = reference_ceiling(preset("alloys5", exposure__photons_per_mm2=0.01), 64)
    assert found.accuracy == pytest.approx(0.2, abs=4 * found.error)
    assert found.thickness_rmse_mm == pytest.approx(np.std([1, 2, 5]), rel=0.01)


def test_two_fixed_plates_in_noise_are_told_apart_as_by_theory():
    """One plate of each class: the error rate is that of two Gaussians d apart, Φ(−d / 2)."""
    settings = {"alloys": "5083,6082", "plate.thicknesses_mm": 2, "plate.thickness_law": "exact",
                "plate.composition_law": "nominal", "exposure.photons_per_mm2": 250}  # fmt: skip
    parameters = with_overrides(Parameters(), EVERYTHING_KNOWN | settings)
    beam, now = Beam(parameters), nominal_circumstances(parameters)
    one, two = (
        expected_image(
            beam, now,
            plate_depth(beam, draw_plate(0, label, 2.0, parameters.plate, np.random.default_rng())),
            32, np.float64,
        )
        for label in parameters.alloys
    )  # fmt: skip
    distance = math.sqrt(((one.signal - two.signal) ** 2 * 2 / (one.variance + two.variance)).sum())
    assert 1 < distance < 3
    found = reference_ceiling(parameters, 32)
    assert found.accuracy == pytest.approx(stats.norm.cdf(distance / 2), abs=0.015)


def test_foreign_plates_are_detected_as_the_neyman_pearson_lemma_says():
    """Two Gaussians d apart: at false-alarm rate a, the best test finds Φ(d − z) of the others."""
    settings = {"plate.thicknesses_mm": 2, "plate.thickness_law": "exact",
                "plate.composition_law": "nominal", "exposure.photons_per_mm2": 250}  # fmt: skip
    known, foreign = (
        with_overrides(Parameters(), EVERYTHING_KNOWN | settings | {"alloys": [label]})
        for label in ("5083", "6082")
    )
    beam, now = Beam(known), nominal_circumstances(known)
    one, two = (
        expected_image(
            beam, now,
            plate_depth(beam, draw_plate(0, label, 2.0, known.plate, np.random.default_rng())),
            32, np.float64,
        )
        for label in ("5083", "6082")
    )  # fmt: skip
    distance = math.sqrt(((one.signal - two.signal) ** 2 * 2 / (one.variance + two.variance)).sum())
    for rate in (0.01, 0.1):
        found = best_detection(known, foreign, 32, false_alarms=rate)
        expected = stats.norm.cdf(distance - stats.norm.isf(rate))
        assert 0.2 < expected < 0.95
        assert found.share == pytest.approx(expected, abs=0.03)
        assert best_detection(known, known, 32, false_alarms=rate).share < 0.02


def test_a_false_alarm_rate_is_between_0_and_1():
    with pytest.raises(ConfigError, match="false_alarms must be between 0 and 1, got 1"):
        best_detection(Parameters(), Parameters(), 32, false_alarms=1)


def test_covariance_is_met_by_fits_to_simulated_images():
    """One Gauss-Newton step from the truth, on images with noise and circumstances drawn."""
    parameters = preset("hard5", tube__voltage_kvp=45)
    beam, size = Beam(parameters), 24
    now, reduction = nominal_circumstances(parameters), Reduction(beam)
    plate = draw_plate(0, "6082", 2.0, parameters.plate, np.random.default_rng(1))
    depth = plate_depth(beam, plate)
    covariance = coefficient_covariance(beam, now, depth, size, reduction)
    narrow = np.linalg.eigh(covariance)[1][:, 0]

    electronic = 5.33 * 60 / size
    fields = {"output": 1e-3, "tube_voltage_kvp": 1e-2, "wedge_shift_mm": 1e-3,
              "wedge_height_mm": 1e-3, "wedge_rotation_deg": 1e-3, "scatter_ratio": 1e-3,
              "plate_edge_mm": 1e-3}  # fmt: skip
    base = expected_image(beam, now, depth, size, np.float64)
    columns = [
        (expected_image(beam, now, depth + step * unit, size, np.float64).signal - base.signal)
        / step
        for unit, step in zip(reduction.basis_per_unit, (1e-4, 1e-3), strict=True)
    ]
    for name, step in fields.items():
        moved = replace(now, **{name: getattr(now, name) + step})
        moved_image = expected_image(beam, moved, depth, size, np.float64)
        columns.append((moved_image.signal - base.signal) / step)
    jacobian = np.stack([column.ravel() for column in columns], axis=1)
    variance = base.variance.ravel() + electronic**2
    prior = prior_standard_deviations(parameters)
    spreads = np.array([prior[name] for name in fields])
    precision = np.diag(np.concatenate([[0, 0], spreads**-2]))
    solve = np.linalg.solve(
        jacobian.T @ (jacobian / variance[:, None]) + precision, jacobian.T / variance
    )
    rng = np.random.default_rng(2)
    errors = []
    for _ in range(400):
        drawn = spreads * rng.standard_normal(len(fields))
        seen = jacobian[:, 2:] @ drawn + np.sqrt(variance) * rng.standard_normal(len(variance))
        errors.append((solve @ seen)[:2])
    errors = np.array(errors)
    assert (errors @ narrow).std() == pytest.approx(
        math.sqrt(narrow @ covariance @ narrow), rel=0.12
    )
    for axis in (0, 1):
        assert errors[:, axis].std() == pytest.approx(math.sqrt(covariance[axis, axis]), rel=0.12)


@pytest.mark.parametrize(
    ("name", "changes", "limit"),
    [
        ("alloys5", {}, 6e-4),  # 3.6e-4 in the prototype
        ("hard5", {}, 6e-4),
        ("alloys5", {"tube__channels_kvp": [40, 45, 50]}, 7e-4),
    ],
)
def test_two_coefficients_stand_for_a_plate(name, changes, limit):
    parameters = preset(name, alloys=FIVE_ALLOYS, **changes)
    beam, reduction = Beam(parameters), Reduction(Beam(parameters))
    rng = np.random.default_rng(0)
    for label in FIVE_ALLOYS:
        for thickness_mm in (1.0, 5.0):
            depth = plate_depth(beam, draw_plate(0, label, thickness_mm, parameters.plate, rng))
            reduced = reduction.coefficients(depth) @ reduction.basis_per_unit
            for kvp in voltage_limits(parameters.tube):
                full, two = (beam.curves(kvp, d).signal for d in (depth, reduced))
                assert np.abs(np.log(full / two)).max() < limit


LAWS = [ThicknessLaw(2.0, 0.03, 0.0), ThicknessLaw(2.0, 0.0, 0.09), ThicknessLaw(2.0, 0.0, 0.0)]


@pytest.mark.parametrize("law", LAWS, ids=["normal", "uniform", "exact"])
def test_density_is_the_integral_over_thickness(law):
    units = np.array([[0.98, 2.1], [0.99, 1.9]])
    covariance = np.array([[0.04**2, -0.9 * 0.04 * 1.2], [-0.9 * 0.04 * 1.2, 1.2**2]])
    estimates = np.array([[1.95, 4.2], [2.05, 3.3], [1.80, 4.4]])
    found, mean_mm = law.density(estimates, units, np.linalg.inv(covariance))

    def at(t, estimate, unit):
        return stats.multivariate_normal.pdf(estimate - np.outer(t, unit), [0, 0], covariance)

    for i, estimate in enumerate(estimates):
        total, moment = 0.0, 0.0
        for unit in units:
            if law.sd_mm:
                t = np.linspace(1.7, 2.3, 4001)
                weight = stats.norm.pdf(t, 2.0, law.sd_mm)
            elif law.half_width_mm:
                t = np.linspace(2 - law.half_width_mm, 2 + law.half_width_mm, 4001)
                weight = np.full(len(t), 0.5 / law.half_width_mm)
            else:
                total += at(2.0, estimate, unit) / 2
                moment += 2.0 * at(2.0, estimate, unit) / 2
                continue
            values = weight * at(t, estimate, unit)
            total += integrate.trapezoid(values, t) / 2
            moment += integrate.trapezoid(values * t, t) / 2
        assert found[i] == pytest.approx(total, rel=1e-4)
        assert mean_mm[i] == pytest.approx(moment / total, abs=1e-5)


def test_far_tails_of_a_uniform_law_stay_finite():
    law = ThicknessLaw(2.0, 0.0, 0.05)
    precision = np.diag([1e6, 1e2])
    found, mean_mm = law.density(
        np.array([[2.4, 0.0], [1.7, 0.0]]), np.array([[1, 0.0]]), precision
    )
    assert np.isfinite(found).all()
    assert (np.abs(mean_mm - 2) <= 0.05 + 1e-9).all()


def test_thickness_is_known_better_with_more_photons():
    found = reference_ceiling(preset("easy", exposure__photons_per_mm2=1e7), 64)
    assert found.thickness_spread_mm == pytest.approx(0.002 * math.sqrt((1 + 4 + 25) / 3), rel=0.05)
    blind = reference_ceiling(preset("easy", exposure__photons_per_mm2=10), 64)
    assert found.thickness_rmse_mm < 0.9 * blind.thickness_rmse_mm
    assert blind.accuracy < found.accuracy == 1


def test_shares_move_decisions_towards_the_frequent_class():
    even = reference_ceiling(preset("alloys5"), 64)
    tail = reference_ceiling(
        preset("alloys5"), 64, shares={"1050": 500, "2017": 100, "5083": 20, "6082": 200, "7075": 9}
    )
    assert tail.recall["5083"] < even.recall["5083"] - 0.2
    assert tail.recall["6082"] > even.recall["6082"] + 0.05
    weights = np.array(tail.shares)
    assert tail.accuracy == pytest.approx(weights @ list(tail.recall.values()))


def test_the_same_seed_gives_the_same_ceiling_and_another_differs_within_the_error():
    one, same, other = (reference_ceiling(preset("hard5"), 64, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.accuracy != other.accuracy
    assert abs(one.accuracy - other.accuracy) < 4 * math.hypot(one.error, other.error)


def test_drawn_circumstances_change_little_in_the_step_layout():
    mean = reference_ceiling(preset("alloys5"), 64)
    drawn = reference_ceiling(preset("alloys5"), 64, drawn_circumstances=True)
    assert drawn.accuracy == pytest.approx(mean.accuracy, abs=0.01)


def test_each_nuisance_costs_information():
    parameters = preset("alloys5")
    beam = Beam(parameters)
    depth = plate_depth(
        beam, draw_plate(0, "6082", 2.0, parameters.plate, np.random.default_rng(0))
    )

    def generalised_variance(**changes):
        one = Beam(preset("alloys5", **changes))
        now = nominal_circumstances(one.parameters)
        return np.linalg.det(coefficient_covariance(one, now, depth, 32, Reduction(one)))

    usual = generalised_variance()
    for key in ("exposure__output_sd", "scatter__ratio_sd", "wedge__shift_sd_mm",
                "tube__voltage_drift_sd_kv", "wedge__height_sd"):  # fmt: skip
        assert generalised_variance(**{key: 0.0}) < usual, key
    assert generalised_variance(exposure__photons_per_mm2=2.8e6) < usual / 10


def test_what_is_approximated_is_said():
    assert caveats(preset("easy")) == []
    assert "gets 0.5 photons" in caveats(preset("easy", exposure__photons_per_mm2=0.5), 60)[-1]
    study = preset("study", layout__name="full", texture__waviness_um=10)
    assert ["40 to 50 kV" in caveats(study)[0], len(caveats(study))] == [True, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alloys", "1050"], "alloys must name two or more alloys to compare, got 1050"),
        (["--preset", "hard"], "preset must be"),
        (["--set", "tube.voltge_kvp=3"], "did you mean tube.voltage_kvp"),
        (["."], "a ceiling needs a simulated data set, . has no simulation.yaml; only"),
        (["none"], "must be a simulated folder or its simulation.yaml, but none does not exist"),
        (["--figure", "ceiling.pdf"], "--figure must end in .png, got ceiling.pdf"),
    ],
)
def test_a_user_error_is_one_line(runner, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(main, ["ceiling", *arguments])
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_command_prints_the_ceiling_of_a_preset(runner):
    result = runner.invoke(main, ["ceiling", "--preset", "hard2", "--image-size", "48"])
    assert result.exit_code == 0
    assert result.stdout.startswith("reference ceiling, simulated, preset hard2, 48×48\naccuracy ")
    assert "uniform range of 40 to 50 kV" in result.stdout
    assert result.stderr == ""


def test_command_takes_a_simulated_folder_with_its_long_tail(runner, tmp_path):
    made = runner.invoke(
        main,
        ["simulate", str(tmp_path / "set"), "--preset", "alloys5", "--images", "60",
         "--image-size", "24", "--imbalance", "9"],
    )  # fmt: skip
    assert made.exit_code == 0
    result = runner.invoke(main, ["ceiling", str(tmp_path / "set"), "--json"])
    found = json.loads(result.stdout)
    assert found["image_size"] == 24
    assert found["shares"][0] == pytest.approx(9 * found["shares"][-1], rel=0.4)
    recall = [found["recall"][label] for label in found["classes"]]
    assert np.dot(recall, found["shares"]) == pytest.approx(found["accuracy"])
    clash = runner.invoke(main, ["ceiling", str(tmp_path / "set"), "--preset", "easy"])
    assert clash.exit_code == 2


def test_other_classes_than_those_of_the_data_set_are_equally_frequent(tmp_path):
    recipe = make_recipe("alloys5", images=60, image_size=16, imbalance=9)
    file = tmp_path / "simulation.yaml"
    file.write_text(recipe_text(recipe), encoding="utf-8")
    by_option = alloyk.ceiling(file, alloys="1050,2017,5083").ceiling
    assert alloyk.ceiling(file, set={"alloys": "1050,2017,5083"}).ceiling == by_option
    assert by_option.shares == pytest.approx([1 / 3] * 3)
    assert 0 < by_option.accuracy < 1
    kept = alloyk.ceiling(file, set={"wedge.height_mm": 12}).ceiling
    assert kept.shares[0] > 5 * kept.shares[-1]
    with pytest.raises(ConfigError, match="shares must be above 0 for at least one of 5083, 6082"):
        reference_ceiling(preset("alloys5", alloys="5083,6082"), 16, shares={"1050": 3})


def test_figure_is_written(runner, tmp_path):
    result = runner.invoke(
        main, ["ceiling", "--image-size", "16", "--figure", str(tmp_path / "c.png")]
    )
    assert result.exit_code == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_plan_draws_plates_that_no_data_set_holds():
    from alloyk.simulator.dataset import sampling

    streams = {
        sampling.PANEL,
        sampling.PLATES,
        sampling.IMAGES,
        sampling.TEXTURES,
        sampling.FLATS,
        sampling.DARKS,
    }
    assert not streams & {ceiling._NOW, estimates._DENSITY, estimates._HELD_OUT}


def _joint_formula(beam, exposures, depth, size, reduction):
    """Covariance of the coefficients by one Fisher matrix of all pixels of all images, inverted."""
    parameters = beam.parameters
    priors = prior_standard_deviations(parameters)
    own = ("output", "tube_voltage_kvp")
    shared = [name for name in priors if name not in own]
    unknowns = [("plate", axis) for axis in (0, 1)] + [(None, name) for name in shared]
    unknowns += [(image, name) for image in range(len(exposures)) for name in own]
    pixel_mm = parameters.layout.field_mm / size
    count = open_beam_photons(beam, size) / (
        parameters.detector.full_scale * parameters.detector.greatest_count
    )
    extra = (parameters.detector.electronic_noise_per_mm * pixel_mm) ** 2 + count**2 / 12

    def images(unknown=None, step=0.0):
        parts = []
        for number, now in enumerate(exposures):
            here = depth
            if unknown is not None:
                kind, name = unknown
                if kind == "plate":
                    here = depth + step * reduction.basis_per_unit[name]
                elif kind in (None, number):
                    value = getattr(now, name)
                    moved = value * math.exp(step) if name == "output" else value + step
                    now = replace(now, **{name: moved})
            found = expected_image(beam, now, here, size, np.float64)
            parts.append(np.stack([found.signal.ravel(), found.variance.ravel() + extra]))
        return np.concatenate(parts, axis=1)

    variance = images()[1]
    slopes = []
    for unknown in unknowns:
        step = 1e-3
        slopes.append((images(unknown, step) - images(unknown, -step)) / (2 * step))
    signal, spread = np.moveaxis(np.stack(slopes), 1, 0)
    fisher = (signal / variance) @ signal.T + (spread / variance**2) @ spread.T / 2
    fisher *= 1 - parameters.detector.dead_pixels
    prior = [0.0, 0.0] + [priors[name] ** -2 for _, name in unknowns[2:]]
    return np.linalg.inv(fisher + np.diag(prior))[:2, :2]


@pytest.mark.parametrize("channels", [(50.0,), (40.0, 50.0), (40.0, 45.0, 50.0)])
def test_joint_covariance_equals_one_matrix_of_all_pixels(channels):
    parameters = preset("hard5", tube__channels_kvp=channels)
    beam, size = Beam(parameters), 20
    exposures, reduction = nominal_exposures(parameters), Reduction(beam)
    assert [now.tube_voltage_kvp for now in exposures] == list(channels)
    plate = draw_plate(0, "6082", 2.0, parameters.plate, np.random.default_rng(1))
    depth = plate_depth(beam, plate)
    found = joint_covariance(beam, exposures, depth, size, reduction)
    expected = _joint_formula(beam, exposures, depth, size, reduction)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_information_of_channels_adds_up_where_everything_else_is_known():
    parameters = with_overrides(
        preset_parameters("alloys5"), EVERYTHING_KNOWN | {"tube.channels_kvp": [40, 50]}
    )
    beam = Beam(parameters)
    exposures, reduction = nominal_exposures(parameters), Reduction(beam)
    plate = draw_plate(0, "5083", 2.0, parameters.plate, np.random.default_rng(1))
    depth = plate_depth(beam, plate)
    alone = [coefficient_covariance(beam, now, depth, 16, reduction) for now in exposures]
    together = joint_covariance(beam, exposures, depth, 16, reduction)
    np.testing.assert_allclose(np.linalg.inv(together), sum(map(np.linalg.inv, alone)), rtol=1e-9)


def test_one_channel_has_the_ceiling_of_its_voltage():
    alone = reference_ceiling(preset("alloys5", tube__voltage_kvp=45), 32)
    channel = reference_ceiling(preset("alloys5", tube__channels_kvp=[45]), 32)
    assert channel == alone


def test_channels_raise_the_ceiling():
    one, three = (
        reference_ceiling(preset("alloys5", tube__channels_kvp=kvp), 32)
        for kvp in ([50], [40, 45, 50])
    )
    gain = np.subtract(three.by_block, one.by_block)
    assert gain.mean() > 5 * gain.std(ddof=1) / math.sqrt(len(gain))
    assert "For all 3 images of a sample together, 40, 45, 50 kV" in " ".join(
        caveats(preset("alloys5", tube__channels_kvp=[40, 45, 50]), 32)
    )


def test_stepped_voltages_count_equally_in_any_order():
    alone = [
        reference_ceiling(preset("hard2", tube__voltage_steps_kvp=kvp), 32) for kvp in (40, 50)
    ]
    halfway = np.mean([one.accuracy for one in alone])
    assert alone[1].accuracy > halfway + 0.04
    for drawn, within in ((False, 0.01), (True, 0.03)):
        for steps in ([40, 50], [50, 40]):
            found = reference_ceiling(
                preset("hard2", tube__voltage_steps_kvp=steps), 32, drawn_circumstances=drawn
            )
            assert found.accuracy == pytest.approx(halfway, abs=within)
    uneven = reference_ceiling(preset("hard2", tube__voltage_steps_kvp=[40, 50, 40]), 32)
    weighted = np.average([one.accuracy for one in alone], weights=[2, 1])
    assert uneven.accuracy == pytest.approx(weighted, abs=0.01)
    assert "take 40, 50 kV in turn" in caveats(preset("hard2", tube__voltage_steps_kvp=[40, 50]))[0]


def test_a_data_set_has_the_ceiling_of_the_voltages_that_its_plates_take(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = make_recipe("hard2", images=4, image_size=16,
                         overrides={"tube.voltage_steps_kvp": [50, 40]})  # fmt: skip
    (tmp_path / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
    first = reference_ceiling(preset("hard2", tube__voltage_steps_kvp=50), 16)
    assert alloyk.ceiling(tmp_path).accuracy == first.accuracy
    assert dataset_ceiling(tmp_path, ["1050", "2017"])["accuracy"] == first.accuracy
    both = replace(recipe, images_per_plate=2)
    (tmp_path / "simulation.yaml").write_text(recipe_text(both), encoding="utf-8")
    assert alloyk.ceiling(tmp_path).accuracy < first.accuracy - 0.02


def test_detection_is_the_mean_over_the_stepped_voltages():
    found = {}
    for steps in ([35], [59], [35, 59], [59, 35]):
        known = preset("easy", tube__voltage_steps_kvp=steps, plate__thicknesses_mm=2,
                       exposure__photons_per_mm2=340)  # fmt: skip
        foreign = with_overrides(known, {"alloys": "5083"})
        found[tuple(steps)] = best_detection(known, foreign, 16, blocks=4).share
    assert found[35,] - found[59,] > 0.25
    for steps in ((35, 59), (59, 35)):
        assert found[steps] == pytest.approx((found[35,] + found[59,]) / 2, abs=0.06)
