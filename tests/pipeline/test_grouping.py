"""Small images are preprocessed together, with the bits that each gets by itself."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from alloyk.errors import AlloykError
from alloyk.pipeline import StreamedImages, keep_images, reading_errors
from alloyk.pipeline.grouping import GROUP_NUMBERS, GROUPED_PIXELS, Grouping
from alloyk.preprocessing import build_preprocessing

SETTINGS = {
    "robust": {"normalize": "robust"},
    "repair": {"normalize": "none", "repair": True},
    "min_max, equalised": {"normalize": "min_max", "equalize": True},
    "log": {"normalize": "log", "repair": True},
    "upright": {"normalize": "min_max", "upright": True},
    "resized first": {"normalize": "log", "equalize": True, "order": "resize_first"},
    "channels": {"normalize": "robust", "repair": True, "upright": True, "channels": 3},
    "channels, log": {"normalize": "log", "channels": 3},
}


def radiograph(rng, height, width):
    """Counts of a wedge with noise, a step and some defective pixels, uint16."""
    counts = rng.normal(9000, 300, (height, width)) + np.linspace(0, rng.normal(3000, 500), width)
    counts[: height // 3] *= 1.3
    counts.reshape(-1)[rng.integers(0, counts.size, 3)] = [0, 65535, 30]
    return counts.astype(np.uint16)


@pytest.fixture
def count_calls(monkeypatch):
    """Numbers of images of all calls of preprocessing, as the graph runs."""
    calls = []
    init = Grouping.__init__

    def counted(self, preprocessing):
        init(self, preprocessing)
        alone = self.alone

        def call(images):
            count = tf.numpy_function(lambda n: calls.append(int(n)), [tf.shape(images)[0]], [])
            with tf.control_dependencies([count]):
                return alone(images)

        self.alone = call

    monkeypatch.setattr(Grouping, "__init__", counted)
    return calls


@pytest.mark.parametrize("size", [(24, 24), (64, 48), (128, 256)])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_group_gets_the_bits_of_single_images(settings, size):
    rng = np.random.default_rng(0)
    channels = settings.get("channels", 1)
    images = np.stack(
        [np.stack([radiograph(rng, *size) for _ in range(channels)], axis=-1) for _ in range(11)]
    ).astype(np.float32)
    preprocessing = build_preprocessing((24, 32), **settings)
    grouping = Grouping(preprocessing)
    single = np.concatenate([grouping.alone(image[None]) for image in images])
    call = tf.function(
        grouping.together,
        autograph=False,
        input_signature=[
            tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((None, 3), tf.int32),
        ],
    )  # fmt: skip
    shapes = np.tile(np.int32([*size, channels]), (len(images), 1))
    together = call(images.reshape(len(images), -1), shapes)
    np.testing.assert_array_equal(together, single)
    assert single.std() > 0.01


@pytest.fixture
def files(tmp_path):
    """Forty PNG files, small ones of two sizes, some of them RGB."""
    rng = np.random.default_rng(1)
    paths = []
    for number in range(40):
        counts = radiograph(rng, *((24, 32) if number % 3 else (40, 24)))
        if number % 5 == 4:
            counts = np.dstack([counts >> 8, counts >> 9, counts & 255]).astype(np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(counts).save(paths[-1])
    return paths


def streamed(paths, preprocessing, batch=16):
    numbers = tf.data.Dataset.range(len(paths)).batch(batch)
    with reading_errors():
        return np.concatenate(list(StreamedImages(paths, preprocessing).batches(numbers)))


@pytest.mark.parametrize("settings", [SETTINGS["repair"], SETTINGS["log"]], ids=["repair", "log"])
def test_sizes_and_channels_may_differ_within_a_batch(files, settings, count_calls, monkeypatch):
    preprocessing = build_preprocessing((24, 24), **settings)
    found = streamed(files, preprocessing)
    assert max(count_calls) > 1
    assert sum(count_calls) == len(files)
    count_calls.clear()
    monkeypatch.setattr(Grouping, "is_for", lambda self, sizes: False)
    np.testing.assert_array_equal(found, streamed(files, preprocessing))
    np.testing.assert_array_equal(found, keep_images(files, preprocessing).array)
    assert set(count_calls) == {1}


def test_a_large_image_or_another_format_is_preprocessed_by_itself(files, tmp_path, count_calls):
    preprocessing = build_preprocessing((24, 24))
    rng = np.random.default_rng(2)
    counts = radiograph(rng, 256, 136)
    assert counts.size > GROUPED_PIXELS
    Image.fromarray(counts).save(tmp_path / "large.png")
    Image.fromarray(radiograph(rng, 24, 24)).save(tmp_path / "other.tif")
    mixed = [*files[:3], tmp_path / "large.png", *files[3:5], tmp_path / "other.tif"]
    found = streamed(mixed, preprocessing, batch=4)
    assert count_calls == [1] * len(mixed)
    alone = [streamed([path], preprocessing)[0] for path in mixed]
    np.testing.assert_array_equal(found, alone)


def test_a_group_holds_no_more_numbers_than_fit_into_the_cache(tmp_path, count_calls):
    side = 88
    Image.fromarray(radiograph(np.random.default_rng(0), side, side)).save(tmp_path / "a.png")
    streamed([tmp_path / "a.png"] * 30, build_preprocessing((24, 24)), batch=30)
    assert max(count_calls) == GROUP_NUMBERS // side**2
    assert sum(count_calls) == 30


def test_a_broken_image_is_named_and_others_are_not_lost_to_it(files):
    preprocessing = build_preprocessing((24, 24))
    content = files[21].read_bytes()
    damaged = bytearray(content)
    damaged[-30] ^= 1  # within the compressed pixels
    files[21].write_bytes(damaged)
    with pytest.raises(AlloykError, match=r"21\.png"):
        streamed(files, preprocessing)
    files[21].write_bytes(content[:60])
    with pytest.raises(AlloykError, match=r"21\.png"):
        streamed(files, preprocessing)


def test_images_of_another_size_than_the_flat_frames_are_refused(tmp_path):
    from alloyk.preprocessing.flat_frames import load_flat_frames

    rng = np.random.default_rng(0)
    for name, level in (("flat", 50_000), ("dark", 100)):
        frame = rng.normal(level, 10, (32, 32)).astype(np.uint16)
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    frames = load_flat_frames(tmp_path, "flat.png", "dark.png")
    preprocessing = build_preprocessing((24, 24), flat_frames=frames, attenuation=True)
    for number, size in enumerate([(32, 32)] * 9 + [(24, 40)]):
        Image.fromarray(radiograph(rng, *size)).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    found = streamed(paths[:9], preprocessing)
    alone = [streamed([path], preprocessing)[0] for path in paths[:9]]
    np.testing.assert_array_equal(found, alone)
    with pytest.raises(AlloykError, match=r"9\.png must have the size of the flat frames"):
        streamed(paths, preprocessing)
