"""Findings about files: unreadable, mixed, saturated, empty, coloured, inverted."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alloyk.auditing.blocks import in_blocks, normed, sample_of
from alloyk.auditing.findings import CHECK, FIX, NOTE, Audited, Finding, percent
from alloyk.imaging import is_image_name
from alloyk.messages import counted, few, shown

# An image is clipped if at least this fraction of pixels has the largest (smallest) count.
CLIPPED = 0.01

# An image shows nothing if the range of its block means, beyond that of noise, is below this
# fraction of the mean. Of 256 Gaussian numbers the range is 5.7 ± 0.6 standard deviations.
NO_CONTRAST = 0.005
RANGE_OF_NOISE = 8

# Minimum correlation of images with the common scene, for one that is its negative to count as
# inverted.
COMMON_SCENE = 0.5


def unreadable(audited: Audited) -> Iterator[Finding]:
    """Files that cannot be read, with reasons."""
    reasons = {
        audited.paths[row]: _reason(error, audited.root.absolute() / audited.paths[row])
        for row, error in audited.scan.errors.items()
    }
    if reasons:
        alike: dict[str, list[str]] = {}
        for path, reason in reasons.items():
            alike.setdefault(reason, []).append(path)
        named = [f"{few(paths)} ({reason})" for reason, paths in alike.items()]
        yield Finding(
            "unreadable",
            FIX,
            f"{counted(len(reasons))} cannot be read: {few(named, 5)}.",
            "Follow the advice in brackets, if any; restore the others from the source, or delete "
            "them. `data.on_bad_image=skip` trains without them.",
            list(reasons),
            {"reasons": reasons},
        )


def mixed(audited: Audited) -> Iterator[Finding]:
    """Several sizes, depths or modes in one data set."""
    measures = audited.scan.measures[audited.scan.readable]
    if measures.empty:
        return
    sizes = measures["height"].map("{:.0f}".format) + "×" + measures["width"].map("{:.0f}".format)
    if sizes.nunique() > 1:
        aspect = np.log(measures["width"] / measures["height"])
        stretched = float(np.ptp(aspect)) > np.log(1.1)
        yield Finding(
            "mixed-sizes",
            CHECK if stretched else NOTE,
            f"The images have {counted(sizes.nunique(), 'size')} (height × width): "
            f"{_listed(sizes)}.",
            "All are resized to preprocess.image_size, which changes their aspect ratio; crop "
            "them to one shape if the distortion matters."
            if stretched
            else "All are resized to preprocess.image_size; nothing needs to be done.",
            values={"sizes": sizes.value_counts().to_dict()},
        )
    for column, name, noun, advice in (
        (
            "dtype", "mixed-depths", "depth",
            "Save all from the detector's raw data at full depth: 8-bit copies have lost gray "
            "levels, and the depth may reveal the class.",
        ),
        (
            "mode", "mixed-modes", "colour mode",
            "Save all as gray from the detector's raw data; colour is converted to luma, which "
            "is wrong for a colour map.",
        ),
    ):  # fmt: skip
        if measures[column].nunique() > 1:
            yield Finding(
                name,
                CHECK,
                f"The images have {counted(measures[column].nunique(), noun)}: "
                f"{_listed(measures[column])}.",
                advice,
                values={noun: measures[column].value_counts().to_dict()},
            )


def clipped(audited: Audited) -> Iterator[Finding]:
    """Images whose brightest or darkest pixels are clipped."""
    high, share = audited.measure("high"), audited.measure("high_share")
    ceiling = _is_ceiling(high, audited.measure("dtype"))
    saturated = (share > CLIPPED) & ceiling & ~_constant(audited)
    if saturated.any():
        worst = float(share[saturated].max())
        yield Finding(
            "saturated",
            CHECK,
            f"Saturation in {counted(int(saturated.sum()))}: more than {percent(CLIPPED)} of the "
            f"pixels (up to {percent(worst)}) are at the largest count.",
            "Reduce the exposure, or mask the open beam; counts above the largest one are lost.",
            audited.paths[saturated].tolist(),
        )
    low, share = audited.measure("low"), audited.measure("low_share")
    black = (share > CLIPPED) & (low == 0) & ~_constant(audited)
    if black.any():
        yield Finding(
            "clipped-black",
            NOTE,
            f"In {counted(int(black.sum()))} more than {percent(CLIPPED)} of the pixels are 0.",
            "Crop the collimator or frame if it is in view; otherwise check the dark "
            "correction, which has clipped values below 0.",
            audited.paths[black].tolist(),
        )


def empty(audited: Audited) -> Iterator[Finding]:
    """Constant images, and images that show only noise."""
    constant = _constant(audited)
    if constant.any():
        yield Finding(
            "empty",
            FIX,
            f"No contrast in {counted(int(constant.sum()))}: all pixels have one value.",
            "Delete them: they contain no information.",
            audited.paths[constant].tolist(),
        )
    thumbs = audited.scan.thumbs
    with np.errstate(invalid="ignore"):
        contrast = in_blocks(lambda block: np.ptp(block, axis=1), thumbs, np.arange(len(thumbs)))
        pixels = audited.measure("height") * audited.measure("width")
        block_noise = np.sqrt(thumbs[0].size / pixels) / audited.measure("snr")
        nothing = contrast < NO_CONTRAST + RANGE_OF_NOISE * block_noise
    faint = nothing & audited.scan.readable & ~constant
    if faint.any():
        yield Finding(
            "no-contrast",
            CHECK,
            f"Only noise in {counted(int(faint.sum()))}: block means differ by less than "
            f"{100 * NO_CONTRAST:g} % of the mean beyond the noise.",
            "Look at them: they may be flat or dark frames, or failed exposures.",
            audited.paths[faint].tolist(),
        )


def coloured(audited: Audited) -> Iterator[Finding]:
    """False-colour images."""
    colour = audited.measure("mode") == "colour"
    if colour.any():
        yield Finding(
            "false-colour",
            CHECK,
            f"Colour in {counted(int(colour.sum()))}; X-ray detectors record gray values only.",
            "Export the raw gray images: the luma of a colour map is not monotone in the counts, "
            "so different attenuations can become the same gray.",
            audited.paths[colour].tolist(),
        )


def inverted(audited: Audited) -> Iterator[Finding]:
    """Images that are negatives of the others."""
    rows = np.flatnonzero(audited.scan.readable & ~_constant(audited))
    if len(rows) < 8:
        return
    thumbs = audited.scan.equalized
    scene = np.median(in_blocks(normed, thumbs, sample_of(rows)), axis=0)
    scene = scene / max(float(np.linalg.norm(scene)), 1e-6)
    resemblance = in_blocks(lambda block: normed(block) @ scene, thumbs, rows)
    if np.median(resemblance) < COMMON_SCENE:
        return  # no common scene to compare with
    negative = rows[resemblance < -COMMON_SCENE]
    if len(negative):
        yield Finding(
            "inverted",
            FIX,
            f"Negatives of the other images: {counted(len(negative))}.",
            "Invert them (largest count − image), so that more photons are brighter in all images.",
            audited.paths[negative].tolist(),
        )


def unused_frames(audited: Audited) -> Iterator[Finding]:
    """Flat and dark frames in the data set's folder."""
    settings = []
    for kind in ("flat", "dark"):
        frames = audited.root.glob(f"_calibration/{kind}_*")
        suffixes = sorted({path.suffix for path in frames if is_image_name(path.name)})
        if suffixes:
            settings.append(f'--set data.{kind}="_calibration/{kind}_*{suffixes[0]}"')
    if settings and "data.flat" in settings[0]:
        yield Finding(
            "flat-frames",
            NOTE,
            "The folder _calibration has flat frames of the detector.",
            f"Correct all images with them, inside the model: `alloyk train {' '.join(settings)}`.",
        )


FILE_CHECKS = (unreadable, mixed, clipped, empty, coloured, inverted, unused_frames)


def _reason(error: str, path: Path) -> str:
    """The end of `cannot use the image PATH: WHY; ADVICE`, without advice to replace the file."""
    reason = error.partition(f"{shown(path)}: ")[2] or error
    return reason.removesuffix("; replace or remove it")


def _constant(audited: Audited) -> np.ndarray:
    return audited.measure("low") == audited.measure("high")


def _is_ceiling(high: np.ndarray, dtypes: np.ndarray) -> np.ndarray:
    """Whether a largest count is the end of a scale: 2^bits − 1, or the maximum of the data set.

    A 12- or 14-bit detector writes 16-bit files.
    """
    whole = np.isin(dtypes.astype(str), ("uint8", "uint16", "uint32", "int16", "int32"))
    power = np.log2(np.maximum(high, 1) + 1)
    at_power = whole & (high >= 255) & (power == np.round(power))
    return at_power | (high == np.max(high[np.isfinite(high)], initial=-np.inf))


def _listed(values) -> str:
    counts = values.value_counts()
    return few([f"{value} ({count:,})" for value, count in counts.items()], 4)
