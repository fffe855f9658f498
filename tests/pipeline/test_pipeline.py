"""Every image arrives, in the order that seed and epoch fix, with the same numbers on each road."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from alloyk.data import load_dataset
from alloyk.errors import AlloykError
from alloyk.imaging import plain_format, read_image
from alloyk.pipeline import (
    KeptImages,
    Part,
    StreamedImages,
    evaluation_batches,
    keep_images,
    mean_and_std,
    reading,
    reading_errors,
    steps_per_epoch,
    training_batches,
)
from alloyk.pipeline.python_calls import PythonCalls
from alloyk.preprocessing import build_preprocessing
from alloyk.preprocessing.augmentation import Augmentation


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
    batches = list(train(as_float32(numbered()), labels).as_numpy_iterator())
    assert len(batches) == 6
    for images, batch_labels in batches:
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
    labels = np.arange(10) * 7 % 10
    batches = evaluation_batches(as_float32(numbered()), labels, batch_size=4)
    assert numbers_of(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    found = [batch.tolist() for _, batch in batches.as_numpy_iterator()]
    assert found == [[0, 7, 4, 1], [8, 5, 2, 9], [6, 3]]


def test_no_batches_wait_for_tf_data_to_tune_itself(files, preprocessing):
    labels = np.zeros(len(files), int)
    for images in (
        keep_images(files, preprocessing),
        StreamedImages(files, preprocessing),
    ):
        for batches in (
            train(images, labels),
            evaluation_batches(images, labels, batch_size=4),
            evaluation_batches(images, labels, batch_size=4, part=Part(total=2)),
        ):
            assert batches.options().autotune.enabled is False


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


def test_disk_cache_notices_changed_files(tmp_path, preprocessing):
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "set" / ("1050", "2017")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 16384, (20, 30), dtype=np.uint16)).save(path)

    def keep():
        dataset = load_dataset(tmp_path / "set")
        paths = list(dataset.paths("train"))
        folder, key = tmp_path / "cache", dataset.fingerprint()
        kept = keep_images(paths, preprocessing, folder=folder, key=key)
        np.testing.assert_array_equal(kept.array, keep_images(paths, preprocessing).array)
        return paths, sorted(folder.iterdir())

    paths, (first,) = keep()
    assert keep() == (paths, [first])
    # The same name and size, other pixels.
    pixels = np.asarray(Image.open(paths[0]))
    Image.fromarray(pixels[::-1].copy()).save(paths[0])
    os.utime(paths[0], ns=(1, 1))
    assert len(keep()[1]) == 2


def test_a_damaged_cache_file_is_made_anew(files, preprocessing, tmp_path):
    whole = np.array(keep_images(files, preprocessing, folder=tmp_path).array)
    (file,) = tmp_path.glob("*.npy")
    for content in (file.read_bytes()[:-100], b"", b"no array"):
        file.unlink()
        file.write_bytes(content)
        kept = keep_images(files, preprocessing, folder=tmp_path)
        np.testing.assert_array_equal(kept.array, whole)


def test_a_complete_cache_file_needs_no_room(files, preprocessing, tmp_path, monkeypatch):
    whole = np.array(keep_images(files, preprocessing, folder=tmp_path).array)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    np.testing.assert_array_equal(keep_images(files, preprocessing, folder=tmp_path).array, whole)


def test_no_room_for_the_cache_is_said_before_anything_is_read(
    tmp_path, preprocessing, monkeypatch
):
    paths = [tmp_path / "absent.png"] * 10_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    with pytest.raises(AlloykError, match=r"into the 0\.0 GB of .*, got 10000 .* XDG_CACHE"):
        keep_images(paths, preprocessing, folder=tmp_path / "cache")
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    with pytest.raises(AlloykError, match=r"0\.0 GB of this machine, got .*; set data\.cache=disk"):
        keep_images(paths, preprocessing)
    monkeypatch.undo()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AlloykError, match=r"cannot write .*file/cache"):
        keep_images(paths[:1], preprocessing, folder=tmp_path / "file" / "cache")


@pytest.fixture
def every_kind(tmp_path):
    """Files for each decoder of TensorFlow, and for none, with what `read_image` makes of them."""
    rng = np.random.default_rng(1)
    gray16 = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    gray, rgb = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((25, 17), (19, 21, 3)))
    exif = Image.Exif()
    exif[0x0112] = 6
    written = [
        ("gray.png", gray, {}),
        ("gray16.png", gray16, {}),
        ("rgb.png", rgb, {"icc_profile": b"profile"}),
        ("alpha.png", np.dstack([rgb, rgb[..., :1]]), {}),
        ("turned.png", gray16, {"exif": exif}),
        ("gray.jpg", gray, {}),
        *((f"rgb{s}.jpg", rgb, {"subsampling": s, "quality": 100}) for s in (0, 1, 2)),
        ("optimized.jpg", gray, {"optimize": True, "quality": 40}),
        ("progressive.jpg", rgb, {"progressive": True}),
        ("turned.jpg", rgb, {"exif": exif}),
        ("gray16.tif", gray16, {}),
        ("rgb.bmp", rgb, {}),
        ("tiff.png", gray, {"format": "TIFF"}),
        ("png.tif", rgb, {"format": "PNG"}),
    ]
    for name, array, options in written:
        Image.fromarray(array).save(tmp_path / name, **options)
    return [tmp_path / name for name, _, _ in written]


def test_each_file_gives_the_numbers_of_read_image_whoever_decodes_it(every_kind, monkeypatch):
    preprocessing = build_preprocessing((24, 24))
    expected = [preprocessing(read_image(p)[None].astype(np.float32))[0] for p in every_kind]
    assert {plain_format(path) for path in every_kind} == {"png8", "png16", "jpeg", None}
    np.testing.assert_array_equal(keep_images(every_kind, preprocessing).array, expected)
    monkeypatch.setattr(reading, "plain_format", lambda content: None)
    np.testing.assert_array_equal(keep_images(every_kind, preprocessing).array, expected)


def test_a_batch_that_tensorflow_cannot_decode_is_read_by_read_image(every_kind, monkeypatch):
    preprocessing = build_preprocessing((24, 24))
    expected = keep_images(every_kind, preprocessing).array
    paths = every_kind * 7  # one batch and a part of the next
    real = plain_format
    tiff_for_png = lambda data: "png8" if data[:2] in (b"II", b"MM") else real(data)  # noqa: E731
    monkeypatch.setattr(reading, "plain_format", tiff_for_png)
    kept = keep_images(paths, preprocessing)
    np.testing.assert_array_equal(kept.array, np.tile(expected, (7, 1, 1, 1)))


def test_each_plain_file_is_read_once_and_its_hash_is_that_of_the_bytes_decoded(
    files, preprocessing, monkeypatch
):
    opened = []
    plain_content = reading._plain_content
    monkeypatch.setattr(
        reading, "_plain_content", lambda path: opened.append(path) or plain_content(path)
    )
    monkeypatch.setattr(reading, "read_image", None)  # no second reading
    kept, streamed = {}, {}
    keep_images(files, preprocessing, digests=kept)
    assert sorted(opened) == sorted(os.fsencode(path) for path in files)
    assert kept == {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    stream = StreamedImages(files, preprocessing, streamed)
    list(stream.batches(tf.data.Dataset.range(len(files)).batch(4)))
    assert streamed == kept


def stream_images(paths, preprocessing):
    return list(StreamedImages(paths, preprocessing).batches(tf.data.Dataset.range(70).batch(32)))


@pytest.mark.parametrize("read", [keep_images, stream_images])
def test_damage_that_only_a_decoder_sees_is_named(tmp_path, read, preprocessing):
    paths = [tmp_path / f"{number}.png" for number in range(70)]
    for path in paths:
        Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30)).save(path)
    content = paths[66].read_bytes()
    start = content.index(b"IDAT")
    length = int.from_bytes(content[start - 4 : start])
    # Fewer rows than the header says, in a part with the right checksum.
    part = b"IDAT" + zlib.compress(bytes(31 * 19))
    part = (len(part) - 4).to_bytes(4) + part + zlib.crc32(part).to_bytes(4)
    paths[66].write_bytes(content[: start - 4] + part + content[start + length + 8 :])
    assert plain_format(paths[66]) == "png8"
    with pytest.raises(AlloykError, match=r"66\.png: it has 589"), reading_errors():
        read(paths, preprocessing)


def written_png(array, parts):
    """A PNG file whose compressed pixels are in several parts."""
    content = io.BytesIO()
    Image.fromarray(array).save(content, "png")
    content = content.getvalue()
    start = content.index(b"IDAT") - 4
    length = int.from_bytes(content[start : start + 4])
    pixels = content[start + 8 : start + 8 + length]
    cut = -(-length // parts)
    chunks = [b"IDAT" + pixels[n : n + cut] for n in range(0, length, cut)]
    middle = b"".join(
        (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks
    )
    return content[:start] + middle + content[start + 12 + length :]


@pytest.mark.parametrize("kind", ["gray8", "gray16", "rgb"])
def test_no_changed_bit_of_a_png_goes_unnoticed(kind, tmp_path):
    """Checksums of pixels are left to TensorFlow: what it accepts, `read_image` accepts too."""
    rng = np.random.default_rng(0)
    shape, dtype = {
        "gray8": ((5, 6), np.uint8), "gray16": ((5, 6), np.uint16), "rgb": ((5, 6, 3), np.uint8),
    }[kind]  # fmt: skip
    content = written_png(rng.integers(0, 256, shape).astype(dtype), parts=3)
    file = tmp_path / "a.png"
    accepted = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        found = plain_format(bytes(damaged))
        if found is None:
            continue
        try:
            decoded = reading._DECODERS[found](bytes(damaged)).numpy()
        except tf.errors.InvalidArgumentError:
            continue
        file.write_bytes(damaged)
        np.testing.assert_array_equal(decoded, read_image(file))
        accepted += 1
    assert accepted == 0
    assert plain_format(content) is not None


def test_rest_means_that_running_calls_have_ended_and_new_ones_fail():
    calls, begun, ended, told = PythonCalls(), threading.Event(), [], []

    def slow():
        begun.set()
        time.sleep(0.3)
        ended.append(True)

    def late():
        begun.wait()
        time.sleep(0.1)
        try:
            calls.counted(lambda: None)()
        except RuntimeError as error:
            told.append(str(error))

    threads = [threading.Thread(target=calls.counted(slow)), threading.Thread(target=late)]
    for thread in threads:
        thread.start()
    begun.wait()
    calls.wait_for_rest()
    assert ended
    assert told == ["the iterator of this batch is being closed"]
    assert calls.counted(lambda: 3)() == 3
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_whatever_ends_a_loop_over_batches_waits_for_rest(monkeypatch, error):
    waited = []
    monkeypatch.setattr(reading.PYTHON_CALLS, "wait_for_rest", lambda: waited.append(True))
    with pytest.raises(error), reading_errors():
        raise error
    assert waited
    with reading_errors():
        pass
    assert waited == [True]


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


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images():
    script = Path(__file__).parents[2] / "scripts" / "bench_memory.py"
    command = [sys.executable, str(script), "--images", "500", "6000", "--size", "16"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes = [float(line.split()[-2]) for line in done.stdout.splitlines()]
    few_streamed, many_streamed, few_on_disk, many_on_disk = megabytes
    # 5,500 images of 64² would be 90 MB.
    assert many_streamed - few_streamed < 40
    assert many_on_disk - few_on_disk < 40
