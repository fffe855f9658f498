"""Every number of the simulator, with its unit in its name and where it comes from.

Entries marked *assumption* were chosen, not measured: no real image was compared with the
simulation. Each can be set, from Python by ``overrides={"tube.voltage_kvp": 45}`` and from the
command line by ``--set tube.voltage_kvp=45`` (see :mod:`alloyk.simulator.settings.overrides`).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from alloyk.simulator.settings.field_types import (
    PHOTONS_PER_MM2,
    FilterThickness,
    Millimetres,
    Relative,
    Thicknesses,
    ThicknessRange,
    Voltage,
    VoltageRange,
    Voltages,
    check_order,
    limited,
    mapping,
    strings,
)


class Group(BaseModel):
    """Frozen; refuses unknown names, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tube(Group):
    """X-ray tube and filtration.

    Attributes:
        anode: Target material; W in the tables. Assumption.
        anode_angle_deg: 12° in the tables. Assumption.
        voltage_kvp: Peak voltage, 50 kV in the study.
        voltage_range_kvp: Draw the voltage of each image uniformly from LOW,HIGH instead.
        voltage_steps_kvp: Give the images of one plate these voltages in turn instead.
        voltage_drift_sd_kv: Unknown departure from the set voltage, normal, for each image.
            Assumption.
        beryllium_mm: The tube's window. Assumption.
        air_mm: Path in air, for its attenuation only. Assumption.
        filters_mm: Further filters, element → thickness. Assumption.
    """

    anode: str = "W"
    anode_angle_deg: Annotated[
        float, limited(1, 90, "degrees between the anode's face and the beam")
    ] = 12.0
    voltage_kvp: Voltage = 50.0
    voltage_range_kvp: VoltageRange | None = None
    voltage_steps_kvp: Voltages | None = None
    voltage_drift_sd_kv: Annotated[float, limited(0, 10, "kV; more is no drift")] = 0.1
    beryllium_mm: Annotated[float, limited(0, 100, "mm of the tube's window")] = 0.2
    air_mm: Annotated[float, limited(0, 1e5, "mm between tube and detector")] = 600.0
    filters_mm: Annotated[dict[str, FilterThickness], BeforeValidator(mapping)] = {"Al": 0.5}

    @model_validator(mode="after")
    def _check(self):
        check_order("voltage_range_kvp", self.voltage_range_kvp)
        return self


class Exposure(Group):
    """How much radiation an image gets.

    Attributes:
        photons_per_mm2: Photons absorbed in the open beam by 1 mm² of detector, whatever the
            image size: a pixel gets ``photons_per_mm2 · (field_mm / image_size)²``. It is held at
            every tube voltage, as by an automatic exposure control. Assumption.
        exposure_time_s: When given, it replaces `photons_per_mm2`: the exposure follows from the
            tube's output, current, time and distance, and so falls with the tube voltage.
        tube_current_ma: 0.3 mA in the study; matters with `exposure_time_s` only.
        source_detector_mm: Distance from focal spot to detector; likewise. Assumption.
        output_sd: Drift of the tube's output, standard deviation of ln(output), log-normal, for
            each image. Assumption.
    """

    photons_per_mm2: Annotated[float, AfterValidator(PHOTONS_PER_MM2)] = 2.8e5
    exposure_time_s: Annotated[float, limited(1e-6, 1e7, "s, from a flash to months")] | None = None
    tube_current_ma: Annotated[float, limited(1e-6, 1e4, "mA of an X-ray tube")] = 0.3
    source_detector_mm: Annotated[float, limited(10, 1e5, "mm between tube and detector")] = 600.0
    output_sd: Annotated[float, limited(0, 1, "of ln(output); 1 is a factor of e up and down")] = (
        0.01
    )


class Layout(Group):
    """What lies where in the field.

    Attributes:
        name: ``"step"``: the plate covers the lower half and there is open beam on both sides of
            the wedge. ``"full"``: plate and wedge fill the field, which makes the image monotone
            in wedge thickness, so that histogram equalisation leaves no signal: a trap, kept to
            show it. Assumption.
        field_mm: Side of the square field of view. Assumption.
    """

    name: Literal["step", "full"] = "step"
    field_mm: Annotated[float, limited(1, 1000, "mm, the side of a flat panel's field")] = 60.0


