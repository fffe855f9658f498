"""One recipe's images, one at a time."""

from functools import lru_cache

import numpy as np

from alloyk.xray import plan
from alloyk.xray.beam import Beam
from alloyk.xray.detector import Panel
from alloyk.xray.forward import Expectation, expected_image, open_beam_photons, plate_depth
from alloyk.xray.recipe import Recipe
from alloyk.xray.scene import Circumstances, draw_circumstances
from alloyk.xray.texture import shifted, texture_map
from alloyk.xray.validity import refuse_saturation


class Simulator:
    """Makes the images of one recipe; holds what they share. Threads may share it.

    Args:
        recipe: What to simulate.

    Attributes:
        recipe: As given.
        beam: Tube, filters, wedge and scintillator.
        panel: The detector with its fixed pattern.

    Raises:
        AlloykError: The beam cannot be computed, see :class:`alloyk.xray.beam.Beam`; most pixels
            would saturate.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.beam = Beam(recipe.parameters)
        refuse_saturation(self.beam, recipe.image_size)
        detector = recipe.parameters.detector
        nominal = open_beam_photons(self.beam, recipe.image_size)
        self.panel = Panel(
            recipe.parameters,
            recipe.image_size,
            detector.full_scale * detector.greatest_count / nominal,
            plan.generator(recipe.seed, plan.PANEL),
        )
        # The images of one plate follow each other, so a few maps are enough.
        self._plate_texture = lru_cache(maxsize=8)(self._make_texture)

    def image(self, planned: plan.PlannedImage) -> np.ndarray:
        """Counts of one planned image, uint16 ``(image_size, image_size)``."""
        return self.panel.record(self.expected(planned), plan.generator(planned.seed, plan.NOISE))

    def expected(self, planned: plan.PlannedImage, dtype=np.float32) -> Expectation:
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
        """An exposure without wedge and plate; its circumstances are drawn as for an image.

        Returns:
            Counts, circumstances and seed.
        """
        seed, now = self._frame(plan.FLATS, nth)
        open_beam = self.beam.curves(now.tube_voltage_kvp)
        photons = now.output * open_beam_photons(
            self.beam, self.recipe.image_size, now.tube_voltage_kvp
        )
        weight = self.recipe.parameters.scatter.noise_weight
        expected = Expectation(
            self._uniform(photons * (1 + now.scatter_ratio)),
            self._uniform(photons * (open_beam.variance[0] + weight * now.scatter_ratio)),
        )
        return self.panel.record(expected, plan.generator(seed, plan.NOISE)), now, seed

    def dark(self, nth: int) -> tuple[np.ndarray, Circumstances, int]:
        """A frame with the beam off; returns as :meth:`flat`."""
        seed, now = self._frame(plan.DARKS, nth)
        nothing = self._uniform(0.0)
        counts = self.panel.record(Expectation(nothing, nothing), plan.generator(seed, plan.NOISE))
        return counts, now, seed

    def _frame(self, stream: int, nth: int) -> tuple[int, Circumstances]:
        seed = plan.image_seed(self.recipe.seed, stream, nth)
        rng = plan.generator(seed, plan.CIRCUMSTANCES)
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
            plan.generator(recipe.seed, plan.TEXTURES, plate_index),
        )
