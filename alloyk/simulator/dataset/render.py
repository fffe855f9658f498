"""Rendering: the images of a recipe, one at a time."""

from functools import lru_cache

import numpy as np

from alloyk.simulator.dataset import sampling
from alloyk.simulator.dataset.recipe import Recipe
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.detector import Panel
from alloyk.simulator.physics.forward import (
    Expectation,
    expected_image,
    open_beam_photons,
    plate_depth,
)
from alloyk.simulator.physics.scene import Circumstances, FloatType, draw_circumstances
from alloyk.simulator.physics.texture import shifted, texture_map
from alloyk.simulator.physics.validity import refuse_saturation


class Simulator:
    """Renders the images of one recipe. Threads may share it.

    Args:
        recipe: The recipe.

    Attributes:
        recipe: As given.
        beam: Tube, filters, wedge and scintillator.
        panel: The detector with its fixed pattern.

    Raises:
        ConfigError: The beam cannot be computed, see `Beam`, or most pixels would saturate.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.beam = Beam(recipe.parameters)
        refuse_saturation(self.beam, recipe.image_size)
        detector = recipe.parameters.detector
        nominal = open_beam_photons(self.beam, recipe.image_size)
        self.panel = Panel(
            recipe.parameters,
            recipe.image_size,
            detector.full_scale * detector.greatest_count / nominal,
            sampling.generator(recipe.seed, sampling.PANEL),
        )
        # The images of a plate are consecutive, so a few maps are enough.
        self._plate_texture = lru_cache(maxsize=8)(self._make_texture)

    def image(self, planned: sampling.PlannedImage) -> np.ndarray:
        """Counts of one planned image, uint16 `(image_size, image_size)`."""
        return self.panel.record(
            self.expected(planned), sampling.generator(planned.seed, sampling.NOISE)
        )

    def expected(
        self, planned: sampling.PlannedImage, dtype: FloatType = np.float32
    ) -> Expectation:
        """Expected signal and variance of one planned image, before blur and noise."""
        depth = plate_depth(self.beam, planned.plate, planned.now.tilt_deg)
        texture = None
        if not self.recipe.parameters.texture.is_off:
            plate = planned.plate
            pixel_mm = self.recipe.parameters.layout.field_mm / self.recipe.image_size
            texture = shifted(
                self._plate_texture(plate.index, plate.true_thickness_mm),
                planned.now.plate_edge_mm / pixel_mm,
                -planned.now.scan_mm / pixel_mm,
                self.recipe.image_size,
            )
        return expected_image(
            self.beam, planned.now, depth, self.recipe.image_size, dtype, texture=texture
        )

    def flat(self, nth: int) -> tuple[np.ndarray, Circumstances, int]:
        """A flat frame: no wedge and no plate, circumstances drawn as for an image.

        Returns:
            Counts, circumstances and seed.
        """
        seed, now = self._frame(sampling.FLATS, nth)
        open_beam = self.beam.curves(now.tube_voltage_kvp)
        photons = now.output * open_beam_photons(
            self.beam, self.recipe.image_size, now.tube_voltage_kvp
        )
        weight = self.recipe.parameters.scatter.noise_weight
        expected = Expectation(
            self._uniform(photons * (1 + now.scatter_ratio)),
            self._uniform(photons * (open_beam.variance[0] + weight * now.scatter_ratio)),
        )
        return self.panel.record(expected, sampling.generator(seed, sampling.NOISE)), now, seed

    def dark(self, nth: int) -> tuple[np.ndarray, Circumstances, int]:
        """A dark frame: the beam is off. Returns the same as `flat`."""
        seed, now = self._frame(sampling.DARKS, nth)
        nothing = self._uniform(0.0)
        counts = self.panel.record(
            Expectation(nothing, nothing), sampling.generator(seed, sampling.NOISE)
        )
        return counts, now, seed

    def _frame(self, stream: int, nth: int) -> tuple[int, Circumstances]:
        seed = sampling.image_seed(self.recipe.seed, stream, nth)
        rng = sampling.generator(seed, sampling.CIRCUMSTANCES)
        return seed, draw_circumstances(self.recipe.parameters, rng, nth)

    def _uniform(self, value: float) -> np.ndarray:
        return np.full((self.recipe.image_size,) * 2, value, np.float32)

    def _make_texture(self, plate_index: int, thickness_mm: float) -> np.ndarray:
        parameters, recipe = self.recipe.parameters, self.recipe
        scan_mm = (recipe.images_per_plate - 1) * parameters.plate.scan_step_mm
        return texture_map(
            parameters.texture,
            thickness_mm,
            parameters.layout.field_mm / recipe.image_size,
            recipe.image_size,
            scan_mm,
            sampling.generator(recipe.seed, sampling.TEXTURES, plate_index),
        )
