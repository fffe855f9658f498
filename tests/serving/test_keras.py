"""Serving a Keras model: Grad-CAM, and thresholds of its run that exports carry."""

import asyncio
import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tiny_run import raw_image, write_dataset, write_run

from alloyk.explanation import explain
from alloyk.exporting import parity
from alloyk.exporting.bundle import export_bundle
from alloyk.inference import load
from alloyk.serving.limits import Limits
from alloyk.serving.service import Service


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    run = write_run(folder / "run", write_dataset(folder / "data"))
    chosen = [{"wanted_error_rate": 0.02, "threshold": 0.5}]
    (run / "metrics.json").write_text(json.dumps({"abstention": chosen}))
    return run


def test_grad_cam_is_that_of_explain(run, tmp_path):
    pixels = raw_image(60)
    file = tmp_path / "plate.png"
    Image.fromarray(pixels).save(file)

    async def asked():
        service = Service(load(run), Limits())
        await service.start()
        try:
            first = service.answer(file.read_bytes(), "plate.png", pictures=True)
            others = [service.answer(file.read_bytes(), str(n)) for n in range(5)]
            return service.description, await asyncio.gather(first, *others)
        finally:
            await service.stop()

    description, (answer, *others) = asyncio.run(asked())
    assert description["gradcam"] is True
    for one in others:  # classified together, which may move the last digit
        assert one["probabilities"] == pytest.approx(answer["probabilities"], rel=1e-5)
    data = answer["pictures"]["gradcam"].removeprefix("data:image/png;base64,")
    drawn = np.asarray(Image.open(BytesIO(base64.b64decode(data)))).astype(float)
    assert drawn.shape == (32, 32, 3)
    expected = explain(run, [file])
    heat = expected.over_seen[0] / expected.over_seen[0].max()
    # Vermilion (213, 94, 0) over gray: red minus blue is 213 times the opacity.
    np.testing.assert_allclose((drawn[..., 0] - drawn[..., 2]) / 213, 0.85 * heat, atol=0.01)


def test_a_bundle_has_the_thresholds_that_its_proof_found(run, untimed, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "_meets", lambda *arguments: True)
    report = export_bundle(run, tmp_path / "device")
    assert report.path == tmp_path / "device"
    described = json.loads((tmp_path / "device" / "model.json").read_text())
    assert described["thresholds"] == {"0.02": 0.5}  # of metrics.json
    proof = json.loads((tmp_path / "device" / "model.tflite.proof" / "parity.json").read_text())
    assert [row["original"] for row in proof["abstention"]] == [None, 0.5, None]
    assert load(tmp_path / "device" / "model.tflite").metadata.thresholds == {0.02: 0.5}
    assert (tmp_path / "device" / "predict.py").is_file()
    assert not list(tmp_path.glob(".*"))
