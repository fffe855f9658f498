"""Images whose channels are several files, pages or samples."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from alloyk.errors import AlloykError
from alloyk.imaging import image_files, image_size, read_image, split_page


def counts(number, size=(6, 5)):
    return np.random.default_rng(number).integers(0, 2**14, size).astype(np.uint16)


def written(path, number, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(counts(number, size)).save(path)
    return path


def test_files_are_the_channels_of_one_image(tmp_path):
    for kv, number in ((40, 1), (45, 2), (50, 3)):
        written(tmp_path / str(kv) / "p1.png", number)
    name = tmp_path / "50/p1.png|../40/p1.png|../45/p1.png"
    image = read_image(name)
    np.testing.assert_array_equal(image, np.stack([counts(3), counts(1), counts(2)], axis=2))
    assert image.dtype == np.uint16
    assert image_size(name) == (6, 5)
    assert [file.parent.name for file in image_files(name)] == ["50", "40", "45"]


def test_a_file_whose_name_has_the_separator_is_one_file(tmp_path):
    written(tmp_path / "a|b.png", 1)
    np.testing.assert_array_equal(read_image(tmp_path / "a|b.png")[..., 0], counts(1))


def test_pages_may_be_named_as_channels(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", np.stack([counts(n) for n in range(3)]),
                     photometric="minisblack")  # fmt: skip
    name = f"{tmp_path}/s.tif[2]|s.tif[0]"
    assert split_page(name) == (name, None)
    np.testing.assert_array_equal(read_image(name), np.stack([counts(2), counts(0)], axis=2))


def test_colour_in_a_file_of_a_channel_is_one_channel(tmp_path):
    gray = counts(1).astype(np.uint8)
    Image.fromarray(np.repeat(gray[..., None], 3, axis=2)).save(tmp_path / "a.png")
    Image.fromarray(gray).save(tmp_path / "b.png")
    image = read_image(tmp_path / "a.png|b.png")
    np.testing.assert_allclose(image[..., 0], image[..., 1], rtol=1e-6)
    assert image.shape == (6, 5, 2)


def test_channels_of_unequal_size_are_refused_by_name(tmp_path):
    written(tmp_path / "a.png", 1)
    written(tmp_path / "b.png", 2, (6, 7))
    with pytest.raises(AlloykError, match=r"must have one size, got 6×5 and 6×7 in .*a.png\|b.png"):
        read_image(tmp_path / "a.png|b.png")


def test_a_missing_channel_is_named(tmp_path):
    written(tmp_path / "a.png", 1)
    with pytest.raises(AlloykError, match=r"^no image at .*/b.png; check the path$"):
        read_image(tmp_path / "a.png|b.png")


@pytest.mark.parametrize("form", ["pages", "samples", "planes", "npy"])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_everything_in_one_file_as_channels(tmp_path, form, channels):
    image = np.stack([counts(n, (9, 8)) for n in range(channels)], axis=2)
    path = tmp_path / ("s.npy" if form == "npy" else "s.tif")
    if form == "npy":
        np.save(path, np.moveaxis(image, -1, 0))
    elif form == "pages":
        with tifffile.TiffWriter(path) as writer:
            for channel in np.moveaxis(image, -1, 0):
                writer.write(channel, photometric="minisblack")
    elif form == "samples":
        tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig")
    else:
        planes = np.ascontiguousarray(np.moveaxis(image, -1, 0))
        tifffile.imwrite(path, planes, photometric="minisblack", planarconfig="separate")
    np.testing.assert_array_equal(read_image(f"{path}[channels]"), image)
    assert image_size(f"{path}[channels]") == (9, 8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_colours_are_no_channels(tmp_path, suffix):
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / f"photo{suffix}")
    with pytest.raises(AlloykError, match="colours cannot be used as channels; save one page"):
        read_image(f"{tmp_path}/photo{suffix}[channels]")


def test_pages_of_unequal_size_are_no_channels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        writer.write(counts(1), photometric="minisblack")
        writer.write(counts(1, (6, 8)), photometric="minisblack")
    with pytest.raises(AlloykError, match=r"s.tif: the channels .* got 6×5 and 6×8 in its pages"):
        read_image(f"{tmp_path}/s.tif[channels]")
