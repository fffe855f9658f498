"""Every rule by which a data set's fingerprint becomes settings; docs/configure.md explains them.

A rule takes the fingerprint and the configuration so far, in which the user's settings and those of
earlier rules are in place, and yields (key, value, reason). It never sees the images.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from alloyk.auditing.findings import percent
from alloyk.auditing.shortcuts import EqualizationEffect
from alloyk.autoconfig.fingerprint import Fingerprint
from alloyk.config import Config
from alloyk.config.recipes import RELATIVE_LENGTH, recipe_settings
from alloyk.messages import counted

Setting = tuple[str, Any, str]
Rule = Callable[[Fingerprint, Config], Iterator[Setting]]

NETWORK = "resnet18"

# Image size: images up to this side stay as they are.
SMALL_SIDE = 96
# Largest side; training time grows with its square.
MAX_SIDE = 256
# Reduced until the finest detail changes this much per pixel, relative to the image's contrast.
DETAIL_PER_PIXEL = 0.5
# Sides above SMALL_SIDE are multiples of this, which networks halve evenly.
SIDE_STEP = 16
# Halved, but not below this side, if a time budget allows less than this share of the steps.
HALVED_SIDE, FEWEST_STEPS = 32, 0.5
# Networks of Keras Applications take no smaller images.
APPLICATIONS_SIDE = 32
APPLICATIONS = ("resnet50", "vgg16", "vgg19", "efficientnetb0")
# Below this side, a first convolution of stride 2 would leave too few positions.
STRIDE_SIDE = 32
STRIDED = ("resnet18", "resnet34", "resnet50", "efficientnetb0")

# Batch: the recipe's, at most this share of the training images, in multiples of BATCH_STEP.
MAX_BATCH, BATCH_SHARE, BATCH_STEP = 32, 0.05, 4
# With halved images. On small images the update of the weights takes a larger part of a step.
MAX_BATCH_HALVED = 64

# Optimizer steps: at least MIN_STEPS, otherwise STEPS_PER_ROOT · √images.
MIN_STEPS, STEPS_PER_ROOT, MAX_EPOCHS = 1500, 40, 300
WARMUP_SHARE = 0.1
# Of the steps after warm-up, before the rate falls.
HOLD_FRACTION = 0.6

# Augmentation: strength 1 up to the first number of training images per class, falling with the
# logarithm to WEAKEST at the second and beyond.
FEW_PER_CLASS, MANY_PER_CLASS, WEAKEST = 100, 2500, 0.3
ROTATION_DEG, SHIFT, CROP, BRIGHTNESS, CONTRAST = 10.0, 0.08, 0.12, 0.05, 0.1
# Drift of the detector, and bad pixels: both may come after training.
RESPONSE, BAD_PIXELS = 0.05, 0.0005

# A scene is common if this share of the images shows it.
COMMON_SCENE = 0.8
# Orientation carries no class if fewer images show a common scene, or more show it turned.
FREE_ORIENTATION = 0.5
# Equalised if the block means then predict the class better by this many standard errors …
BETTER_BY_ERRORS = 3
# … or if a common scene leaves the class little of the range and equalising does not erase the
# class: of what block means know above chance, this share is left.
LEFT_OF_CLASS = 0.5
LONG_TAIL = 3.0

CACHED_SHARE = 0.25
"""Share of the machine's memory that preprocessed images may take."""