class Wedge(Group):
    """Triangular aluminium wedge; it rises along x and, in the step layout, ends in a face.

    Attributes:
        height_mm: Greatest thickness. Assumption (50 mm of thickness would pass 3e-4 of the beam).
        length_mm: Length of the ramp: the study's 5 cm earlier, 7 cm (70, in a wider field) now.
            The full layout stretches the ramp over the field instead.
        density_g_cm3: Aluminium.
        shift_sd_mm: Spread of its place along x, normal, for each image. Assumption.
        rotation_sd_deg: Spread of its rotation in the image plane, likewise. Assumption.
        height_sd: Relative spread of its height, likewise. Assumption.
    """

    height_mm: Annotated[
        float, limited(0.1, 200, "mm: a lower wedge is none, a higher one lets nothing through")
    ] = 10.0
    length_mm: Annotated[float, limited(1, 1000, "mm, as for the field")] = 50.0
    density_g_cm3: Annotated[float, limited(0.1, 25, "g/cm³ of any metal")] = 2.70
    shift_sd_mm: Millimetres = 0.3
    rotation_sd_deg: Annotated[
        float, limited(0, 10, "degrees: the model wants the ramp along x")
    ] = 0.5
    height_sd: Relative = 0.002


RANGE_PARTS = 6
"""Nominal thicknesses of a range, so that tables and splits by nominal thickness make sense."""


class PlateSpread(Group):
    """The plates: thickness, composition and how they are put into the beam.

    Attributes:
        thicknesses_mm: Nominal thicknesses, equally often in each class; 1, 2, 5 in the study.
        thickness_range_mm: Draw the true thickness uniformly from LOW,HIGH instead. Each sixth of
            the range comes equally often; its middle is the nominal thickness.
        thickness_law: How the true thickness departs from the nominal one. Assumption.
            ``"normal"``: N(0, tolerance / 3); ``"uniform"``: anywhere in ± tolerance (EN 485-4);
            ``"relative"``: N(0, `thickness_relative_sd`); ``"exact"``: not at all.
        tolerance_scale: Factor on the tolerance.
        thickness_relative_sd: Relative standard deviation of the law ``"relative"``.
        composition_law: ``"typical"``, ``"limits"`` or ``"nominal"``, see
            :func:`alloyk.alloys.draw_mass_fractions`. Assumption.
        compositions: Label → element → mass fraction; such plates have this composition, without
            any spread.
        tilt_sd_deg: The plate leans by |N(0, sd)|, which lengthens the path. Assumption.
        edge_mm: Mean place of the plate's upper edge below the middle of the field (step layout).
        edge_sd_mm: Its spread, normal, for each image; never nearer than a twelfth of the field
            to its border. Assumption.
        edge_rotation_ratio: The edge turns with this share of the wedge's rotation. Assumption.
        scan_step_mm: The plate moves sideways by this much between its images, as the study's
            plates were scanned; the wedge stays. Shows in a plate with texture only.
    """

    thicknesses_mm: Thicknesses = (1.0, 2.0, 5.0)
    thickness_range_mm: ThicknessRange | None = None
    thickness_law: Literal["normal", "uniform", "relative", "exact"] = "normal"
    tolerance_scale: Annotated[float, limited(0, 10, "times the tolerance of EN 485-4")] = 1.0
    thickness_relative_sd: Relative = 0.002
    composition_law: Literal["typical", "limits", "nominal"] = "typical"
    compositions: Annotated[dict[str, dict[str, float]], BeforeValidator(mapping)] = {}
    tilt_sd_deg: Annotated[float, limited(0, 20, "degrees: a steeper plate is seen on edge")] = 1.0
    edge_mm: Annotated[float, limited(-1000, 1000, "mm, as for the field")] = 0.0
    edge_sd_mm: Millimetres = 0.3
    edge_rotation_ratio: Annotated[float, limited(-1, 1, "of the wedge's rotation")] = 0.5
    scan_step_mm: Millimetres = 0.0

    @model_validator(mode="after")
    def _check(self):
        check_order("thickness_range_mm", self.thickness_range_mm)
        return self

    @property
    def nominal_thicknesses_mm(self) -> tuple[float, ...]:
        """Nominal thicknesses, which take turns plate by plate in each class."""
        if self.thickness_range_mm is None:
            return self.thicknesses_mm
        low, high = self.thickness_range_mm
        return tuple(low + (high - low) * (n + 0.5) / RANGE_PARTS for n in range(RANGE_PARTS))


class Texture(Group):
    """What makes a plate uneven, off by default. All of it is assumption.

    Attributes:
        waviness_um: Standard deviation of slow changes in thickness, as from rolling.
        waviness_mm: Their correlation length.
        grain_contrast: Standard deviation of the relative attenuation from grain to grain.
        grain_mm: Diameter of a grain.
        scratches_per_cm2: Mean number of scratches.
        scratch_depth_um: Depth of the deepest scratch.
        scratch_width_mm: Width of a scratch.
        scratch_length_mm: Mean length of a scratch.
    """

    waviness_um: Annotated[float, limited(0, 1000, "µm: more is no plate")] = 0.0
    waviness_mm: Annotated[float, limited(0.01, 1000, "mm, as for the field")] = 10.0
    grain_contrast: Annotated[float, limited(0, 0.1, "of the attenuation, from grain to grain")] = (
        0.0
    )
    grain_mm: Annotated[float, limited(0.001, 100, "mm, the diameter of a grain")] = 0.5
    scratches_per_cm2: Annotated[
        float, limited(0, 30, "per cm²: more leave no surface between them")
    ] = 0.0
    scratch_depth_um: Annotated[float, limited(0, 1000, "µm: more is no scratch")] = 20.0
    scratch_width_mm: Annotated[float, limited(0.001, 10, "mm: more is no scratch")] = 0.2
    scratch_length_mm: Annotated[float, limited(0.01, 1000, "mm, as for the field")] = 15.0

    @property
    def is_off(self) -> bool:
        """Whether plates are even."""
        return not (self.waviness_um or self.grain_contrast or self.scratches_per_cm2)


