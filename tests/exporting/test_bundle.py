"""The folder of `alloyk export --bundle`, in an environment with three packages."""

import ast
import csv
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny_run import raw_image

from alloyk.cli import main
from alloyk.errors import ConfigError, OptionError
from alloyk.exporting import device_script
from alloyk.exporting.bundle import export_bundle, write_bundle
from alloyk.imaging import read_image
from alloyk.inference import load
from alloyk.inference.novelty import FAR
from alloyk.inference.novelty_file import read_detector, write_detector
from alloyk.inference.novelty_fitting import fit_novelty
from alloyk.inference.tables import CSVTable
from alloyk.inference.wedge_curve import wedge_curve

MODEL = Path(__file__).parents[1] / "serving" / "tiny.tflite"

# The three, and what the first needs of other packages to be imported.
PACKAGES = ("ai_edge_litert", "numpy", "PIL")
LIBRARIES = ("numpy.libs", "pillow.libs")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "device"
    folder.mkdir()
    shutil.copy(MODEL, folder / "model.tflite")
    write_bundle(folder, (40, 48, 1))
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A folder with links to the three packages."""
    links = tmp_path_factory.mktemp("packages")
    for name in PACKAGES:
        found = Path(importlib.util.find_spec(name).origin).parent
        (links / name).symlink_to(found)
    for name in LIBRARIES:
        if (found.parent / name).is_dir():
            (links / name).symlink_to(found.parent / name)
    return links


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(12):
        Image.fromarray(raw_image(number)).save(folder / f"{number:02}.png")
    Image.fromarray(raw_image(20)).save(folder / "a.tif")
    Image.fromarray(raw_image(21, rgb=True)).save(folder / "b.png")
    Image.fromarray(raw_image(22, rgb=True)).save(folder / "c.jpg")
    Image.fromarray(raw_image(23, rgb=True)[..., 0]).save(folder / "d.bmp")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(raw_image(24, (48, 40), rgb=True)).save(folder / "e.jpg", exif=turned)
    strange = np.random.default_rng(0).integers(0, 60000, (40, 48)).astype(np.uint16)
    Image.fromarray(strange).save(folder / "f\r.png")
    return sorted(map(str, folder.iterdir()))


def command_of(bundle, environment, *arguments):
    """The script of a bundle where nothing but the three packages can be imported."""
    code = (
        "import runpy, sys; script = sys.argv[1]; sys.argv = sys.argv[2:]\n"
        f"sys.path[:0] = [{str(bundle)!r}, {str(environment)!r}]\n"
        "try: runpy.run_path(script, run_name='__main__')\n"
        "finally: print(sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", code, bundle / "predict.py", "predict.py"]
    return [*map(str, command), *map(str, arguments)]


def script(bundle, environment, *arguments):
    """Run it."""
    command = command_of(bundle, environment, *arguments)
    done = subprocess.run(command, capture_output=True, check=False)
    # Not with text=True, which would make a line feed of a carriage return in a name.
    done.stdout, done.stderr = map(os.fsdecode, (done.stdout, done.stderr))
    return done


def test_the_script_judges_wedge_curves_as_alloyk_does(tmp_path, environment):
    folder, pictures = tmp_path / "device", tmp_path / "images"
    folder.mkdir()
    pictures.mkdir()
    shutil.copy(MODEL, folder / "model.tflite")
    rng = np.random.default_rng(0)
    curves = np.stack([wedge_curve(stepped(rng.uniform(0.4, 0.5), rng)) for _ in range(200)])
    known = read_detector(MODEL)
    fitted = fit_novelty(np.ones((20, 6)), np.zeros((1, 7)), curves=curves)
    added = {name: getattr(fitted, name) for name in ("curve_bank", "curve_mean")}
    added |= {"curve_whitening": fitted.curve_whitening, "curve_threshold": 0.02}
    with pytest.warns(UserWarning, match="Duplicate name"):  # the last one counts
        write_detector(folder / "model.tflite", replace(known, **added))
    write_bundle(folder, (40, 48, 1))
    for number, contrast in enumerate((0.45, 0.7)):
        Image.fromarray(stepped(contrast, rng)).save(pictures / f"{number}.png")
    Image.fromarray(raw_image(3)).save(pictures / "2.png")
    images = sorted(map(str, pictures.iterdir()))
    done = script(folder, environment, *images)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    expected = load(folder / "model.tflite").predict(images).unlike
    np.testing.assert_allclose([float(row["unlike"]) for row in rows], expected, rtol=1e-4)
    assert expected[1] > expected[0]
    assert expected[2] == FAR  # no wedge


def stepped(contrast, rng):
    """A plate across the lower half of a wedge, 40 × 48."""
    rows, columns = np.mgrid[:40, :48]
    level = 12000 * np.exp(-columns / 40 - contrast * (rows >= 20))
    return rng.poisson(level).astype(np.uint16)


@pytest.mark.parametrize("abstain", [None, 0.05])
def test_the_script_says_what_alloyk_says(bundle, environment, images, abstain):
    options = [] if abstain is None else ["--abstain", abstain]
    done = script(bundle, environment, *images, *options)
    assert done.returncode == 0, done.stderr
    found = list(csv.reader(io.StringIO(done.stdout, newline="")))
    expected = load(MODEL, threads=1).predict(images, abstain=abstain)
    table = list(csv.reader(io.StringIO(CSVTable(True).add(expected), newline="")))
    assert found[0] == table[0]
    for row, other in zip(found[1:], table[1:], strict=True):
        for cell, same in zip(row, other, strict=True):
            if cell != same:  # numbers, in the last digit
                assert float(cell) == pytest.approx(float(same), rel=1e-5, abs=1e-7)
    if abstain:
        assert {row[-2] for row in found[1:]} >= {"", "uncertain", "unlike"}
    loaded = set(ast.literal_eval(done.stderr.splitlines()[-1]))
    assert not loaded & {"alloyk", "tensorflow", "keras", "tifffile", "pandas", "scipy"}


def test_what_cannot_be_read_gets_a_row_and_the_rest_is_done(bundle, environment, images, tmp_path):
    broken, small = tmp_path / "broken.png", tmp_path / "small.png"
    broken.write_bytes(Path(images[0]).read_bytes()[:-300])
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(small)
    stack = tmp_path / "stack.tif"
    pages = [Image.fromarray(raw_image(n)) for n in range(2)]
    pages[0].save(stack, save_all=True, append_images=pages[1:])
    done = script(bundle, environment, broken, images[0], small, stack)
    assert done.returncode == 1
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [bool(row["error"]) for row in rows] == [True, False, True, True]
    assert "must have the size 40x48 (height x width), got 8x9" in rows[2]["error"]
    assert "must have one page" in rows[3]["error"]
    assert rows[1]["predicted"]


def test_a_file_name_of_any_bytes_comes_back_as_it_is(bundle, environment, images, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    shutil.copy(images[0], name)
    done = script(bundle, environment, name, images[0])
    assert done.returncode == 0, done.stderr
    assert [row["path"] for row in csv.DictReader(io.StringIO(done.stdout))] == [name, images[0]]


def test_the_table_is_utf8_whatever_the_console_is(bundle, environment, images, tmp_path):
    named = shutil.copy(images[0], tmp_path / "板.png")
    command = command_of(bundle, environment, named)
    place = command.index("-c") + 1
    command[place] = f"import sys; sys.stdout.reconfigure(encoding='cp1252')\n{command[place]}"
    done = subprocess.run(command, capture_output=True, check=True)
    assert "板.png" in done.stdout.decode("utf-8")


def test_nan_from_the_model_is_no_class(bundle, images):
    classifier = device_script.load(bundle)
    name = classifier._outputs["probabilities"]["index"]
    given = classifier._interpreter.get_tensor

    class Failing:
        def __getattr__(self, attribute):
            return getattr(classifier_interpreter, attribute)

        def get_tensor(self, index):
            found = given(index)
            return np.full_like(found, np.nan) if index == name else found

    classifier_interpreter = classifier._interpreter
    classifier._interpreter = Failing()
    with pytest.raises(ValueError, match="NaN"):
        classifier.classify(read_image(images[0]))


def test_an_image_with_values_that_are_no_counts_is_refused(bundle, environment, tmp_path):
    paths = []
    for number, value in enumerate((np.nan, np.inf, -np.inf)):
        image = raw_image(number).astype(np.float32)
        image[3, 4] = value
        paths.append(tmp_path / f"{number}.tif")
        Image.fromarray(image).save(paths[-1])
    done = script(bundle, environment, *paths)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    reason = "ValueError: its values must be finite and within ±3.4e+38, unlike 1 of them"
    assert [row["error"] for row in rows] == [reason] * 3
    assert done.returncode == 1
    assert "Warning" not in done.stderr


def test_tiff_has_the_counts_that_alloyk_reads_or_is_refused(tmp_path):
    """Pillow reads uint32 as int32, and int8 as uint8."""
    counts = np.array([[2**31 + 5, 7], [2**32 - 256, 2]])
    for number, dtype in enumerate(("uint8", "uint16", "int16", "uint32", "int32", "float32")):
        path = tmp_path / f"{number}.tif"
        image = counts.astype(dtype)
        tifffile.imwrite(path, image, photometric="minisblack")
        found = device_script.read_image(str(path))
        np.testing.assert_array_equal(found[..., 0], image)
        np.testing.assert_array_equal(found, read_image(path))
    tifffile.imwrite(tmp_path / "signed.tif", counts.astype(np.int8), photometric="minisblack")
    with pytest.raises(ValueError, match="signed 8-bit TIFF is not read"):
        device_script.read_image(str(tmp_path / "signed.tif"))


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_colour_tiff_of_16_bit_is_refused_however_it_is_stored(tmp_path, planes):
    """Pillow reads each plane as 8 bits."""
    colours = np.random.default_rng(0).integers(0, 65535, (40, 48, 3)).astype(np.uint16)
    stored = colours if planes == "contig" else colours.transpose(2, 0, 1)
    path = tmp_path / "colours.tif"
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planes)
    np.testing.assert_array_equal(read_image(path), colours)
    with pytest.raises(ValueError, match="16-bit colour is not read"):
        device_script.read_image(str(path))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_tiff_has_the_pixels_that_alloyk_reads_or_is_refused(tmp_path, dtype, orientation):
    """Pillow scrambles raw rows that are not square, and are turned by a quarter."""
    path = tmp_path / "turned.tif"
    image = np.arange(48, dtype=dtype).reshape(6, 8)
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(path, image, photometric="minisblack", extratags=[tag])
    if orientation > 4:
        with pytest.raises(ValueError, match="TIFF with an orientation of 5 to 8 is not read"):
            device_script.read_image(str(path))
    else:
        np.testing.assert_array_equal(device_script.read_image(str(path)), read_image(path))


def test_a_reader_that_ends_early_ends_the_script_quietly(bundle, environment, images):
    command = command_of(bundle, environment, *[*images] * 400)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        assert done.stdout.readline().startswith(b"path,")
        done.stdout.close()
        assert b"Error" not in done.stderr.read()
    assert done.returncode == 1


def test_every_file_has_its_checksum_and_a_changed_one_is_refused(
    bundle, environment, images, tmp_path
):
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True, check=True
    )
    names = {line.split(":")[0] for line in done.stdout.splitlines()}
    assert names == {file.name for file in bundle.iterdir()} - {"SHA256SUMS"}
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    described = changed / "model.json"
    described.write_text(described.read_text().replace("0.9", "0.1"))
    done = script(changed, environment, images[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert "must have the checksum of SHA256SUMS; copy it again" in done.stderr


def test_the_readme_and_the_description_name_classes_and_thresholds(bundle):
    text = (bundle / "README.md").read_text()
    assert "1050, 2017, steel" in text
    assert "40x48x1 (height x width x channels)" in text
    assert "| 0.05 | 0.6 |" in text
    described = json.loads((bundle / "model.json").read_text())
    assert described["thresholds"] == {"0.05": 0.6, "0.02": 0.9}
    assert described["input"]["shape"] == [40, 48, 1]


def test_wrong_use_is_refused(tmp_path, runner):
    from alloyk.api import export

    with pytest.raises(OptionError, match="give either `out` or `bundle`, got both"):
        export("run", format="tflite", out="a.tflite", bundle="b")
    with pytest.raises(OptionError, match="give a `format`, `quantize` or `bundle`"):
        export("run", out="x.tflite")
    for kind in ("onnx", "savedmodel"):
        message = f"`bundle` needs a .tflite `format` or `quantize`, got `format` {kind}"
        with pytest.raises(OptionError, match=message):
            export("run", format=kind, bundle="b")
    with pytest.raises(ConfigError, match="already exists; choose another --bundle"):
        export_bundle("run", tmp_path)
    done = runner.invoke(main, ["export", "run", "--bundle", "a", "--out", "b"])
    assert done.exit_code == 2
    assert "give either --out or --bundle, got both" in done.stderr
    done = runner.invoke(main, ["export", "run", "--bundle", "a", "--format", "onnx"])
    assert done.exit_code == 2
    assert "--bundle needs a .tflite --format or --quantize, got --format onnx" in done.stderr
    done = runner.invoke(main, ["export", "run", "--out", "a.tflite"])
    assert done.exit_code == 2
    assert "give a --format, --quantize or --bundle" in done.stderr
