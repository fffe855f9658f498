"""`alloyk serve` over HTTP: answers, limits, and what hostile clients send."""

import asyncio
import base64
import os
import re
import resource
import signal
import socket
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from urllib.parse import urlsplit

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian
from serving_process import MODEL, served
from starlette.responses import JSONResponse
from tiny_run import raw_image

from alloyk.cli import main
from alloyk.errors import ConfigError
from alloyk.inference import load
from alloyk.inference.tables import objects
from alloyk.serving.app import make_app
from alloyk.serving.gate import Gate
from alloyk.serving.limits import Limits
from alloyk.serving.server import run_server
from alloyk.serving.service import Service


def png(number, size=(40, 48)):
    content = BytesIO()
    Image.fromarray(raw_image(number, size)).save(content, "png")
    return content.getvalue()


def post(server, content, query="", **headers):
    return httpx.post(f"{server}/predict{query}", content=content, headers=headers, timeout=20)


@pytest.fixture(scope="module")
def server():
    """A server with small limits."""
    with served("--max-body", 1, "--max-pixels", 100_000, "--timeout", 1.5, "--queue", 12) as found:
        yield found[0]


def is_up(server):
    return httpx.get(f"{server}/health", timeout=10).json() == {"status": "ok"}


def raw_exchange(server, request, *, wait=20.0):
    """Send bytes as they are; return the answer's bytes."""
    where = urlsplit(server)
    with socket.create_connection((where.hostname, where.port), timeout=wait) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while part := connection.recv(65536):
                answer += part
        except ConnectionError:  # closed while it still sent
            pass
    return answer


# Answers.


def test_an_answer_is_that_of_predict(server):
    classifier = load(MODEL)
    for number in range(5):
        content = png(number)
        answer = post(server, content, f"?name={number}.png&abstain=0.05").json()
        image = raw_image(number)
        (expected,) = objects(classifier.predict(image, names=[f"{number}.png"], abstain=0.05))
        assert answer.pop("notes") == []
        assert answer.pop("pictures") is answer.pop("estimates") is None
        assert answer == expected


def test_many_clients_get_each_their_own_answer(server):
    classifier = load(MODEL)
    images = [raw_image(number) for number in range(24)]
    expected = list(objects(classifier.predict(images)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: post(server, png(n), f"?name={n}").json(), range(24)))
    for number, (answer, right) in enumerate(zip(found, expected, strict=True)):
        assert answer["path"] == str(number)
        assert answer["probabilities"] == right["probabilities"]


def test_pictures_show_the_image(server):
    pictures = post(server, png(3), "?pictures=true").json()["pictures"]
    assert sorted(pictures) == ["equalised", "raw", "size"]
    assert pictures["size"] == [48, 40]
    for kind in ("raw", "equalised"):
        data = base64.b64decode(pictures[kind].removeprefix("data:image/png;base64,"))
        drawn = np.asarray(Image.open(BytesIO(data))).astype(float)
        assert drawn.shape == (40, 48)
        # More counts are brighter, everywhere.
        order = np.argsort(raw_image(3), axis=None)
        assert (np.diff(drawn.ravel()[order]) >= 0).all()
    # Equalised: as many pixels in each quarter of the range.
    assert np.histogram(drawn, 4, (0, 255))[0] == pytest.approx(480, abs=20)


def test_the_interface_is_described(server):
    described = httpx.get(f"{server}/openapi.json").json()
    predict = described["paths"]["/predict"]["post"]
    assert predict["requestBody"]["content"]["application/octet-stream"]
    assert set(predict["responses"]) == {"200", "400", "408", "413", "415", "422", "500", "503"}
    assert "/watched" not in described["paths"]
    model = httpx.get(f"{server}/model").json()
    assert model["classes"] == ["1050", "2017", "steel"]
    assert model["names"]["1050"] == "Al 1050"
    assert model["input"] == {"height": 40, "width": 48, "channels": 1}
    assert not any("/" in str(value) for key, value in model.items() if key != "limits")


