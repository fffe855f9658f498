import math
from dataclasses import replace

import numpy as np
import pytest

from alloyk.imaging.drawing import equalised
from alloyk.simulator.dataset.sampling import generator
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.forward import expected_image, open_beam_photons, plate_depth
from alloyk.simulator.physics.plate import draw_plate
from alloyk.simulator.physics.scene import build_scene, draw_circumstances, nominal_circumstances
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters
from alloyk.simulator.settings.presets import preset_parameters

NOMINAL = with_overrides(
    Parameters(), {"plate.thickness_law": "exact", "plate.composition_law": "nominal"}
)
BEAM = Beam(NOMINAL)
NOW = nominal_circumstances(NOMINAL)
SKEW = replace(
    NOW, wedge_shift_mm=3.1, wedge_rotation_deg=-4.0, plate_edge_mm=5.3, wedge_height_mm=9.97,
    scatter_ratio=0.08, output=0.93, tube_voltage_kvp=46.3,
)  # fmt: skip


def plate_of(label, thickness_mm):
    return draw_plate(0, label, thickness_mm, NOMINAL.plate, generator(0))


def depth_of(label, thickness_mm, beam=BEAM):
    return plate_depth(beam, plate_of(label, thickness_mm))


# Measured on an independent prototype at 50 kV: ln(I without / I with the plate) behind w mm of
# wedge for 1050 and 2017 of 1, 2 and 5 mm, and the transmission of the wedge alone.
PLATES = [("1050", 1), ("2017", 1), ("1050", 2), ("2017", 2), ("1050", 5), ("2017", 5)]
REFERENCE = {
    0: (0.4440, 0.5903, 0.7673, 0.9996, 1.5111, 1.9262, 1),
    2: (0.2750, 0.3805, 0.5206, 0.7076, 1.1593, 1.5355, 0.469),
    5: (0.2124, 0.2954, 0.4140, 0.5695, 0.9736, 1.3128, 0.224),
    10: (0.1760, 0.2439, 0.3478, 0.4791, 0.8431, 1.1460, 0.0858),
}


@pytest.mark.parametrize("wedge_mm", REFERENCE)
def test_contrasts_of_the_reference(wedge_mm):
    def at(curve):
        return np.exp(np.interp(wedge_mm, BEAM.wedge_nodes_mm, np.log(curve)))

    bare = at(BEAM.curves(50.0).signal)
    found = [math.log(bare / at(BEAM.curves(50.0, depth_of(*one)).signal)) for one in PLATES]
    np.testing.assert_allclose([*found, bare], REFERENCE[wedge_mm], rtol=5e-3)


@pytest.mark.parametrize(("thickness_mm", "as_1050_mm"), [(1, 1.43), (2, 2.84), (5, 7.02)])
def test_2017_looks_like_a_thicker_plate_of_1050(thickness_mm, as_1050_mm):
    """Equivalent thickness in the open beam, found by the same prototype."""
    wanted = BEAM.curves(50.0, depth_of("2017", thickness_mm)).signal[0]
    per_mm = depth_of("1050", 1)
    grid = np.linspace(1, 8, 1401)
    signal = [BEAM.curves(50.0, per_mm * t).signal[0] for t in grid]
    assert np.interp(-wanted, -np.array(signal), grid) == pytest.approx(as_1050_mm, rel=5e-3)


def test_variance_of_a_photon_is_that_of_its_energy_and_light():
    """V(0) against photons drawn one by one, each with a random light yield."""
    rng = np.random.default_rng(3)
    spectrum = BEAM.absorbed_spectrum(50.0)
    energy = rng.choice(BEAM.energy_kev, 400_000, p=spectrum / spectrum.sum())
    # Swank = <light>² / <light²>, here from a gamma law of mean 1.
    swank = NOMINAL.detector.swank
    spread = 1 / swank - 1
    light = rng.gamma(1 / spread, spread, len(energy))
    signal = energy * light / energy.mean()
    # The sum of a Poisson number of such signals has the variance <signal²> per photon.
    assert BEAM.curves(50.0).variance[0] == pytest.approx((signal**2).mean(), rel=5e-3)


def test_swank_factor_divides_the_variance():
    ideal = Beam(with_overrides(NOMINAL, {"detector.swank": 1.0})).curves(50.0)
    np.testing.assert_allclose(BEAM.curves(50.0).variance * 0.93, ideal.variance)


