"""All parameters of the simulator, each with its unit in its name and its source.

Entries marked *assumption* were chosen, not measured: the simulation was not compared with real
images. Each can be set, in Python by `overrides={"tube.voltage_kvp": 45}` and on the command line
by `--set tube.voltage_kvp=45` (see `alloyk.simulator.settings.overrides`).
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from alloyk.settings.section import Section
from alloyk.simulator.settings.field_types import (
    PHOTONS_PER_MM2,
    FilterThickness,
    MassFraction,
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


class Tube(Section):
    """X-ray tube and filtration.

    Attributes:
        anode: Target material; W in the tables. Assumption.
        anode_angle_deg: 12° in the tables. Assumption.
        voltage_kvp: Peak voltage, 50 kV in the study.
        voltage_range_kvp: If set, the voltage of each image is drawn uniformly from LOW,HIGH.
        voltage_steps_kvp: If set, the images of one plate take these voltages in turn.
        channels_kvp: If set, every image is taken at each of these voltages, in one pose: a file
            for each, to be the channels of one sample.
        voltage_drift_sd_kv: Standard deviation of the unknown error of the voltage, normal, drawn
            for each image. Assumption.
        beryllium_mm: Thickness of the tube's window. Assumption.
        air_mm: Path in air; affects the attenuation only. Assumption.
        filters_mm: Additional filters, element → thickness. Assumption.
    """

    anode: str = "W"
    anode_angle_deg: Annotated[
        float, limited(1, 90, "degrees between the anode's face and the beam")
    ] = 12.0
    voltage_kvp: Voltage = 50.0
    voltage_range_kvp: VoltageRange | None = None
    voltage_steps_kvp: Voltages | None = None
    channels_kvp: Voltages | None = None
    voltage_drift_sd_kv: Annotated[float, limited(0, 10, "kV of drift")] = 0.1
    beryllium_mm: Annotated[float, limited(0, 100, "mm of the tube's window")] = 0.2
    air_mm: Annotated[float, limited(0, 1e5, "mm between tube and detector")] = 600.0
    filters_mm: Annotated[dict[str, FilterThickness], BeforeValidator(mapping)] = Field(
        default_factory=lambda: {"Al": 0.5}
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order("tube.voltage_range_kvp", self.voltage_range_kvp)
        channels = self.channels_kvp or ()
        if len(set(channels)) < len(channels):
            raise ValueError(
                "tube.channels_kvp must name each voltage once, got "
                f"{','.join(f'{kvp:g}' for kvp in channels)}"
            )
        return self

    @property
    def voltages_kvp(self) -> tuple[float, ...]:
        """The voltages that are set, or the ends of their range."""
        return (
            self.channels_kvp
            or self.voltage_steps_kvp
            or self.voltage_range_kvp
            or (self.voltage_kvp,)
        )


class Exposure(Section):
    """Exposure of an image.

    Attributes:
        photons_per_mm2: Photons absorbed in the open beam per mm² of detector, for any image
            size: a pixel gets `photons_per_mm2 · (field_mm / image_size)²`. It is the same at
            every tube voltage, as with an automatic exposure control. Assumption.
        exposure_time_s: If set, it replaces `photons_per_mm2`: the exposure follows from the
            tube's output, current, time and distance, and so decreases with the tube voltage.
        tube_current_ma: 0.3 mA in the study; used with `exposure_time_s` only.
        source_detector_mm: Distance from focal spot to detector; used with `exposure_time_s`
            only. Assumption.
        output_sd: Standard deviation of ln(tube output), log-normal, drawn for each image.
            Assumption.
    """

    photons_per_mm2: Annotated[float, AfterValidator(PHOTONS_PER_MM2)] = 2.8e5
    exposure_time_s: Annotated[float, limited(1e-6, 1e7, "s, from a flash to months")] | None = None
    tube_current_ma: Annotated[float, limited(1e-6, 1e4, "mA of an X-ray tube")] = 0.3
    source_detector_mm: Annotated[float, limited(10, 1e5, "mm between tube and detector")] = 600.0
    output_sd: Annotated[float, limited(0, 1, "of ln(output); 1 is a factor of e up and down")] = (
        0.01
    )


class Layout(Section):
    """Arrangement of plate and wedge in the field.

    Attributes:
        name: `"step"`: the plate covers the lower half, with open beam on both sides of the
            wedge. `"full"`: plate and wedge fill the field. Then the image is monotone in wedge
            thickness, and histogram equalisation removes the signal; kept to demonstrate this.
            Assumption.
        field_mm: Side of the square field of view. Assumption.
    """

    name: Literal["step", "full"] = "step"
    field_mm: Annotated[float, limited(1, 1000, "mm, the side of a flat panel's field")] = 60.0


class Wedge(Section):
    """Triangular aluminium wedge; it rises along x and, in the layout `step`, ends in a face.

    Attributes:
        height_mm: Maximum thickness. Assumption (50 mm would transmit 3e-4 of the beam).
        length_mm: Length of the ramp: 5 cm in the study's earlier set-up, 7 cm (70, in a wider
            field) in the later one. In the layout `full` the ramp spans the field instead.
        density_g_cm3: Density of aluminium.
        shift_sd_mm: Standard deviation of its position along x, normal, drawn for each image.
            Assumption.
        rotation_sd_deg: Standard deviation of its rotation in the image plane, likewise.
            Assumption.
        height_sd: Relative standard deviation of its height, likewise. Assumption.
    """

    height_mm: Annotated[
        float, limited(0.1, 200, "mm of a wedge that transmits some of the beam")
    ] = 10.0
    length_mm: Annotated[float, limited(1, 1000, "mm, as for the field")] = 50.0
    density_g_cm3: Annotated[float, limited(0.1, 25, "g/cm³ of any metal")] = 2.70
    shift_sd_mm: Millimetres = 0.3
    rotation_sd_deg: Annotated[
        float, limited(0, 10, "degrees: the model needs the ramp along x")
    ] = 0.5
    height_sd: Relative = 0.002


RANGE_PARTS = 6
"""Number of nominal thicknesses into which a range is divided, for tables and splits."""


class PlateSpread(Section):
    """The plates: thickness, composition and pose.

    Attributes:
        thicknesses_mm: Nominal thicknesses, equally frequent in each class; 1, 2, 5 in the study.
        thickness_range_mm: If set, the true thickness is drawn uniformly from LOW,HIGH. Each sixth
            of the range is equally frequent; its centre is the nominal thickness.
        thickness_law: Distribution of the true thickness about the nominal one. Assumption.
            `"normal"`: N(0, tolerance / 3); `"uniform"`: uniform in ± tolerance (EN 485-4);
            `"relative"`: N(0, `thickness_relative_sd`); `"exact"`: no deviation.
        tolerance_scale: Factor on the tolerance.
        thickness_relative_sd: Relative standard deviation of the law `"relative"`.
        composition_law: `"typical"`, `"limits"` or `"nominal"`, see
            `alloyk.alloys.draw_mass_fractions`. Assumption.
        compositions: Label → element → mass fraction; these plates have exactly this composition.
        tilt_sd_deg: The plate is tilted by |N(0, sd)|, which lengthens the path. Assumption.
        edge_mm: Mean position of the plate's upper edge below the centre of the field (layout
            `step`).
        edge_sd_mm: Standard deviation of this position, normal, drawn for each image; the edge
            stays at least a twelfth of the field from its border. Assumption.
        edge_rotation_ratio: Rotation of the edge as a share of the wedge's. Assumption.
        scan_step_mm: Sideways movement of the plate between its images, as in the study's scans;
            the wedge does not move. Visible only with texture.
    """

    thicknesses_mm: Thicknesses = (1.0, 2.0, 5.0)
    thickness_range_mm: ThicknessRange | None = None
    thickness_law: Literal["normal", "uniform", "relative", "exact"] = "normal"
    tolerance_scale: Annotated[float, limited(0, 10, "times the tolerance of EN 485-4")] = 1.0
    thickness_relative_sd: Relative = 0.002
    composition_law: Literal["typical", "limits", "nominal"] = "typical"
    compositions: Annotated[dict[str, dict[str, MassFraction]], BeforeValidator(mapping)] = Field(
        default_factory=dict
    )
    tilt_sd_deg: Annotated[float, limited(0, 20, "degrees of a plate that faces the beam")] = 1.0
    edge_mm: Annotated[float, limited(-1000, 1000, "mm, as for the field")] = 0.0
    edge_sd_mm: Millimetres = 0.3
    edge_rotation_ratio: Annotated[float, limited(-1, 1, "of the wedge's rotation")] = 0.5
    scan_step_mm: Millimetres = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order("plate.thickness_range_mm", self.thickness_range_mm)
        return self

    @property
    def nominal_thicknesses_mm(self) -> tuple[float, ...]:
        """Nominal thicknesses; in each class, successive plates take them in turn."""
        if self.thickness_range_mm is None:
            return self.thicknesses_mm
        low, high = self.thickness_range_mm
        return tuple(low + (high - low) * (n + 0.5) / RANGE_PARTS for n in range(RANGE_PARTS))


class Texture(Section):
    """Unevenness of a plate, off by default. All values are assumptions.

    Attributes:
        waviness_um: Standard deviation of slow variations of the thickness, as from rolling.
        waviness_mm: Correlation length of these variations.
        grain_contrast: Standard deviation of the relative attenuation from grain to grain.
        grain_mm: Diameter of a grain.
        scratches_per_cm2: Mean number of scratches.
        scratch_depth_um: Maximum depth of a scratch.
        scratch_width_mm: Width of a scratch.
        scratch_length_mm: Mean length of a scratch.
    """

    waviness_um: Annotated[float, limited(0, 1000, "µm of waviness")] = 0.0
    waviness_mm: Annotated[float, limited(0.01, 1000, "mm, as for the field")] = 10.0
    grain_contrast: Annotated[float, limited(0, 0.1, "of the attenuation, from grain to grain")] = (
        0.0
    )
    grain_mm: Annotated[float, limited(0.001, 100, "mm, the diameter of a grain")] = 0.5
    scratches_per_cm2: Annotated[
        float, limited(0, 30, "per cm², which leaves surface between them")
    ] = 0.0
    scratch_depth_um: Annotated[float, limited(0, 1000, "µm of a scratch")] = 20.0
    scratch_width_mm: Annotated[float, limited(0.001, 10, "mm of a scratch")] = 0.2
    scratch_length_mm: Annotated[float, limited(0.01, 1000, "mm, as for the field")] = 15.0

    @property
    def is_off(self) -> bool:
        """Whether all unevenness is off."""
        return not (self.waviness_um or self.grain_contrast or self.scratches_per_cm2)


class Scatter(Section):
    """Scattered radiation: a uniform pedestal proportional to the mean of the primary image.

    Attributes:
        ratio: Pedestal divided by mean primary signal. Assumption.
        ratio_sd: Standard deviation of this ratio, normal, clipped at 0, drawn for each image.
            Assumption.
        noise_weight: Variance of the pedestal per photon equivalent. Assumption.
    """

    ratio: Annotated[float, limited(0, 10, "of the mean primary signal")] = 0.05
    ratio_sd: Annotated[float, limited(0, 1, "of the mean primary signal")] = 0.005
    noise_weight: Annotated[float, limited(0, 10, "a photon equivalent has about 1")] = 1.05


class Detector(Section):
    """Energy-integrating flat panel with a CsI scintillator.

    Attributes:
        csi_mm: Thickness of the scintillator. Assumption.
        csi_density_g_cm3: Density of the crystal; a columnar layer has less. Assumption.
        swank: Swank factor of the scintillator's light yield. Assumption.
        psf_sd_mm: Standard deviation of the Gaussian blur by scintillator and focal spot. It also
            blurs the noise and is averaged over the pixel; at most a quarter of the field.
            Assumption.
        fixed_pattern_sd: Relative standard deviation of the gain from pixel to pixel after
            flat-field correction, the same in all images. Assumption.
        residual: Smooth residual of the flat field (heel effect, inverse square): the gain is
            `1 + residual · (x / 30 + r² / 1800)`, mm from the centre. Assumption.
        dead_pixels: Share of pixels that always read 0. Assumption.
        electronic_noise_per_mm: Photon equivalents per square root of mm²: a pixel of `p` mm
            has `electronic_noise_per_mm · p`, because the read-out noise of binned pixels adds
            in quadrature. 5.33 gives 5 photon equivalents in a pixel of 60/64 mm. Assumption.
        adc_bits: Bit depth of the counts.
        full_scale: Nominal open-beam signal as a share of the greatest count. Assumption.
        offset_counts: Dark level added to every pixel; 0 for an offset-corrected detector.
    """

    csi_mm: Annotated[float, limited(0.001, 100, "mm of scintillator")] = 0.4
    csi_density_g_cm3: Annotated[float, limited(0.1, 10, "g/cm³ of a scintillator")] = 4.51
    swank: Annotated[float, limited(0.1, 1, "a Swank factor")] = 0.93
    psf_sd_mm: Annotated[float, limited(0, 100, "mm of blur")] = 0.25
    fixed_pattern_sd: Relative = 0.003
    residual: Annotated[float, limited(-0.3, 0.3, "of the gain at 30 mm")] = 0.005
    dead_pixels: Annotated[float, limited(0, 0.5, "a share of the panel's pixels")] = 2e-4
    electronic_noise_per_mm: Annotated[float, limited(0, 1e6, "photon equivalents")] = 5.33
    adc_bits: Annotated[int, limited(8, 16, "bits of a converter")] = 14
    full_scale: Annotated[float, limited(0.01, 1, "of the greatest count")] = 0.8
    offset_counts: Annotated[float, limited(0, 65535, "counts of a 16-bit converter")] = 0.0

    @property
    def greatest_count(self) -> int:
        """Greatest count of the converter."""
        return 2**self.adc_bits - 1


class Parameters(Section):
    """All parameters of a simulated data set, except its size and seed.

    Attributes:
        alloys: Class labels, see `alloyk.alloys.ALLOYS`.
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
    def _check(self) -> Self:
        widest_mm = self.layout.field_mm / 4
        if self.detector.psf_sd_mm > widest_mm:
            raise ValueError(
                f"detector.psf_sd_mm must be at most a quarter of layout.field_mm, {widest_mm:g} "
                f"mm, got {self.detector.psf_sd_mm:g}"
            )
        return self
