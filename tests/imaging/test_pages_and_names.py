"""Which files count as images, and which page of a stack is meant."""

import io

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from test_dicom_values import dicom_dataset

from alloyk.data.tree import find_images as find_in_folder
from alloyk.errors import AlloykError
from alloyk.imaging import image_size, is_image_file, page_count, read_image, split_page
from alloyk.inference import find_images

STACK = np.random.default_rng(2).integers(0, 65536, (3, 9, 7), dtype=np.uint16)


def write_images(folder):
    """One image under each name that counts, and files that do not."""
    gray = Image.fromarray(np.zeros((4, 5), np.uint8))
    for name in ("a.jfif", "b.PNG", "c.btf", "d.dic", "e.dc3", "no_suffix", "scan.0001"):
        kind = {"jfif": "JPEG", "btf": "TIFF"}.get(name.rpartition(".")[2], "PNG")
        gray.save(folder / name, kind)
    dicom_dataset(np.zeros((4, 6), np.uint8)).save_as(folder / "IM0001", enforce_file_format=True)
    for name in ("DICOMDIR", "notes", "notes.txt", "model.7z"):
        (folder / name).write_bytes(b"\0" * 128 + b"DICM" if name == "DICOMDIR" else b"text")
    return ["IM0001", "a.jfif", "b.PNG", "c.btf", "d.dic", "e.dc3", "no_suffix", "scan.0001"]


def test_every_command_takes_the_same_files_for_images(tmp_path):
    expected = write_images(tmp_path)
    assert find_in_folder(tmp_path).images == expected
    paths = [str(tmp_path / name) for name in expected]
    ignored = []
    assert find_images([str(tmp_path)], ignored.extend) == paths
    assert find_images([str(tmp_path / "*")], ignored.extend) == paths
    others = [str(tmp_path / name) for name in ("DICOMDIR", "model.7z", "notes", "notes.txt")]
    assert ignored == others * 2
    assert [is_image_file(path) for path in paths + others] == [True] * 8 + [False] * 4


def test_a_dicomdir_says_what_to_give_instead(tmp_path):
    dataset = dicom_dataset(np.zeros((4, 6), np.uint8))
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    for name in ("PixelData", "Rows", "Columns"):
        del dataset[name]
    dataset.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    with pytest.raises(
        AlloykError, match="a DICOMDIR, an index without images; give the folder of its images"
    ):
        read_image(tmp_path / "DICOMDIR")


@pytest.mark.parametrize("kind", ["tiff", "imagej", "dicom"])
def test_a_page_and_the_mean_of_all_are_named_in_the_path(tmp_path, kind):
    path = tmp_path / "stack.img"
    if kind == "dicom":
        dataset = dicom_dataset(STACK[0], NumberOfFrames=3, PixelData=STACK[:, :8].tobytes())
        dataset.Rows = 8
        stack = STACK[:, :8]
        dataset.save_as(path, enforce_file_format=True)
    else:
        stack = STACK
        tifffile.imwrite(path, stack, photometric="minisblack", imagej=kind == "imagej")
    assert page_count(path) == 3
    for number in range(3):
        np.testing.assert_array_equal(read_image(f"{path}[{number}]")[..., 0], stack[number])
    mean = read_image(f"{path}[mean]")
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean[..., 0], stack.mean(axis=0), rtol=1e-6)
    assert image_size(f"{path}[mean]") == stack.shape[1:]
    with pytest.raises(AlloykError, match=r"the page must be 0 to 2, got 3"):
        read_image(f"{path}[3]")
    with pytest.raises(
        AlloykError, match=r"\(data\.page\), or name one as FILE\[0\], their mean as FILE\[mean\]"
    ):
        read_image(path)


def test_a_file_of_that_very_name_comes_first(tmp_path):
    Image.fromarray(STACK[0]).save(tmp_path / "plate.png")
    Image.fromarray(STACK[1]).save(tmp_path / "plate.png[0]", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "plate.png[0]")[..., 0], STACK[1])
    assert split_page(tmp_path / "plate.png[1]") == (str(tmp_path / "plate.png"), 1)
    np.testing.assert_array_equal(
        read_image(tmp_path / "plate.png[mean]")[..., 0], STACK[0]
    )  # of one page: the page


def test_pages_of_several_sizes_have_no_mean(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(STACK[0])
        tiff.write(STACK[1, :4])
    with pytest.raises(AlloykError, match=r"must have one size for their mean, got \(9, 7\)"):
        read_image(tmp_path / "a.tif[mean]")


def test_short_of_memory_is_not_the_fault_of_the_file(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError("Unable to allocate 9.4 GiB")

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, STACK[0])
    monkeypatch.setattr(tifffile.TiffPage, "asarray", full)
    with pytest.raises(AlloykError, match="it does not fit into memory") as error:
        read_image(buffer.getvalue())
    assert "replace or remove" not in str(error.value)


def test_a_value_beyond_the_type_prints_no_warning(tmp_path, recwarn):
    path = tmp_path / "a.dcm"
    dataset = dicom_dataset(STACK[0, :8, :6], RescaleSlope="1e38", RescaleIntercept="0")
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(
        AlloykError, match=r"values are beyond ±3\.4e\+38, the range of float32; rescale"
    ):
        read_image(path)
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]
    assert pydicom.dcmread(path).Rows == 8