# The client's faults.


def test_a_fault_of_the_client_is_named(server):
    small, stack = BytesIO(), BytesIO()
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(small, "png")
    pages = [Image.fromarray(raw_image(n)) for n in (1, 2)]
    pages[0].save(stack, "tiff", save_all=True, append_images=pages[1:])
    for content, query, status, message in (
        (b"", "", 422, "got none"),
        (b"no image", "", 422, "cannot read the image upload: it is not a PNG"),
        (png(1)[:-30], "?name=a.png", 422, "cannot read the image a.png: the file is cut short"),
        (small.getvalue(), "?name=b.png", 422, "b.png must have the size 40x48"),
        (
            stack.getvalue(),
            "",
            422,
            "must have one page, got 2; choose one with the parameter",
        ),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "", 422, "DICOM or .npy file, got HDF5"),
        (png(1), "?abstain=0.01", 400, "has a threshold for (0.02, 0.05), got 0.01"),
        (png(1), "?abstain=2", 422, "abstain: input should be less than 1"),
        (png(1), "?page=-1", 422, "page: "),
    ):
        answer = post(server, content, query)
        assert answer.status_code == status, answer.text
        assert message in answer.json()["error"]
        assert "Traceback" not in answer.text
    answer = httpx.post(f"{server}/predict", files={"file": b"x"})
    assert (answer.status_code, answer.json()["error"][:40]) == (
        415, "the body must be the bytes of one image "
    )  # fmt: skip
    assert httpx.get(f"{server}/predict").status_code == 405
    assert httpx.get(f"{server}/nowhere").json() == {"error": "Not Found"}


def test_a_page_of_a_stack_is_chosen(server):
    stack = BytesIO()
    pages = [Image.fromarray(raw_image(n)) for n in (1, 2)]
    pages[0].save(stack, "tiff", save_all=True, append_images=pages[1:])
    answers = [post(server, stack.getvalue(), f"?page={n}").json() for n in (0, 1)]
    for answer, number in zip(answers, (1, 2), strict=True):
        assert answer["probabilities"] == post(server, png(number)).json()["probabilities"]


# Hostile clients.


