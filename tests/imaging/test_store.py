"""Images in shards: the bytes of the files, found by name; damage names the shard."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from alloyk.errors import DataError
from alloyk.imaging import image_bytes, image_exists, image_length, image_stamp, read_image
from alloyk.imaging import store as store_module
from alloyk.imaging.records import checksum, content_of
from alloyk.imaging.store import ImageStore, open_store
from alloyk.imaging.store_writing import write_store

NAMES = [f"train/{label}/plate {number}.png" for label in ("1050", "2017") for number in range(5)]


def written(folder, shards=3):
    """A store of ten files of different lengths; name → bytes."""
    contents = {name: os.urandom(10 + number) for number, name in enumerate(NAMES)}
    (folder / "source").mkdir()
    for number, content in enumerate(contents.values()):
        (folder / "source" / str(number)).write_bytes(content)
    root = folder / "packed"
    root.mkdir()
    write_store(root, NAMES, folder / "source", [str(n) for n in range(len(NAMES))], shards)
    return root, contents


def test_every_name_gives_the_bytes_of_its_file(tmp_path):
    root, contents = written(tmp_path)
    for name, content in contents.items():
        assert image_bytes(root / name) == content
        assert image_exists(root / name)
        assert image_length(root / name) == len(content)
        assert image_stamp(root / name) == (len(content), checksum(content))
    assert not image_exists(root / "train/1050/plate 5.png")
    with pytest.raises(FileNotFoundError):
        image_bytes(root / "train/1050/plate 5.png")
    store = open_store(root)
    assert len(store) == 10
    assert store.missing([*NAMES, "other.png"]) == ["other.png"]


def test_tensorflow_reads_the_shards_in_order(tmp_path):
    root, contents = written(tmp_path)
    files = sorted(str(file) for file in (root / "shards").glob("*.tfrecord"))
    assert [os.path.basename(file) for file in files] == [
        f"images-0000{number}-of-00003.tfrecord" for number in range(3)
    ]
    records = tf.data.TFRecordDataset(files).as_numpy_iterator()
    assert list(records) == list(contents.values())


def test_an_image_too_large_for_the_index_is_refused(tmp_path, monkeypatch):
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.png").write_bytes(bytes(300))
    monkeypatch.setattr("alloyk.imaging.store_writing.MAX_LENGTH", 200)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"less than 4 GiB, got .* in .*a\.png; leave out --shards"):
        write_store(tmp_path / "out", ["a.png"], files, ["a.png"], 1)


def test_names_with_one_hash_get_another_salt(tmp_path, monkeypatch):
    """Of 10 names in 8 hashes two collide with the first salt, whatever they are."""
    real = store_module.name_key
    monkeypatch.setattr(
        store_module, "name_key", lambda name, salt=0: real(name, salt) % (8 if salt < 2 else 2**64)
    )
    root, contents = written(tmp_path)
    assert json.loads((root / "shards/shards.json").read_text())["salt"] == 2
    assert image_bytes(root / NAMES[7]) == contents[NAMES[7]]


@pytest.mark.parametrize("count", [0, 11])
def test_a_wrong_number_of_shards_is_refused(tmp_path, count):
    with pytest.raises(DataError, match=rf"must be 1 to 10 for 10 images, got {count}; choose few"):
        written(tmp_path, count)


def test_a_missing_or_shortened_shard_is_named_when_the_data_set_is_opened(tmp_path):
    root, _ = written(tmp_path)
    shard = root / "shards/images-00001-of-00003.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(
        DataError,
        match=rf"images-00001-of-00003.tfrecord must have {len(content)} bytes, got "
        rf"{len(content) - 1}; restore it from a copy, or make the data set again",
    ):
        ImageStore(root)
    shard.unlink()
    with pytest.raises(DataError, match=r"00001-of-00003.tfrecord is missing \(No such file"):
        ImageStore(root)


def test_a_damaged_image_names_shard_and_byte_and_the_others_are_read(tmp_path):
    root, contents = written(tmp_path)
    shard = root / "shards/images-00000-of-00003.tfrecord"
    content = bytearray(shard.read_bytes())
    content[10 + 16 + 12] ^= 1  # first byte of the second image
    shard.write_bytes(content)
    assert image_bytes(root / NAMES[0]) == contents[NAMES[0]]
    with pytest.raises(DataError, match=r"00000-of-00003.tfrecord is damaged, or .* at byte 26; "):
        image_bytes(root / NAMES[1])
    with pytest.raises(
        DataError, match=r"cannot use the image .*plate 1.png: the shard .* damaged"
    ):
        read_image(root / NAMES[1])


def test_exchanged_shards_of_equal_length_are_found(tmp_path):
    (tmp_path / "source").mkdir()
    for name in "ab":
        (tmp_path / "source" / name).write_bytes(os.urandom(20))
    write_store(tmp_path, ["a", "b"], tmp_path / "source", ["a", "b"], 2)
    first, second = sorted((tmp_path / "shards").glob("*.tfrecord"))
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    with pytest.raises(
        DataError, match=r"00000-of-00002.tfrecord must have the image of the index"
    ):
        ImageStore(tmp_path).read("a")


def test_an_index_of_another_data_set_or_a_newer_version_is_refused(tmp_path):
    root, _ = written(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = written(tmp_path / "other")
    for name in ("keys.npy", "places.npy"):
        (root / "shards" / name).write_bytes((other / "shards" / name).read_bytes())
    with pytest.raises(DataError, match=r"the index in .*shards must be the one of its shards"):
        ImageStore(root)
    file = root / "shards/shards.json"
    file.write_text(file.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(DataError, match="must have version 1, got 2; install a newer alloyk"):
        ImageStore(root)
    file.write_text("{")
    with pytest.raises(DataError, match=r"shards.json must describe the shards, but it is damaged"):
        ImageStore(root)


def test_more_shards_than_open_files_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_OPEN", 2)
    root, contents = written(tmp_path, shards=10)
    store = open_store(root)
    assert [store.read(name) for name in NAMES] == list(contents.values())
    assert len(store._open) == 2


def test_a_record_is_refused_unless_whole():
    assert content_of(b"") is None
    assert content_of(np.zeros(40, np.uint8).tobytes()) is None
