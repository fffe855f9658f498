"""Every image arrives, in the order that seed and epoch fix, with the same numbers on each road."""

import numpy as np
import pytest
from PIL import Image

from alloyk.augmentation import Augmentation
from alloyk.errors import AlloykError
from alloyk.pipeline import (
    KeptImages,
    StreamedImages,
    evaluation_batches,
    keep_images,
    mean_and_std,
    steps_per_epoch,
    training_batches,
)
from alloyk.preprocessing import build_preprocessing


@pytest.fixture
def files(tmp_path):
    """Eleven 16-bit PNG files of two sizes, one of them RGB."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(11):
        shape = (20, 30) if number % 2 else (25, 17)
        image = Image.fromarray(rng.integers(0, 16384, shape, dtype=np.uint16))
        if number == 4:
            image = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        paths.append(tmp_path / f"image {number}.png")
        image.save(paths[-1])
    return paths


@pytest.fixture
def preprocessing():
    return build_preprocessing((12, 16), equalize=True)


def numbered(n=10):
    """Images whose pixels are their number."""
    return KeptImages(np.arange(n, dtype=np.float32)[:, None, None, None] * np.ones((1, 4, 4, 1)))


def numbers_of(batches):
    return [images[:, 0, 0, 0].astype(int).tolist() for images, _ in batches.as_numpy_iterator()]


def train(images, labels, **settings):
    return training_batches(images, labels, **{"batch_size": 4, "seed": 3, "epochs": 2, **settings})


def as_float32(kept):
    return KeptImages(kept.array.astype(np.float32))


def test_each_epoch_holds_every_image_once_in_an_order_of_its_own():
    batches = numbers_of(train(as_float32(numbered()), np.zeros(10)))
    assert [len(batch) for batch in batches] == [4, 4, 2] * 2
    assert steps_per_epoch(10, 4) == 3
    first, second = np.concatenate(batches[:3]).tolist(), np.concatenate(batches[3:]).tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_same_seed_same_batches_and_a_later_start_continues_them():
    augmentation = Augmentation(noise=0.1, horizontal_flip=True, rotation_deg=10)
    images = KeptImages(np.random.default_rng(1).random((10, 8, 8, 1)).astype(np.float32))
    labels = np.arange(10) % 2
    whole = list(train(images, labels, augmentation=augmentation).as_numpy_iterator())
    again = list(train(images, labels, augmentation=augmentation).as_numpy_iterator())
    later = list(
        train(images, labels, augmentation=augmentation, first_epoch=1).as_numpy_iterator()
    )
    other = list(train(images, labels, augmentation=augmentation, seed=4).as_numpy_iterator())
    for one, two in zip(whole + whole[3:], again + later, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert any((one[0] != two[0]).any() for one, two in zip(whole, other, strict=True))


def test_labels_stay_with_their_images():
    labels = np.arange(10) % 3
    for images, batch_labels in train(as_float32(numbered()), labels).as_numpy_iterator():
        np.testing.assert_array_equal(batch_labels, images[:, 0, 0, 0].astype(int) % 3)


def test_class_aware_sampling_draws_classes_equally_and_every_image():
    labels = np.array([0] * 900 + [1] * 90 + [2] * 10)
    images = as_float32(numbered(1000))
    drawn = train(images, labels, batch_size=100, epochs=20, class_aware=True)
    numbers = np.concatenate(numbers_of(drawn))
    counts = np.bincount(labels[numbers], minlength=3)
    assert len(numbers) == 20 * 1000
    np.testing.assert_allclose(counts / len(numbers), 1 / 3, atol=0.015)
    assert len(set(numbers[numbers >= 900])) == 100


def test_class_aware_sampling_goes_without_an_absent_class():
    labels = np.array([0] * 5 + [2] * 5)
    drawn = train(as_float32(numbered()), labels, epochs=5, class_aware=True)
    assert set(np.concatenate(numbers_of(drawn))) <= set(range(10))


def test_evaluation_drops_nothing_and_keeps_the_order():
    batches = list(evaluation_batches(as_float32(numbered()), np.arange(10), batch_size=4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), np.arange(10))


def test_kept_streamed_and_mapped_images_are_the_same(files, preprocessing, tmp_path):
    in_memory = keep_images(files, preprocessing)
    on_disk = keep_images(files, preprocessing, folder=tmp_path / "cache", key="a")
    assert isinstance(on_disk.array, np.memmap)
    np.testing.assert_array_equal(in_memory.array, on_disk.array)
    labels = np.arange(len(files)) % 2
    for images in (on_disk, StreamedImages(files, preprocessing)):
        expected = train(in_memory, labels).as_numpy_iterator()
        for one, two in zip(expected, train(images, labels).as_numpy_iterator(), strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_disk_cache_is_taken_again_and_knows_its_source_and_settings(files, tmp_path):
    folder = tmp_path / "cache"

    def keep(key="a", **settings):
        keep_images(files, build_preprocessing((8, 8), **settings), folder=folder, key=key)
        return len(list(folder.iterdir()))

    assert keep() == 1
    assert keep() == 1
    assert keep(key="b") == 2
    assert keep(equalize=True) == 3


def test_unreadable_image_is_named_and_leaves_no_cache(files, preprocessing, tmp_path):
    files[5].write_bytes(files[5].read_bytes()[:60])
    with pytest.raises(AlloykError, match=r"image 5\.png"):
        keep_images(files, preprocessing, folder=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_mean_and_std_over_all_pixels(files, preprocessing):
    kept = keep_images(files, preprocessing)
    mean, std = mean_and_std(StreamedImages(files, preprocessing), len(files))
    assert mean[0] == pytest.approx(kept.array.mean(dtype=np.float64), rel=1e-6)
    assert std[0] == pytest.approx(kept.array.std(dtype=np.float64), rel=1e-6)