def test_path_traversal_in_names_does_nothing(server, tmp_path):
    for name in (
        "../../etc/passwd",
        "/etc/passwd",
        "a\x00b",
        "<script>alert(1)</script>",
        "x" * 9999,
    ):
        answer = httpx.post(f"{server}/predict", params={"name": name}, content=png(1))
        assert answer.status_code == 200
        shown = answer.json()["path"]
        assert shown == name.replace("\x00", "")[:200]
        assert answer.headers["content-type"] == "application/json"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in ("/../../etc/passwd", "/..%2f..%2fetc/passwd", "/page.css/../../app.py"):
        answer = raw_exchange(
            server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 404")


def test_a_large_body_is_refused_before_it_is_read(server):
    before = time.monotonic()
    head = (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert raw_exchange(server, head).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - before < 5
    # Without a length, as it comes.
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw_exchange(server, head + 64 * chunk)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert is_up(server)


def test_slow_bodies_and_headers_are_cut_off(server):
    before = time.monotonic()
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    answer = raw_exchange(server, head)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"must arrive within 1.5 s" in answer
    for head in (b"", b"GET / HTTP/1.1\r\nHost: loc"):
        assert raw_exchange(server, head) == b""
    assert time.monotonic() - before < 12
    assert is_up(server)


def bomb(width, height):
    """A PNG whose few bytes unpack to many pixels."""

    def part(name, content):
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    rows = zlib.compress(bytes(min((2 * width + 1) * height, 2**26)), 9)
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")


def deflated_bomb(frames):
    """A DICOM file of frames of 40x48, deflated, with 512 MiB of zeros in its pixels."""
    content = BytesIO()
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 40, 48, frames
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(2**29)
    dataset["PixelData"].VR = "OW"
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def resident_mib(process, field):
    with open(f"/proc/{process.pid}/status") as file:
        return int(re.search(rf"{field}:\s+(\d+)", file.read())[1]) / 1024


def test_deflated_dicom_is_not_inflated_beyond_the_limit():
    with served("--max-body", 1, "--max-pixels", 100_000) as (server, process):
        before = resident_mib(process, "VmRSS")
        one, many = (post(server, deflated_bomb(frames), "?page=0") for frames in (1, 139_810))
        assert (one.status_code, many.status_code) == (422, 422)
        assert "must have 1 × 40 × 48 pixels as its header gives" in one.json()["error"]
        assert "must have at most 100000 pixels" in many.json()["error"] or "bomb" in many.text
        assert resident_mib(process, "VmHWM") < before + 200


def test_bombs_are_refused_by_their_header(server):
    for width, height in ((60000, 60000), (2**31 - 1, 2**31 - 1), (5000, 4000)):
        content = bomb(width, height)
        before = time.monotonic()
        answer = post(server, content)
        assert answer.status_code == 422
        assert time.monotonic() - before < 3
        assert "must have at most 100000 pixels" in answer.text or "bomb" in answer.text
    assert post(server, bomb(48, 40)).status_code == 200


def test_an_unknown_fault_is_answered_with_the_headers_too(monkeypatch):
    async def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(Service, "answer", fail)
    app = make_app(Service(load(MODEL), Limits()))

    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/predict", content=png(1))

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (
        500, {"error": "internal error; see the server's log"}
    )  # fmt: skip
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_name_that_points_here_gets_no_answer(server):
    for host in ("evil.example", "localhost.evil.example", "x@localhost", "::1", "[::1", ""):
        answer = httpx.get(f"{server}/model", headers={"Host": host})
        assert answer.status_code == 400, host
        assert answer.json() == {
            "error": "the header Host must name this computer, such as localhost"
        }
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    for host in ("localhost:99", "LOCALHOST", "127.0.0.1", "[::1]:80"):
        assert httpx.get(f"{server}/model", headers={"Host": host}).status_code == 200
    assert raw_exchange(server, b"GET /model HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_connections_that_wait_are_no_requests():
    """A browser keeps several connections; `--queue` counts only requests."""
    with served("--queue", 1) as (server, _):
        browsers = [httpx.Client() for _ in range(9)]
        try:
            for _ in range(2):
                for browser in browsers:
                    assert browser.get(f"{server}/page.css").status_code == 200
            assert post(server, png(1)).status_code == 200
        finally:
            for browser in browsers:
                browser.close()


def test_too_many_requests_of_any_kind_are_told_to_wait():
    async def ask():
        go_on, answers = asyncio.Event(), []

        async def slow(scope, receive, send):
            await go_on.wait()
            await JSONResponse({})(scope, receive, send)

        transport = httpx.ASGITransport(Gate(slow, ("*",), 2))
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            waiting = [asyncio.create_task(client.get("/")) for _ in range(2)]
            await asyncio.sleep(0.05)
            answers.append(await client.get("/"))
            go_on.set()
            answers += [await one for one in waiting] + [await client.get("/")]
        return answers

    refused, *answered = asyncio.run(ask())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json() == {"error": "too many requests are waiting; try again in a second"}
    assert [one.status_code for one in answered] == [200, 200, 200]


def test_more_requests_than_allowed_are_told_to_wait(server):
    """Twelve slow bodies hold every place; then there is room again."""
    where = urlsplit(server)
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    slow = [socket.create_connection((where.hostname, where.port)) for _ in range(12)]
    try:
        for connection in slow:
            connection.sendall(head)
        time.sleep(0.4)
        answer = post(server, png(1))
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert "too many requests are waiting" in answer.json()["error"]
        time.sleep(2)
        assert post(server, png(1)).status_code == 200
    finally:
        for connection in slow:
            connection.close()


def test_garbage_leaves_the_server_up(server):
    rng = np.random.default_rng(1)
    good = png(1)
    for _ in range(40):
        content = bytearray(good)
        for place in rng.integers(0, len(content), 5):
            content[place] = rng.integers(256)
        assert post(server, bytes(content)).status_code in (200, 422)
    for request in (
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        bytes(70000),
        b"POST\r\n\r\n",
    ):
        raw_exchange(server, request)
    assert is_up(server)


def test_nothing_is_written_to_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    noise = BytesIO()
    Image.fromarray(
        np.random.default_rng(0).integers(0, 65535, (1500, 1000)).astype(np.uint16)
    ).save(noise, "png")
    with served() as (server, process):
        # A file without a name is not seen in a folder; this makes any write fail.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
        assert len(noise.getvalue()) > 2**21  # forms of this size would be spooled
        form = httpx.post(f"{server}/predict", files={"file": bytes(3 * 2**20)}, timeout=20)
        assert form.status_code == 415
        assert post(server, noise.getvalue()).status_code == 422
        assert post(server, png(1), "?pictures=true").status_code == 200
        opened = []
        for number in os.listdir(f"/proc/{process.pid}/fd"):
            with suppress(FileNotFoundError):  # a connection that was closed since
                opened.append(os.readlink(f"/proc/{process.pid}/fd/{number}"))
    assert opened
    assert not [path for path in opened if str(tmp_path) in path]
    assert list(tmp_path.iterdir()) == []


# The watched folder, and the end.


def test_a_watched_folder_is_classified_as_files_arrive(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "broken.png").write_bytes(png(1)[:-40])
    with served("--watch", tmp_path) as (server, process):
        assert httpx.get(f"{server}/model").json()["watching"] == tmp_path.name
        deadline = time.monotonic() + 20
        while not (found := httpx.get(f"{server}/watched").json()):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert [(one["number"], one["path"]) for one in found] == [(1, "a.png")]
        assert httpx.get(f"{server}/watched?after=1").json() == []
        full = httpx.get(f"{server}/watched/1").json()
        assert full["pictures"]["raw"].startswith("data:image/png")
        assert full["probabilities"] == post(server, png(1)).json()["probabilities"]
        gone = httpx.get(f"{server}/watched/99")
        assert gone.status_code == 422
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=20)
    assert process.returncode == 0
    assert messages.splitlines()[-1] == "Stopped"
    assert "Traceback" not in messages


def test_what_the_user_can_mend_ends_with_1_and_one_line(tmp_path, runner):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = runner.invoke(main, ["serve", str(MODEL), "--port", port])
    assert done.exit_code == 1
    assert done.stderr.startswith(
        f"Error: cannot listen on 127.0.0.1, port {port}: Address already"
    )
    for arguments, message in (
        (["--watch", str(tmp_path / "x")], "the folder to watch must be an existing folder"),
        (["--abstain", "0.3"], "the error rate for abstaining must be one"),
        (["--host", "nowhere.invalid"], "cannot listen on nowhere.invalid"),
        (["--host", "ünï.."], "cannot listen on ünï.."),
    ):
        done = runner.invoke(main, ["serve", str(MODEL), "--port", "0", *arguments])
        assert done.exit_code == 1, done.output
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    done = runner.invoke(main, ["serve", str(MODEL), "--timeout", "nan"])
    assert done.exit_code == 2
    assert "nan is not a finite number." in done.stderr


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r'serving needs uvicorn; .*"alloyk\[serve\]"'):
        run_server(MODEL, limits=Limits())


def test_help_is_quick_and_has_an_example(runner):
    done = runner.invoke(main, ["serve", "--help"])
    assert "alloyk serve resnet18.tflite" in done.stdout