class Scatter(Group):
    """Scattered radiation: an even pedestal in proportion to the mean of the primary image.

    Attributes:
        ratio: Pedestal over mean primary signal. Assumption.
        ratio_sd: Its spread, normal, clipped at 0, for each image. Assumption.
        noise_weight: Variance of the pedestal per photon equivalent. Assumption.
    """

    ratio: Annotated[float, limited(0, 10, "of the mean primary signal")] = 0.05
    ratio_sd: Annotated[float, limited(0, 1, "of the mean primary signal")] = 0.005
    noise_weight: Annotated[float, limited(0, 10, "a photon equivalent has about 1")] = 1.05


class Detector(Group):
    """Flat panel with a CsI scintillator that integrates energy.

    Attributes:
        csi_mm: Thickness of the scintillator. Assumption.
        csi_density_g_cm3: Of the crystal; a columnar layer would have less. Assumption.
        swank: Swank factor of the scintillator's light yield. Assumption.
        psf_sd_mm: Standard deviation of the Gaussian blur by scintillator and focal spot, applied
            to the noise too and averaged over the pixel; at most a quarter of the field.
            Assumption.
        fixed_pattern_sd: Pixel-to-pixel spread of the gain that flat-field correction left, the
            same in all images. Assumption.
        residual: Smooth rest of the flat field (heel effect, inverse square): the gain is
            ``1 + residual · (x / 30 + r² / 1800)``, mm from the centre. Assumption.
        dead_pixels: Share of pixels that always read 0. Assumption.
        electronic_noise_per_mm: Photon equivalents per square root of mm²: a pixel of `p` mm
            has ``electronic_noise_per_mm · p``, because read-out noise of binned pixels adds in
            squares. 5.33 is 5 photon equivalents in a pixel of 60/64 mm. Assumption.
        adc_bits: Depth of the counts.
        full_scale: The nominal open beam lands at this share of the greatest count. Assumption.
        offset_counts: Dark level added to every pixel; 0 is an offset-corrected detector.
    """

    csi_mm: Annotated[float, limited(0.001, 100, "mm of scintillator")] = 0.4
    csi_density_g_cm3: Annotated[float, limited(0.1, 10, "g/cm³ of a scintillator")] = 4.51
    swank: Annotated[float, limited(0.1, 1, "a Swank factor")] = 0.93
    psf_sd_mm: Annotated[float, limited(0, 100, "mm of blur")] = 0.25
    fixed_pattern_sd: Relative = 0.003
    residual: Annotated[float, limited(-0.3, 0.3, "of the gain at 30 mm")] = 0.005
    dead_pixels: Annotated[float, limited(0, 0.5, "a share; a panel with more is broken")] = 2e-4
    electronic_noise_per_mm: Annotated[float, limited(0, 1e6, "photon equivalents")] = 5.33
    adc_bits: Annotated[int, limited(8, 16, "bits of a converter")] = 14
    full_scale: Annotated[float, limited(0.01, 1, "of the greatest count")] = 0.8
    offset_counts: Annotated[float, limited(0, 65535, "counts of a 16-bit converter")] = 0.0

    @property
    def greatest_count(self) -> int:
        """Largest number the converter writes."""
        return 2**self.adc_bits - 1


class Parameters(Group):
    """All parameters of a simulated data set but its size and seed.

    Attributes:
        alloys: Class labels, see :data:`alloyk.alloys.ALLOYS`.
        tube, exposure, layout, wedge, plate, texture, scatter, detector: See the classes above.
    """

    alloys: Annotated[tuple[str, ...], BeforeValidator(strings)] = ("1050", "2017")
    tube: Tube = Tube()
    exposure: Exposure = Exposure()
    layout: Layout = Layout()
    wedge: Wedge = Wedge()
    plate: PlateSpread = PlateSpread()
    texture: Texture = Texture()
    scatter: Scatter = Scatter()
    detector: Detector = Detector()

    @model_validator(mode="after")
    def _check(self):
        widest_mm = self.layout.field_mm / 4
        if self.detector.psf_sd_mm > widest_mm:
            raise ValueError(
                f"detector.psf_sd_mm wants at most a quarter of layout.field_mm, {widest_mm:g} mm, "
                f"found {self.detector.psf_sd_mm:g}: a wider blur leaves no picture"
            )
        return self
