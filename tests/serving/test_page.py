"""The page of `alloyk serve` in a browser: by drop, by folder, large and small, light and dark."""

import base64
import os
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from serving_process import MODEL, served
from tiny_run import raw_image

from alloyk.inference import load
from alloyk.inference.abstention import abstaining

# Elements whose text does not fit, and how far the page is wider than the window.
CLIPPED = """
const bad = [];
for (const one of document.querySelectorAll("body *")) {
  if (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline"
      && one.clientWidth > 1) bad.push(one.tagName + "#" + one.id + "." + one.className);
}
const root = document.documentElement;
return [bad, root.scrollWidth - root.clientWidth];
"""

SCREENSHOTS = os.environ.get("ALLOYK_SCREENSHOTS")


def png(pixels):
    content = BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Plates: certain, uncertain, unlike; and a broken file."""
    folder = tmp_path_factory.mktemp("radiographs")
    classifier = load(MODEL)
    found = classifier.predict([raw_image(n) for n in range(40)])
    reasons = abstaining(found, classifier.metadata.thresholds[0.02]).abstained
    for name, reason in (
        ("certain", ""),
        ("uncertain plate of a long series no 0017", "uncertain"),
    ):
        number = next(n for n in range(40) if reasons[n] == reason)
        (folder / f"{name}.png").write_bytes(png(raw_image(number)))
    strange = np.random.default_rng(0).integers(0, 60000, (40, 48)).astype(np.uint16)
    (folder / "strange.png").write_bytes(png(strange))
    (folder / "broken.png").write_bytes(png(strange)[:-40])
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    watched = tmp_path_factory.mktemp("watched")
    with served("--watch", watched, "--abstain", 0.02) as (address, _):
        yield address, watched


def wait_for(page, script, seconds=15):
    deadline = time.monotonic() + seconds
    while not (found := page.run("return " + script)):
        assert time.monotonic() < deadline, page.run("return document.body.innerText")
        time.sleep(0.1)
    return found


def drop(page, *paths):
    """Choose files, as a drop does."""
    from selenium.webdriver.common.by import By

    page._driver.find_element(By.ID, "files").send_keys("\n".join(map(str, paths)))


def text(page, name):
    found = page.run("return document.getElementById(arguments[0]).innerText", name)
    return found.replace("\xa0", " ")


def look(page, name):
    """Check the layout; keep a picture where it is asked for."""
    if SCREENSHOTS:
        height = page.run("return document.documentElement.scrollHeight")
        clip = {
            "x": 0,
            "y": 0,
            "width": page.run("return innerWidth"),
            "height": height,
            "scale": 1,
        }
        shot = page._driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        with open(os.path.join(SCREENSHOTS, f"{name}.png"), "wb") as file:
            file.write(base64.b64decode(shot["data"]))
    assert page.run(CLIPPED) == [[], 0]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_dropped_radiographs_are_classified(browser, chromium, server, folder, width, scheme):
    address, _ = server
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page = browser(address + "/", width)
    wait_for(page, "document.getElementById('model').innerText.includes('tiny.tflite')")
    look(page, f"{width}-empty")

    names = ("certain", "uncertain plate of a long series no 0017", "strange", "broken")
    for name in names:
        drop(page, folder / f"{name}.png")
        wait_for(page, "document.querySelectorAll('#list li').length")
        wait_for(page, f"document.getElementById('name').innerText === {name + '.png'!r}")
        verdict = text(page, "verdict")
        if name == "certain":
            assert verdict in ("Al 1050", "Al 2017", "steel")
            assert text(page, "reason").startswith("Probability 9")
            sizes = page.run(
                "return [...document.querySelectorAll('figure img')].map(i => i.naturalWidth)"
            )
            assert sizes == [48, 48]
        if name.startswith("uncertain"):
            assert verdict == "No class"
            assert text(page, "reason").startswith("Too uncertain for the chosen error rate. Most ")
        if name == "strange":
            assert verdict == "No class"
            assert "Unlike the training images: distance " in text(page, "unlike")
        if name == "broken":
            assert verdict == "Not classified"
            assert "broken.png: the file is cut short" in text(page, "reason")
        look(page, f"{width}-{name.split()[0]}")
    if width > 600:
        bars = page.run("return document.querySelectorAll('#list li').length")
        assert bars == len(names)
        page.run("document.querySelectorAll('#list button')[3].click()")
        wait_for(page, "document.getElementById('name').innerText === 'certain.png'")
        assert text(page, "verdict") in ("Al 1050", "Al 2017", "steel")
        assert page.run("return document.querySelectorAll('.bar').length") == 3
        values = page.run(
            "return [...document.querySelectorAll('.bar progress')].map(b => b.value)"
        )
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=1e-4)
    (refused,) = page.console()  # the browser's own line on the broken file
    assert "name=broken.png" in refused
    assert {url.split("/")[2] for url in page.requests()} == {address.split("/")[2]}


def test_arriving_radiographs_appear(browser, server, folder):
    address, watched = server
    page = browser(address + "/", 1280)
    wait_for(page, "!document.getElementById('watch').hidden")
    assert text(page, "folder") == watched.name
    (watched / "new.png").write_bytes((folder / "certain.png").read_bytes())
    wait_for(page, "document.getElementById('name').innerText === 'new.png'")
    wait_for(page, "document.querySelectorAll('figure img').length === 2")
    assert text(page, "watch-note") == "1 image so far"
    look(page, "1280-watching")
    assert page.console() == []


@pytest.mark.parametrize("arrived", [0, 1, 2])
def test_a_restarted_server_is_recognised(browser, server, folder, arrived):
    """With as many, fewer or more radiographs in its folder than before."""
    page = browser(server[0] + "/", 1280)
    wait_for(page, "document.getElementById('model').innerText.includes('tiny.tflite')")
    # Answers of the new server, which the page gets under the address of the old one.
    page.run(
        """
        const number = arguments[0];
        let restarted = false;
        window.fetch = async (url) => {
          const of = (answer) => new Response(JSON.stringify(answer), {
            headers: { "Alloyk-Server": restarted ? "new" : "old" } });
          if (url === "/model") return of(restarted ? { ...model, model: "new.tflite" } : model);
          const after = Number(url.split("=")[1]), count = restarted ? number : 1;
          const all = [...Array(count).keys()].map((n) => ({
            number: n + 1, path: (restarted ? "new" : "old") + (n + 1), error: "none" }));
          return of(all.slice(after));
        };
        window.restart = () => { restarted = true; };
        server = "old";
        at("list").replaceChildren();
        latest = 0;
        """,
        arrived,
    )
    wait_for(page, "document.getElementById('name').innerText === 'old1'")
    page.run("restart()")
    wait_for(page, "document.getElementById('model').innerText.includes('new.tflite')")
    wait_for(page, f"document.querySelectorAll('#list li').length === {arrived}")
    files = page.run("return [...document.querySelectorAll('#list .file')].map(f => f.innerText)")
    assert files == ["new2", "new1"][2 - arrived :]
    assert page.run("return document.getElementById('result').hidden") == (arrived == 0)


def test_the_description_of_the_interface_needs_nothing_else(browser, server):
    address, _ = server
    for width in (1280, 390):
        page = browser(address + "/docs", width)
        look(page, f"{width}-docs")
        assert page.console() == []
        assert {url.split("/")[2] for url in page.requests()} == {address.split("/")[2]}
