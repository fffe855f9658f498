"""Images are measured alike in threads and in processes."""

import numpy as np
import pytest
from PIL import Image

from alloyk.auditing import scan
from alloyk.imaging import FileSettings, RawLayout, describe_files


@pytest.fixture
def paths(tmp_path):
    """Radiographs as PNG and without a header, and a damaged file."""
    rng = np.random.default_rng(0)
    describe_files(tmp_path, FileSettings(raw=RawLayout("uint16", (20, 24))))
    for number in range(40):
        counts = rng.poisson(900, (20, 24)).astype(np.uint16)
        if number % 2:
            counts.tofile(tmp_path / f"{number:02d}.raw")
        else:
            Image.fromarray(counts).save(tmp_path / f"{number:02d}.png")
    (tmp_path / "39.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    yield sorted(tmp_path.iterdir())
    describe_files(tmp_path, FileSettings())


def test_threads_and_processes_measure_the_same(paths, monkeypatch):
    in_threads = list(scan.measure_images(paths))
    monkeypatch.setattr(scan, "processes_for", lambda seconds: 2)
    in_processes = list(scan.measure_images(paths))
    assert [start for start, _ in in_processes] == [start for start, _ in in_threads] == [0, 16, 32]
    of_threads, of_processes = (
        [one for _, chunk in found for one in chunk] for found in (in_threads, in_processes)
    )
    assert len(of_threads) == len(paths) == 41
    errors = [one for one in of_processes if isinstance(one, str)]
    assert errors == [one for one in of_threads if isinstance(one, str)]
    assert len(errors) == 1
    assert "39.png" in errors[0]
    for one, other in zip(of_threads, of_processes, strict=True):
        if not isinstance(one, str):
            assert one.digest == other.digest
            np.testing.assert_array_equal(one.signature, other.signature)
            np.testing.assert_array_equal(one.equalized, other.equalized)
            assert (one.noise, one.sharpness) == (other.noise, other.sharpness)


def test_processes_are_for_many_small_images(paths, monkeypatch):
    used = []

    def no_processes(make, chunks, count):
        used.append(count)
        return map(make(), chunks)

    monkeypatch.setattr(scan, "in_processes", no_processes)
    readable = [path for path in paths if path.name != "39.png"]
    assert len([one for _, chunk in scan.measure_images(readable) for one in chunk]) == 40
    assert not used
    monkeypatch.setattr(scan, "processes_for", lambda seconds: 3)
    list(scan.measure_images(readable))
    assert used == [3]
    monkeypatch.setattr(scan, "SMALL_PIXELS", 20 * 24 - 1)
    list(scan.measure_images(readable))
    assert used == [3]
