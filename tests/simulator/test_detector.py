import numpy as np
import pytest
from scipy import ndimage, stats

from alloyk.simulator.dataset.recipe import make_recipe
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.physics.detector import Panel, blur, blur_kernel
from alloyk.simulator.physics.forward import Expectation
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters

EVEN = {"detector.fixed_pattern_sd": 0, "detector.residual": 0, "detector.dead_pixels": 0}


@pytest.mark.parametrize("photons_per_mm2", [1e3, 3e4, 1e6])
def test_mean_and_variance_of_a_flat_region_follow_the_formula(photons_per_mm2):
    """Open beam at three exposures, through the whole chain from photons to counts."""
    size, frames = 48, 60
    recipe = make_recipe(
        "easy", image_size=size, seed=4,
        overrides=EVEN | {
            "exposure.photons_per_mm2": photons_per_mm2, "exposure.output_sd": 0,
            "scatter.ratio_sd": 0, "tube.voltage_drift_sd_kv": 0, "detector.psf_sd_mm": 0.5,
            "detector.adc_bits": 16,
        },
    )  # fmt: skip
    simulator = Simulator(recipe)
    counts = np.stack([simulator.flat(nth)[0] for nth in range(frames)]).astype(float)

    pixel_mm = 60 / size
    photons = photons_per_mm2 * pixel_mm**2
    counts_per_photon = 0.8 * 65535 / photons
    # Photon equivalents: open beam and scatter; blur averages the quantum noise only.
    spectrum, energy = simulator.beam.absorbed_spectrum(50.0), simulator.beam.energy_kev
    second = spectrum.sum() * (spectrum * energy**2).sum() / (spectrum * energy).sum() ** 2
    quantum = photons * (second / 0.93 + 1.05 * 0.05)
    kernel = blur_kernel(0.5 / pixel_mm).astype(float)
    variance = quantum * (kernel**2).sum() ** 2 + (5.33 * pixel_mm) ** 2
    expected = variance * counts_per_photon**2 + 1 / 12  # rounding to whole counts
    inner = counts[:, 6:-6, 6:-6]  # mirrored borders are smoother
    assert inner.mean() == pytest.approx(photons * 1.05 * counts_per_photon, rel=1e-3)
    # 78,000 correlated pixels: a standard error of about 0.7 %.
    assert inner.var(axis=0, ddof=1).mean() == pytest.approx(expected, rel=0.025)


def test_noise_behind_the_plate_is_relatively_larger_but_absolutely_smaller():
    recipe = make_recipe("easy", images=1, image_size=32, alloys=("1050",), overrides=EVEN)
    simulator = Simulator(recipe)
    (planned,) = recipe.plan()
    expected = simulator.expected(planned)
    frames = np.stack(
        [simulator.panel.record(expected, np.random.default_rng(n)) for n in range(200)]
    )
    mean, sd = frames.mean(axis=0), frames.std(axis=0)
    bare, plate = (slice(4, 12), slice(10, 26)), (slice(20, 28), slice(10, 26))
    assert sd[plate].mean() < sd[bare].mean()
    assert (sd / mean)[plate].mean() > (sd / mean)[bare].mean()
    panel = simulator.panel
    scale = panel.counts_per_photon
    kernel_square = (panel.kernel.astype(float) ** 2).sum() ** 2
    for region in (bare, plate):
        np.testing.assert_allclose(
            mean[region].mean(), expected.signal[region].mean() * scale, rtol=2e-3
        )
        variance = expected.variance[region].mean() * kernel_square + panel.electronic_noise**2
        np.testing.assert_allclose((sd[region] ** 2).mean(), variance * scale**2, rtol=0.03)


@pytest.mark.parametrize("sd", [0.1, 0.4, 0.9333, 3.0])
def test_blur_kernel_is_a_gaussian_averaged_over_the_pixel(sd):
    kernel = blur_kernel(sd).astype(float)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    share = stats.norm.cdf(offsets + 0.5, scale=sd) - stats.norm.cdf(offsets - 0.5, scale=sd)
    np.testing.assert_allclose(kernel, share, atol=1e-4)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    if sd > 0.9:  # where the samples are dense enough: a pixel adds the variance of its width
        assert (kernel * offsets**2).sum() == pytest.approx(sd**2 + 1 / 12, rel=0.01)


@pytest.mark.parametrize("sd", [0.4, 2.0])
def test_blur_is_scipys_with_mirrored_borders(sd):
    image = np.random.default_rng(0).random((19, 19), np.float32)
    kernel = blur_kernel(sd)
    expected = ndimage.correlate1d(
        ndimage.correlate1d(image, kernel, 0, mode="reflect"), kernel, 1, mode="reflect"
    )
    np.testing.assert_allclose(blur(image, kernel), expected, rtol=1e-5)


def panel(size=64, **changes):
    parameters = with_overrides(
        Parameters(), {f"detector.{key}": value for key, value in changes.items()}
    )
    return Panel(parameters, size, 1.0, np.random.default_rng(1))


def steady(size, value):
    """A signal without quantum noise."""
    return Expectation(np.full((size, size), value, np.float32), np.zeros((size, size), np.float32))


def test_counts_end_at_the_converters_depth():
    still = panel(electronic_noise_per_mm=0, fixed_pattern_sd=0, residual=0, dead_pixels=0)
    rng = np.random.default_rng(0)
    assert (still.record(steady(64, 1e6), rng) == 2**14 - 1).all()
    assert (still.record(steady(64, -5.0), rng) == 0).all()
    assert (still.record(steady(64, 100.4), rng) == 100).all()


def test_fixed_pattern_stays_while_noise_changes():
    worn = panel(fixed_pattern_sd=0.05, residual=0, dead_pixels=0, psf_sd_mm=0)
    first, second = (worn.record(steady(64, 1e4), np.random.default_rng(n)) for n in (1, 2))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.99
    assert first.std() == pytest.approx(500, rel=0.05)
    assert (first != second).any()


def test_smooth_residual_is_the_stated_surface():
    tilted = panel(fixed_pattern_sd=0, residual=0.1, dead_pixels=0)
    x = 30 - 60 / 64 / 2  # centre of the last pixel
    assert tilted.gain[-1, -1] == pytest.approx(1 + 0.1 * (x / 30 + 2 * x**2 / 1800), rel=1e-6)
    assert tilted.gain[-1, 0] == pytest.approx(1 + 0.1 * (-x / 30 + 2 * x**2 / 1800), rel=1e-6)


def test_share_of_dead_pixels():
    broken = panel(400, dead_pixels=0.01, fixed_pattern_sd=0)
    counts = broken.record(steady(400, 5000.0), np.random.default_rng(0))
    assert (counts == 0).mean() == pytest.approx(0.01, rel=0.1)
    assert ((counts == 0) == broken.dead).all()


def test_electronic_noise_of_binned_pixels_adds_in_squares():
    assert panel(64).electronic_noise == pytest.approx(5.0, rel=1e-3)
    assert panel(32).electronic_noise == pytest.approx(10.0, rel=1e-3)


def test_offset_keeps_the_dark_level_off_the_floor():
    dark = panel(fixed_pattern_sd=0, dead_pixels=0, offset_counts=100)
    counts = dark.record(steady(64, 0.0), np.random.default_rng(0))
    assert counts.mean() == pytest.approx(100, abs=0.5)
    assert counts.std() == pytest.approx(5.0, rel=0.05)
