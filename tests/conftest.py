"""Fixtures for all tests."""

import hashlib
import json
import os
import shutil
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest

from alloyk.runtime.kernels import choose_kernels

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
choose_kernels()  # before a test imports TensorFlow: the same as in the processes that tests start

# Files whose tests take over half a minute, the longest first.
LONGEST = (
    "training/test_training.py", "tuning/test_tuning.py", "api/test_api.py", "tuning/test_pbt.py",
    "exporting/test_export.py", "training/test_multitask_run.py", "training/test_multi_worker.py",
    "evaluation/test_evaluation.py", "inference/test_on_cluster.py", "exporting/test_quantized.py",
    "models/test_models.py", "explanation/test_explain.py", "exporting/test_auto.py",
    "inference/test_inference.py", "training/test_cross_validation.py", "cli/test_cli_predict.py",
)  # fmt: skip


def pytest_configure() -> None:
    """Refuse two test files of one name at once: pytest-xdist would run all others first."""
    files = defaultdict(list)
    for file in sorted(Path(__file__).parent.rglob("test_*.py")):
        files[file.name].append(str(file.relative_to(Path(__file__).parent)))
    for paths in files.values():
        if len(paths) > 1:
            raise pytest.UsageError(f"test files need different names: {', '.join(paths)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left with one at the end.

    pytest-xdist would begin with the files of most tests, unless `--no-loadscope-reorder`.
    """
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real radiographs beside the checkout.

    Without it the test is skipped, or fails where `ALLOYK_REAL_IMAGES=required` is set.
    """
    if not SHARED_DATA.is_dir():
        reason = f"real radiographs not found in {SHARED_DATA}"
        if os.environ.get("ALLOYK_REAL_IMAGES") == "required":
            pytest.fail(f"{reason}, and ALLOYK_REAL_IMAGES=required is set", pytrace=False)
        pytest.skip(reason)
    return SHARED_DATA


@pytest.fixture(scope="module")
def unrendered():
    """Figures are drawn but saved as one pixel.

    Rendering takes two seconds for each evaluation; the tests of plots and evaluation do it.
    """
    from unrendered import save_one_pixel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", save_one_pixel)
        patch.setattr("alloyk.runtime.drawing.add_fallback_fonts", lambda figure: None)
        yield


@pytest.fixture(scope="module")
def uncollected():
    """Networks are released without collecting garbage, which takes half a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda generation=2: 0)
        yield


@pytest.fixture(scope="module")
def untraced():
    """TensorFlow computes without graphs: tracing one takes as long as a hundred small images."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def untimed():
    """Exports have a speed without a measurement, which takes ten seconds for each of them."""
    from alloyk.inference.latency import Speed

    def instant(model, shape, threads=1):
        return Speed(threads, 0.00123, 0.002, 5, 900.0, 10**8)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("exporter", "bench"):
            patch.setattr(f"alloyk.exporting.{module}.measured_speed", instant)
        yield


@pytest.fixture(scope="module")
def converted_once():
    """Files are quantised from one float32 file of each network; its conversion takes seconds."""
    from alloyk.exporting.conversion import write_tflite

    converted: dict[tuple, bytes] = {}

    def write(classifier, path, image_shape):
        weights = b"".join(array.tobytes() for array in classifier.get_weights())
        key = hashlib.sha256(weights).hexdigest(), image_shape
        if key not in converted:
            write_tflite(classifier, path, image_shape)
            converted[key] = path.read_bytes()
        path.write_bytes(converted[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alloyk.exporting.float_file.write_tflite", write)
        yield


@pytest.fixture
def rendered(monkeypatch):
    """Figures are rendered, in a module that does without."""
    from unrendered import RENDER

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", RENDER)


@pytest.fixture
def open_folder():
    """A temporary folder that all users may enter, unlike pytest's `tmp_path`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def unprivileged():
    """A context manager that drops root's rights, which ignore file modes."""

    @contextmanager
    def without_root():
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nobody, by the Linux Standard Base
        try:
            yield
        finally:
            os.seteuid(user)

    return without_root


@pytest.fixture
def runner():
    """Click's test runner; it captures stdout and stderr separately."""
    from click.testing import CliRunner

    return CliRunner()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Debian's Chromium, driven by Selenium; the test is skipped without it."""
    selenium = pytest.importorskip("selenium.webdriver")
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found; .ci/install-browser installs both")
    options = selenium.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("chromium")
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = selenium.ChromeService(shutil.which("chromedriver"))
    driver = selenium.Chrome(options=options, service=service)
    yield driver
    driver.quit()


class OpenedPage:
    """A file or URL opened in the browser, with the console messages and requests it caused."""

    def __init__(self, driver, place: Path | str, width: int):
        self._driver = driver
        self.url = place if isinstance(place, str) else place.resolve().as_uri()
        driver.get("about:blank")
        for log in ("browser", "performance"):
            driver.get_log(log)  # discards entries of the previous page
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        driver.get(self.url)

    def run(self, script: str, *arguments):
        """Run a script and return its result."""
        return self._driver.execute_script(script, *arguments)

    def print(self) -> bytes:
        """The page as PDF."""
        return self._driver.execute_cdp_cmd("Page.printToPDF", {})["data"]

    def console(self) -> list[str]:
        """Console messages since the last call, including errors."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def requests(self) -> list[str]:
        """URLs requested since the page was opened, without `data:` URLs."""
        entries = [json.loads(entry["message"]) for entry in self._driver.get_log("performance")]
        sent = [entry["message"] for entry in entries]
        urls = [
            message["params"]["request"]["url"]
            for message in sent
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith("data:")]


@pytest.fixture
def browser(chromium):
    """`browser(path_or_url, width=1200)` opens a page."""

    def open_page(place: Path | str, width: int = 1200) -> OpenedPage:
        return OpenedPage(chromium, place, width)

    return open_page
