"""The parts of all devices together are the whole batch, augmented and mixed alike."""

from functools import cache

import numpy as np
import pytest
from PIL import Image

from alloyk.pipeline import KeptImages, Part, StreamedImages, evaluation_batches, training_batches
from alloyk.preprocessing import build_preprocessing
from alloyk.preprocessing.augmentation import Augmentation

EVERY = {
    "horizontal_flip": True, "rotation_deg": 20.0, "scale": 0.2, "shift": 0.1, "crop": 0.2,
    "elastic": 0.05, "brightness": 0.2, "contrast": 0.2, "cutout": 0.3, "erasing": 0.5,
    "noise": 0.1, "orientation": True, "blur": 0.8, "response": 0.2, "defects": 0.05,
    "border": 0.1,
}  # fmt: skip


def images_of(count):
    pixels = np.random.default_rng(0).random((count, 8, 8, 1)).astype(np.float32)
    return KeptImages(pixels)


def joined(make, parts):
    """Elements of all parts, joined to batches: images, targets and further elements."""
    each = [list(make(part).as_numpy_iterator()) for part in parts]
    batches = []
    for step in range(len(each[0]) // parts[0].here):
        pieces = [
            one
            for elements, part in zip(each, parts, strict=True)
            for one in elements[step * part.here : (step + 1) * part.here]
        ]
        batches.append(tuple(np.concatenate(columns) for columns in zip(*pieces, strict=True)))
    return batches


PARTS = {
    "two machines": [Part(0, 1, 2), Part(1, 1, 2)],
    "two machines with two GPUs": [Part(0, 2, 4), Part(2, 2, 4)],
    "one machine with four GPUs": [Part(0, 4, 4)],
}


def eleven(mixup, part=None):
    """Augmented batches of eight: the last one of an epoch has fewer images than devices."""
    augmentation = Augmentation(**EVERY, mixup=mixup)
    return training_batches(
        images_of(11), np.arange(11) % 3, batch_size=8, seed=5, epochs=2,
        augmentation=augmentation, part=part or Part(),
    )  # fmt: skip


@cache
def whole_batches(mixup):
    return list(eleven(mixup).as_numpy_iterator())


@pytest.mark.parametrize(
    ("parts", "mixup"),
    [
        *(pytest.param(parts, 0.4, id=f"{name}, mixed") for name, parts in PARTS.items()),
        pytest.param(PARTS["two machines with two GPUs"], 0.0, id="not mixed"),
    ],
)
def test_parts_of_training_batches_are_the_whole(parts, mixup):
    found = joined(lambda part: eleven(mixup, part), parts)
    assert [len(one[0]) for one in found] == [8, 3, 8, 3]
    for (batch, truth), (ours, our_truth, _) in zip(whole_batches(mixup), found, strict=True):
        np.testing.assert_allclose(ours, batch, atol=1e-6)
        np.testing.assert_allclose(our_truth, truth, atol=1e-6)


def test_grid_masks_of_parts_are_those_of_the_whole():
    labels, images = np.zeros(4, int), images_of(4)
    settings = {
        "batch_size": 4,
        "seed": 5,
        "epochs": 1,
        "augmentation": Augmentation(grid_mask=0.5),
    }
    ((whole, _),) = training_batches(images, labels, **settings).as_numpy_iterator()
    make = lambda part: training_batches(images, labels, **settings, part=part)  # noqa: E731
    ((found, _),) = joined(make, PARTS["two machines"])
    np.testing.assert_array_equal(found, whole)


def test_weights_make_the_mean_over_devices_that_over_the_batch():
    labels, images = np.zeros(7, int), images_of(7)
    losses = images.array.mean(axis=(1, 2, 3))
    means = [0.0, 0.0]
    for device in (0, 1):
        part = Part(device, 1, 2)
        batches = training_batches(images, labels, batch_size=4, seed=0, epochs=1, part=part)
        for step, (batch, _, weight) in enumerate(batches.as_numpy_iterator()):
            means[step] += (batch.mean(axis=(1, 2, 3)) * weight).mean() / 2
    order = training_batches(images, labels, batch_size=4, seed=0, epochs=1).as_numpy_iterator()
    np.testing.assert_allclose(means, [batch.mean() for batch, _ in order], rtol=1e-6)
    assert losses.std() > 0.01


def test_batches_that_always_divide_evenly_have_no_weights():
    batches = training_batches(
        images_of(10), np.zeros(10, int), batch_size=4, seed=0, epochs=1, part=Part(0, 1, 2)
    )
    assert len(batches.element_spec) == 2


@pytest.mark.parametrize("parts", [pytest.param(p, id=name) for name, p in PARTS.items()])
def test_parts_of_evaluation_batches_hold_every_image_once_in_order(parts):
    labels, images = np.arange(9), images_of(9)

    def make(part, times=1):
        batches = evaluation_batches(
            images, labels, batch_size=4, values={"mm": np.arange(9.0)}, part=part
        )
        endless = batches.map(lambda image, truth: (image, truth["logits"], truth["mm"]))
        return endless.take(times * 3 * part.here)

    found = joined(make, parts)
    assert [len(one[0]) for one in found] == [4, 4, 1]
    for number, expected in enumerate((images.array, labels, np.arange(9.0))):
        np.testing.assert_array_equal(np.concatenate([one[number] for one in found]), expected)
    again = joined(lambda part: make(part, 2), parts)[3:]
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_each_machine_reads_only_its_part(tmp_path):
    """A device without an image in the last batch reads one, because batches cannot be empty."""
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        counts = np.random.default_rng(number).integers(0, 9999, (9, 9), dtype=np.uint16)
        Image.fromarray(counts).save(paths[-1])
    read, every = [], []
    for part in (*PARTS["two machines"], Part()):
        digests = {}
        images = StreamedImages(paths, build_preprocessing((8, 8)), digests)
        batches = evaluation_batches(images, np.arange(5), batch_size=4, part=part).take(2)
        every.append([batch for batch, _ in batches.as_numpy_iterator()])
        read.append({path[-5] for path in digests})
    assert read == [{"0", "1"}, {"2", "3", "4"}, {"0", "1", "2", "3", "4"}]
    assert [len(batch) for batch in every[0]] == [2, 0]
    together = np.concatenate([every[0][0], every[1][0], every[0][1], every[1][1]])
    np.testing.assert_array_equal(together, np.concatenate(every[2]))
