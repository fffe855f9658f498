"""The watched folder of a server."""

import asyncio

from alloyk.serving import live
from alloyk.serving.live import LiveFolder


def test_a_fault_on_one_image_does_not_end_the_watch(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "POLL_S", 0.01)
    monkeypatch.setattr(live, "PATIENCE_S", 0.0)
    (tmp_path / "bad.png").write_bytes(b"x")

    async def classify(path, name):
        if name == "bad.png":
            raise ZeroDivisionError
        return {"path": name}

    async def watch():
        folder = LiveFolder(tmp_path, classify, settle_s=0)
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
