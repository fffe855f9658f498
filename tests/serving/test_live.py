"""The watched folder of a server."""

import asyncio
import json
import os
import threading

from PIL import Image
from serving_process import MODEL
from tiny_run import raw_image

from alloyk.errors import DataError
from alloyk.inference import load
from alloyk.serving import service
from alloyk.serving.arrivals import Arrivals
from alloyk.serving.budget import Budget
from alloyk.serving.limits import Limits
from alloyk.serving.live import LiveFolder
from alloyk.serving.service import Service


def test_a_fault_on_one_image_does_not_end_the_watch(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")

    async def classify(path, name):
        if name == "bad.png":
            raise ZeroDivisionError
        return {"path": name}

    async def watch():
        folder = LiveFolder(tmp_path, classify, settle_s=0, patience_s=0, poll_s=0.01)
        task = asyncio.create_task(folder.run())
        for count in (1, 2):
            async with asyncio.timeout(10):
                while len(folder.after(0)) < count:
                    await asyncio.sleep(0.01)
            (tmp_path / "good.png").write_bytes(b"x")
        task.cancel()
        return [seen.answer for seen in folder.after(0)]

    assert asyncio.run(watch()) == [
        {"path": "bad.png", "error": "the server failed; its log says why"},
        {"path": "good.png"},
    ]


def test_only_the_newest_images_of_a_long_backlog_are_classified(tmp_path, monkeypatch):
    monkeypatch.setattr("alloyk.serving.live.KEPT", 2)
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"x")
        os.utime(tmp_path / f"{number}.png", (number, number))
    names = []

    async def classify(path, name):
        names.append(name)
        return {"path": name}

    async def watch():
        task = asyncio.create_task(LiveFolder(tmp_path, classify, 0, 0, 0.01).run())
        async with asyncio.timeout(10):
            while len(names) < 2:
                await asyncio.sleep(0.01)
            (tmp_path / "new.png").write_bytes(b"x")
            while len(names) < 3:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(watch())
    assert names == ["3.png", "4.png", "new.png"]


def test_a_name_of_any_bytes_is_answered_and_files_are_asked_outside_the_loop(
    tmp_path, monkeypatch
):
    (tmp_path / os.fsdecode(b"plate \xff.png")).write_bytes(b"x")
    threads = set()
    final = Arrivals.is_final

    def is_final(self, arrival, *, failed):
        threads.add(threading.current_thread())
        return final(self, arrival, failed=failed)

    monkeypatch.setattr(Arrivals, "is_final", is_final)

    async def classify(path, name):
        assert path.read_bytes() == b"x"
        return {"path": name}

    async def watch():
        folder = LiveFolder(tmp_path, classify, settle_s=0, poll_s=0.01)
        task = asyncio.create_task(folder.run())
        async with asyncio.timeout(10):
            while not folder.after(0):
                await asyncio.sleep(0.01)
        task.cancel()
        assert folder.after(1) == []
        return folder.after(0)[0].answer

    answer = asyncio.run(watch())
    assert (
        json.dumps(answer, ensure_ascii=False).encode() == '{"path": "plate \ufffd.png"}'.encode()
    )
    assert threads
    assert threading.main_thread() not in threads


def answers_for(folder, *names, pixels=2**25):
    """The answers of a server for files of its watched folder."""

    async def answers():
        served = Service(load(MODEL), Limits(pixels=pixels), watch=folder)
        json.dumps(served.description, ensure_ascii=False).encode()
        await served.start()
        try:
            return [await served._classify_file(folder / name, name) for name in names]
        finally:
            await served.stop()

    return asyncio.run(answers())


def test_watched_images_keep_the_limits_and_errors_name_the_file_only(tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"plates \xff")
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"x")
    for name, size in (("good.png", (40, 48)), ("small.png", (8, 9))):
        Image.fromarray(raw_image(1, size)).save(folder / name)
    held = []
    hold = Budget.hold

    def spy(self, amount):
        held.append(amount)
        return hold(self, amount)

    monkeypatch.setattr(Budget, "hold", spy)

    broken, good, small = answers_for(folder, "broken.png", "good.png", "small.png")
    assert broken["error"].startswith("cannot read the image broken.png: it is not a PNG")
    assert good["predicted"]
    assert small["error"].startswith(
        "small.png must have the size 40x48 (height x width) that tiny.tflite takes, got 8x9"
    )
    assert held == [40 * 48]
    (large,) = answers_for(folder, "good.png", pixels=40 * 48 - 1)
    assert large["error"] == (
        "good.png must have at most 1919 pixels, got 40x48; crop it, or raise --max-pixels"
    )
    assert held == [40 * 48]


def test_an_error_of_a_reader_names_no_folder(tmp_path, monkeypatch):
    def fail(path, **_):
        raise DataError(f"{path} must have one data set")

    monkeypatch.setattr(service, "image_size", fail)
    (answer,) = answers_for(tmp_path, "a.h5")
    assert answer["error"] == "a.h5 must have one data set"