def test_scintillator_stops_what_its_depth_says():
    # At 30.25 keV, where CsI has 9.04 cm²/g: 0.4 mm of 4.51 g/cm³.
    import xraydb

    mu = xraydb.material_mu("CsI", 30_250, density=4.51)
    thick = Beam(with_overrides(NOMINAL, {"detector.csi_mm": 100.0})).absorbed_spectrum(50)
    thin = BEAM.absorbed_spectrum(50)
    at = np.searchsorted(BEAM.energy_kev, 30.0)
    assert BEAM.energy_kev[at] == 30.25
    assert thin[at] / thick[at] == pytest.approx(1 - math.exp(-mu * 0.04), rel=1e-4)


@pytest.mark.parametrize("now", [NOW, SKEW], ids=["nominal", "skew"])
def test_image_is_the_formula_at_each_pixel(now):
    """Beer's law summed over energies at each pixel's own thicknesses, without any table."""
    size, pixel = 40, 60 / 40
    depth = depth_of("2017", 2)
    found = expected_image(BEAM, now, depth, size, np.float64)

    axis = (np.arange(size) + 0.5) * pixel - 30
    x, y = np.meshgrid(axis, axis)
    turn = math.radians(now.wedge_rotation_deg)
    along = x * math.cos(turn) + y * math.sin(turn) - now.wedge_shift_mm + 25
    wedge_mm = np.clip(along, 0, 50) / 50 * now.wedge_height_mm
    wedge_mm[along > 50] = 0
    edge = (y - now.plate_edge_mm) * math.cos(turn / 2) - x * math.sin(turn / 2)

    spectrum = BEAM.absorbed_spectrum(now.tube_voltage_kvp)
    mu_wedge = 0.270 * BEAM.attenuation.mu_over_rho["Al"]
    path = wedge_mm[..., None] * mu_wedge + (edge > 0)[..., None] * depth
    behind = spectrum * np.exp(-path)
    mean_kev = (spectrum * BEAM.energy_kev).sum() / spectrum.sum()
    signal = (behind * BEAM.energy_kev).sum(-1) / mean_kev / spectrum.sum()
    variance = (behind * BEAM.energy_kev**2).sum(-1) / mean_kev**2 / spectrum.sum() / 0.93
    photons = 2.8e5 * pixel**2 * now.output
    # Away from the soft edges; ⟨A⟩ is the simulator's own there, half a pixel of edge differs.
    clear = (np.abs(edge) > pixel) & (np.abs(along - 50) > pixel)
    pedestal = found.signal.mean() / (1 + now.scatter_ratio) * now.scatter_ratio
    expected = photons * signal + pedestal
    np.testing.assert_allclose(found.signal[clear], expected[clear], rtol=3e-4)
    expected = photons * variance + 1.05 * pedestal
    np.testing.assert_allclose(found.variance[clear], expected[clear], rtol=3e-4)
    assert clear.mean() > 0.85


@pytest.mark.parametrize("size", [24, 41])
@pytest.mark.parametrize("rotation", [0.0, 5.0])
def test_edges_are_where_they_should_be_to_a_fraction_of_a_pixel(size, rotation):
    now = replace(NOW, wedge_rotation_deg=rotation, wedge_shift_mm=2.345, plate_edge_mm=-3.21)
    scene = build_scene(NOMINAL, now, size, np.float64)
    pixel = 60 / size
    plate_mm2 = (scene.covered.sum() + (size - scene.inside_row) * size) * pixel**2
    open_mm2 = scene.beyond_face.sum() * pixel**2
    # A straight edge through (0, edge) halves the field's columns about it, whatever its slope.
    assert plate_mm2 == pytest.approx(60 * (30 + 3.21), abs=0.02)
    face_mm = (25 + 2.345) / math.cos(math.radians(rotation))
    assert open_mm2 == pytest.approx(60 * (30 - face_mm), abs=1.0 if rotation else 0.02)


def test_float32_images_are_as_good_as_float64():
    depth = depth_of("1050", 5)
    single, double = (expected_image(BEAM, SKEW, depth, 64, t) for t in (np.float32, np.float64))
    np.testing.assert_allclose(single.signal, double.signal, rtol=2e-5)
    np.testing.assert_allclose(single.variance, double.variance, rtol=2e-5)


def test_output_scales_signal_and_variance_alike():
    depth = depth_of("2017", 1)
    one = expected_image(BEAM, NOW, depth, 16, np.float64)
    more = expected_image(BEAM, replace(NOW, output=1.25), depth, 16, np.float64)
    np.testing.assert_allclose(more.signal, 1.25 * one.signal)
    np.testing.assert_allclose(more.variance, 1.25 * one.variance)