def network(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """The network, if none was chosen."""
    yield (
        "model.arch",
        NETWORK,
        "trains fast and reliably; a choice, not a measurement",
    )


def split(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """Shares of the splits, if the data set has no split of its own."""
    if found.split_given:
        return
    by = f"by {found.grouped_by}" if found.grouped_by else "by image: no plates are known"
    held_out = f"fold {config.data.fold}" if config.data.fold else config.data.leave_out
    reason = (
        f"{held_out} is held out for test; the rest is drawn {by}"
        if held_out
        else f"not split by folders or manifest; drawn {by}"
    )
    yield "data.ratios", list(config.data.ratios), reason


def image_size(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """The side from the median side and the sharpness.

    Not larger than the images, except up to the smallest side that the network takes.
    """
    short, long = found.short_side, max(found.height, found.width)
    least = APPLICATIONS_SIDE if config.model.arch in APPLICATIONS else 8
    side, reason = side_for(short, found.sharpness)
    if side < least:
        side, reason = least, f"{config.model.arch} takes no smaller images than {least} pixels"
    # Multiplied first: 22 · (30 / 22) is below 30.
    other = max(_rounded(min(side * long / short, MAX_SIDE)), side) if short else side
    size = [side, other] if found.height <= found.width else [other, side]
    yield "preprocess.image_size", size, reason


def side_for(short: int, sharpness: float) -> tuple[int, str]:
    """The short side for images with this median short side and sharpness, with its reason.

    >>> side_for(28, 0.5)[0], side_for(100, 0.5)[0], side_for(500, 0.1)[0], side_for(4096, 0.2)[0]
    (28, 96, 96, 256)
    """
    if short <= SMALL_SIDE:
        return short, f"the median side of {short} pixels is small: not reduced"
    needed = short * sharpness / DETAIL_PER_PIXEL
    side = _rounded(min(max(needed, SMALL_SIDE), MAX_SIDE, short))
    if needed >= MAX_SIDE and short > MAX_SIDE:
        return side, (
            f"the detail of {short} pixels would need {min(needed, short):.0f}; "
            f"{MAX_SIDE} is the limit for time: crop the images, or set a larger size"
        )
    if needed <= SMALL_SIDE:
        return side, f"{short} pixels with little fine detail (sharpness {sharpness:.3f})"
    return side, f"{short} pixels, reduced as far as their sharpness of {sharpness:.3f} allows"


def _rounded(side: float) -> int:
    """Down to a multiple that networks halve evenly; small sides stay."""
    whole = int(side)
    return whole if whole <= SMALL_SIDE else whole - whole % SIDE_STEP


def halved_for_time(found: Fingerprint, config: Config, steps: float) -> Iterator[Setting]:
    """Half the image size and larger batches, if the time budget allows too few steps.

    Nothing changes if there is enough time, the images are small, or pretrained weights expect
    their own size. A batch that is not the rule's stays.

    Args:
        found: The fingerprint.
        config: The configuration, with the size that `image_size` has chosen.
        steps: Optimizer steps that the budget allows at this size.
    """
    height, width = config.preprocess.image_size
    short, needed = min(height, width), steps_needed(found, config)
    side = max(short // 2, HALVED_SIDE)
    if config.model.weights or side >= short or steps >= FEWEST_STEPS * needed:
        return
    size = [_rounded(side * height / short), _rounded(side * width / short)]
    reason = f"at {height}×{width} the time budget allows {steps:,.0f} of {needed:,} steps"
    yield "preprocess.image_size", size, reason
    usual, larger = batch_for(found.train), batch_for(found.train, MAX_BATCH_HALVED)
    if config.train.batch_size == usual < larger:
        reason = "images are halved: fewer updates of the weights leave time for more images"
        yield "train.batch_size", larger, reason


def stem(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """Stride 1 of the first convolution on small images."""
    side = min(config.preprocess.image_size)
    if config.model.arch in STRIDED and not config.model.weights and side < STRIDE_SIDE:
        yield "model.stem_stride", 1, f"below {STRIDE_SIDE} pixels, stride 2 would lose detail"


def intensities(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """Repair, scaling, equalising and orientation."""
    bad = f"bad pixels or lines in {percent(found.defective)} of the images"
    yield "preprocess.repair", True, f"{bad}; later detectors may have some"
    if not config.data.attenuation:
        yield "preprocess.normalize", "robust", "two percentiles: single pixels hardly move them"
    common = found.scene >= COMMON_SCENE
    reason = f"{percent(found.scene)} of the images show a common scene"
    effect = found.equalizing
    if config.data.channel_count > 1:
        yield "preprocess.equalize", False, "the channels would lose their ratio"
    elif effect is None:
        yield "preprocess.equalize", False, "too few images to see what equalising would erase"
    else:
        left = f"block means predict the class in {percent(effect.before)}, equalised in "
        left += percent(effect.after)
        yield (
            "preprocess.equalize",
            equalizing_helps(effect, common),
            f"{reason}; {left}" if common else left,
        )
    yield (
        "preprocess.upright",
        common and 0 < found.turned < FREE_ORIENTATION,
        f"{reason}, {percent(found.turned)} of these turned",
    )


def equalizing_helps(effect: EqualizationEffect, common: bool) -> bool:
    """Whether to equalise, from what block means know of the class before and after.

    A common scene, such as a wedge, takes most of an image's range: networks then learn the small
    differences of the class late or not at all, unless the image is equalised (docs/configure.md).

    >>> plate = EqualizationEffect(before=0.9, after=0.83, chance=0.5, error=0.02, significant=True)
    >>> equalizing_helps(plate, common=True), equalizing_helps(plate, common=False)
    (True, False)
    """
    if not effect.significant:
        return False
    if effect.after - effect.before > BETTER_BY_ERRORS * effect.error:
        return True
    known, left = effect.before - effect.chance, effect.after - effect.chance
    return common and left >= LEFT_OF_CLASS * known


def batch(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """At most 5 % of the training images."""
    size = batch_for(found.train)
    reason = (
        "the recipe's"
        if size == MAX_BATCH
        else f"at most {100 * BATCH_SHARE:.0f} % of {found.train:,} training images"
        if size <= BATCH_SHARE * found.train
        else "the smallest that batch norm can use"
    )
    yield "train.batch_size", size, reason


def batch_for(images: int, most: int = MAX_BATCH) -> int:
    """Images per batch for this number of training images.

    >>> batch_for(20), batch_for(300), batch_for(2550)
    (4, 12, 32)
    """
    share = int(BATCH_SHARE * images) // BATCH_STEP * BATCH_STEP
    return min(max(share, BATCH_STEP), most)


def length(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """Epochs, warm-up and patience from a number of steps that grows with the images."""
    if config.train.time_budget_minutes is not None:
        return  # the schedule follows the clock
    times = RELATIVE_LENGTH.get(config.model.arch, 1)
    steps = steps_needed(found, config)
    per_epoch = math.ceil(found.train / config.train.batch_size)
    epochs = min(math.ceil(steps / per_epoch), times * MAX_EPOCHS)
    reason = (
        f"{epochs * per_epoch:,} steps of {per_epoch:,} per epoch; {found.train:,} images need "
        f"about {steps:,}"
    )
    if times > 1:
        reason += f", {times} times as many with {config.model.arch} as with other networks"
    yield "train.epochs", epochs, reason


def steps_needed(found: Fingerprint, config: Config) -> int:
    """Optimizer steps that the network needs for this number of training images."""
    return RELATIVE_LENGTH.get(config.model.arch, 1) * steps_for(found.train)


def steps_for(images: int) -> int:
    """Optimizer steps for this number of training images; never fewer for more images.

    >>> steps_for(300), steps_for(8400), steps_for(1_000_000)
    (1500, 3667, 40000)
    """
    return max(MIN_STEPS, math.ceil(STEPS_PER_ROOT * math.sqrt(images)))


def schedule(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """Warm-up, and the time at the full learning rate."""
    epochs = config.train.epochs
    warmup = round(WARMUP_SHARE * epochs, 1)
    yield "schedule.warmup_epochs", warmup, f"{100 * WARMUP_SHARE:.0f} % of the training"
    if config.schedule.name == "cosine":
        yield (
            "schedule.hold_fraction",
            HOLD_FRACTION,
            "some networks converge late, and need the full rate until then (docs/recipe.md)",
        )


def stopping(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """Early stopping, only while the learning rate falls; not with a time budget."""
    if config.train.time_budget_minutes is not None:
        return
    epochs = config.train.epochs
    patience = max(5, math.ceil(epochs / 4))
    yield "train.patience", patience, "a quarter of the epochs without a lower validation loss"
    start, reason = epochs // 2, "the second half"
    if config.schedule.name == "cosine":
        first = min(config.model.freeze_epochs, epochs - 1) if config.model.weights else 0
        left, held = epochs - first, config.schedule.hold_fraction
        warmup = min(config.schedule.warmup_epochs, left / 2)
        start = int(first + warmup + held * (left - warmup))
        reason = "from there on the rate falls"
    yield "train.start_from_epoch", start, reason


def learning_rate(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """The recipe's rate, scaled to the batch."""
    rate, batch_size = config.optimizer.learning_rate, config.train.batch_size
    ratio = batch_size / MAX_BATCH
    name = config.optimizer.name
    linear = name in ("sgd", "momentum")
    scaled = float(f"{rate * (ratio if linear else math.sqrt(ratio)):.3g}")
    of_recipe = recipe_settings(config.model.arch, config.recipe)["optimizer"]
    reason = f"the recipe's for {config.model.arch}"
    if of_recipe["name"] != name:
        reason = f"the default of {name}"
    if scaled != rate:
        law = "in proportion to the batch" if linear else "with the square root of the batch"
        reason += f" ({rate:g}), scaled {law}"
    yield "optimizer.learning_rate", scaled, reason


def augmentation(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """Stronger with fewer images per class; all orientations without a common scene."""
    per_class = found.train / len(found.classes)
    strength = strength_for(per_class)
    reason = f"strength {strength:.2f} for {per_class:,.0f} training images per class"
    yield "augment.rotation_deg", round(ROTATION_DEG * strength, 1), reason
    for key, largest in (
        ("shift", SHIFT), ("crop", CROP), ("brightness", BRIGHTNESS), ("contrast", CONTRAST),
    ):  # fmt: skip
        yield f"augment.{key}", round(largest * strength, 3), f"strength {strength:.2f}"
    yield _orientation(found, config)
    yield "augment.response", RESPONSE, "drift of the detector: gradient, vignette, gain, offset"
    yield "augment.defects", BAD_PIXELS, "single bad pixels that repair misses"


def _orientation(found: Fingerprint, config: Config) -> Setting:
    if config.preprocess.upright:
        return "augment.orientation", False, "preprocess.upright turns every image the same way"
    free = found.scene < FREE_ORIENTATION or found.turned > FREE_ORIENTATION
    conclusion = "carries no class" if free else "may carry the class"
    scene = f"common scene in {percent(found.scene)}, of these {percent(found.turned)} turned"
    return "augment.orientation", free, f"{scene}: orientation {conclusion}"


def strength_for(per_class: float) -> float:
    """Strength of the augmentation, 0.3 to 1, for this number of training images per class.

    >>> [round(strength_for(n), 2) for n in (20, 100, 500, 2500, 100_000)]
    [1.0, 1.0, 0.65, 0.3, 0.3]
    """
    span = math.log(MANY_PER_CLASS / FEW_PER_CLASS)
    share = math.log(max(per_class, 1) / FEW_PER_CLASS) / span
    return 1 - (1 - WEAKEST) * min(max(share, 0.0), 1.0)


def loss(found: Fingerprint, config: Config) -> Iterator[Setting]:
    """Cross-entropy, of all classes equally often for a long tail (docs/long_tail.md)."""
    ratio = f"the largest class has {found.imbalance:.1f} times the images of the smallest"
    tail = found.imbalance > LONG_TAIL and config.loss.name == "cross_entropy"
    yield "data.sampling", "class_aware" if tail else "natural", ratio
    yield "loss.name", "cross_entropy", ratio


def cache(found: Fingerprint, config: Config, memory_bytes: float = math.inf) -> Iterator[Setting]:
    """Preprocessed images in memory, or on disk if they are large."""
    count = sum(found.images.values())
    needed = 4 * count * math.prod(config.preprocess.image_size) * config.data.channel_count
    where = "memory" if needed <= CACHED_SHARE * memory_bytes else "disk"
    size = f"{needed / 1e9:.1f} GB" if needed >= 1e8 else f"{needed / 1e6:.0f} MB"
    yield "data.cache", where, f"{counted(count)} preprocessed: {size}"


RULES: tuple[Rule, ...] = (
    network, split, image_size, stem, intensities, batch, length, schedule, stopping, learning_rate,
    augmentation, loss,
)  # fmt: skip
"""In order: a rule sees what the rules before it have chosen."""