def test_scatter_adds_an_even_pedestal():
    depth = depth_of("2017", 1)
    none, some = (
        expected_image(BEAM, replace(NOW, scatter_ratio=r), depth, 16, np.float64) for r in (0, 0.1)
    )
    np.testing.assert_allclose(some.signal - none.signal, 0.1 * none.signal.mean())
    np.testing.assert_allclose(some.variance - none.variance, 0.105 * none.signal.mean())


def test_tilt_lengthens_the_path():
    np.testing.assert_allclose(
        plate_depth(BEAM, plate_of("1050", 2), 60.0), 2 * plate_depth(BEAM, plate_of("1050", 2))
    )


@pytest.mark.parametrize(
    ("preset", "size", "photons"),
    # Photons per pixel for which the presets were tuned; the default set's at 224².
    [("study", 64, 2e3), ("study-noisy", 64, 300), ("hard5", 64, 2e4), ("alloys5", 224, 2e4)],
)
def test_exposure_of_the_presets(preset, size, photons):
    beam = Beam(preset_parameters(preset))
    assert open_beam_photons(beam, size) == pytest.approx(photons, rel=0.015)


def test_image_size_bins_a_fixed_exposure():
    per_image = {size: open_beam_photons(BEAM, size) * size**2 for size in (64, 224, 800)}
    assert per_image[64] == pytest.approx(per_image[224]) == pytest.approx(per_image[800])


def test_exposure_time_follows_output_current_time_and_distance():
    def photons(voltage=None, **changes):
        settings = {f"exposure.{key}": value for key, value in changes.items()}
        beam = Beam(with_overrides(NOMINAL, {"tube.voltage_range_kvp": (40, 50)} | settings))
        return open_beam_photons(beam, 600, voltage)

    one = photons(50.0, exposure_time_s=1)
    assert one == pytest.approx(8900, rel=0.1)  # 0.1 mm pixels, 0.3 mA, 60 cm; SpekPy
    assert photons(50.0, exposure_time_s=2, tube_current_ma=0.6) == pytest.approx(4 * one)
    assert photons(50.0, exposure_time_s=1, source_detector_mm=1200) == pytest.approx(one / 4)
    # Photons of a filtered tube grow faster than the voltage squared.
    assert photons(40.0, exposure_time_s=1) < one * 0.8**2
    assert photons(40.0) == photons(50.0)  # stated per mm², the exposure is held
    assert photons(None, exposure_time_s=1) == one


def test_only_the_step_layout_survives_equalisation():
    """Why step is the default: where plate and wedge fill the field, ranks show no plate."""
    difference = {}
    for layout in ("step", "full"):
        parameters = with_overrides(NOMINAL, {"layout.name": layout})
        beam = Beam(parameters)
        images = [
            expected_image(
                beam, nominal_circumstances(parameters), depth_of(*one, beam), 96, np.float64
            )
            for one in (("1050", 1), ("2017", 5))
        ]
        ranks = [255 * equalised(image.signal.round(6)) for image in images]
        difference[layout] = np.abs(ranks[0] - ranks[1]).mean()
    assert difference["full"] < 0.5
    assert difference["step"] > 30


def test_the_edge_stays_in_view_on_the_mean_as_in_every_draw():
    parameters = with_overrides(NOMINAL, {"plate.edge_mm": 40, "plate.edge_sd_mm": 0})
    drawn = draw_circumstances(parameters, generator(0))
    # A twelfth of the field of 60 mm is left below it.
    assert nominal_circumstances(parameters).plate_edge_mm == drawn.plate_edge_mm == 25


def test_texture_is_a_change_of_thickness():
    """A texture of +3 % gives the image of a plate 3 % thicker."""
    depth = depth_of("2017", 2)
    texture = np.full((32, 32), 0.03, np.float32)
    now = replace(NOW, scatter_ratio=0.0)
    found = expected_image(BEAM, now, depth, 32, texture=texture)
    thicker = expected_image(BEAM, now, depth * 1.03, 32)
    even = expected_image(BEAM, now, depth, 32)
    ramp = slice(0, 29)  # pixel 29 lies across the wedge's face, where two slopes mix
    np.testing.assert_allclose(found.signal[:, ramp], thicker.signal[:, ramp], rtol=3e-4)
    np.testing.assert_allclose(found.variance[:, ramp], thicker.variance[:, ramp], rtol=3e-4)
    assert (even.signal[-1] / found.signal[-1]).min() > 1.01
    np.testing.assert_array_equal(even.signal[0], found.signal[0])
