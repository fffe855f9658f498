import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from alloyk.cli import main


def run(runner, *arguments):
    return runner.invoke(main, ["simulate", *map(str, arguments)])


def test_writes_a_data_set_and_reports_it(runner, tmp_path):
    out = tmp_path / "set"
    result = run(runner, out, "--images", 6, "--image-size", 24, "--imbalance", 5,
                 "--class-order", "2017,1050", "--with-flats")  # fmt: skip
    assert result.exit_code == 0
    assert result.stdout == f"{out}: 6 images of 24×24\nAl 1050: 1, Al 2017: 5\n"
    assert result.stderr == ""  # no bar in a pipe
    assert len(list((out / "2017").glob("*.png"))) == 5
    with Image.open(next((out / "1050").iterdir())) as image:
        assert image.mode == "I;16"
    assert len(list((out / "_calibration").glob("*.png"))) == 16


def test_from_makes_it_again(runner, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(runner, first, "--images", 2, "--image-size", 16, "--seed", 5,
               "--set", "tube.voltage_kvp=48").exit_code == 0  # fmt: skip
    assert run(runner, second, "--from", first / "simulation.yaml").exit_code == 0
    for name in ("1050/p00000_00.png", "manifest.csv", "simulation.yaml"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_from_stands_alone(runner, tmp_path):
    recipe = tmp_path / "simulation.yaml"
    recipe.write_text("")
    result = run(runner, tmp_path / "out", "--from", recipe, "--seed", 3)
    assert result.exit_code == 2
    assert "--seed cannot be combined with --from" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "stdy"], "got 'stdy'; did you mean study?"),
        (["--alloys", "1050,2071"], "unknown alloy '2071': did you mean 2017"),
        (["--set", "wedge.hight_mm=3"], "did you mean wedge.height_mm"),
        (["--set", "wedge"], "--set must be KEY=VALUE, got 'wedge'"),
        (["--set", "plate.thicknesses_mm=1,-2"], "plate.thicknesses_mm.1"),
        (["--set", "plate.compositions={1050: {Al: 0.9}}"], "sum to 1, got 0.9"),
        (["--bits", "8"], "bits must be at least detector.adc_bits=14, got 8; write 16-bit files"),
        (["--class-order", "5083"], "the class order must name classes of 1050, 2017, got '5083'"),
        (["--images", "1"], "images must be at least 2, one per class, got 1"),
        (["--imbalance", "inf"], "imbalance must be finite and >= 1, got inf"),
        (
            ["--set", "plate.thicknesses_mm="],
            "a list of numbers such as 1,2,5, got null",
        ),
        (
            ["--set", "scatter.ratio=1e6"],
            "scatter.ratio must be 0 to 10 (of the mean",
        ),
    ],
)
def test_what_the_user_can_mend_is_one_line(runner, tmp_path, options, message):
    result = run(runner, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_voltage_outside_the_table_without_the_extra(runner, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spekpy", None)
    result = run(runner, tmp_path / "out", "--set", "tube.voltage_kvp=83")
    assert result.exit_code == 1
    assert "82.6 to 83.4 kV" in result.stderr
    assert "pip install 'alloyk[xray]'" in result.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path, sent, code):
    command = [sys.executable, "-m", "alloyk", "simulate", "set", "--images", "100000"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A job in the background of a shell would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:  # fmt: skip
        try:
            while not any(tmp_path.rglob("*.png")):
                assert running.poll() is None, running.stderr.read()
                time.sleep(0.05)
            running.send_signal(sent)
            stdout, stderr = running.communicate(timeout=60)
        finally:
            running.kill()
    assert (running.returncode, stdout) == (code, "")
    assert stderr.strip() == {143: "Terminated!", 1: "Aborted!"}[code]
    assert list(tmp_path.iterdir()) == []


def test_voltages_that_no_plate_has_images_for_get_a_note(runner, tmp_path):
    steps = ["--image-size", 16, "--images", 6, "--set", "tube.voltage_steps_kvp=40,45,50"]
    result = run(runner, tmp_path / "one", *steps)
    assert "note: no image is at 45, 50 kV, because a plate has 1 image" in result.stderr
    assert "(--images-per-plate 3)" in result.stderr
    assert run(runner, tmp_path / "three", *steps, "--images-per-plate", 3).stderr == ""


def test_many_saturated_pixels_get_a_note(runner, tmp_path):
    result = run(runner, tmp_path / "out", "--images", 2, "--image-size", 16,
                 "--set", "detector.full_scale=1", "--set", "scatter.ratio=0.5")  # fmt: skip
    assert result.exit_code == 0
    assert result.stderr.startswith("note: About ")
    assert result.stderr.count("\n") == 1


def test_no_permission_to_write(runner, tmp_path, monkeypatch):
    # Root may write anywhere, so the refusal itself is staged.
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    result = run(runner, tmp_path / "out", "--images", 2)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: cannot write the data set {tmp_path / 'out'}: Perm")


@pytest.mark.parametrize("options", [["--images", "0"], ["--bits", "12"], ["--workers", "0"]])
def test_usage_errors(runner, tmp_path, options):
    assert run(runner, tmp_path / "out", *options).exit_code == 2
    assert run(runner).exit_code == 2


def test_list_keys_prints_what_set_takes(runner):
    result = run(runner, "--list-keys", "--preset", "hard2", "--set", "wedge.length_mm=70")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "tube.voltage_range_kvp=40,50" in lines
    assert "plate.thickness_range_mm=0.8,6" in lines
    assert "wedge.length_mm=70" in lines
    assert "tube.filters_mm={Al: 0.5}" in lines
    assert "tube.voltage_steps_kvp=null" in lines


def test_list_keys_prints_every_digit(runner):
    given = ["exposure.photons_per_mm2=1234567", "tube.voltage_kvp=48.1234567"]
    result = run(runner, "--list-keys", *(f"--set={one}" for one in given))
    values = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert values["tube.voltage_kvp"] == "48.1234567"
    assert float(values["exposure.photons_per_mm2"]) == 1234567


def test_help_has_an_example_and_names_every_preset(runner):
    from alloyk.simulator.settings.presets import PRESETS

    text = " ".join(run(runner, "--help").stdout.split())
    assert "alloyk simulate radiographs" in text
    assert all(preset in text for preset in PRESETS)


def test_command_loads_no_tensorflow_and_help_no_numpy():
    import subprocess

    code = (
        "import sys; from alloyk.cli import main\n"
        "try: main(['simulate', *sys.argv[1:]])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('tensorflow', 'keras', 'pandas', 'numpy') if m in sys.modules])"
    )
    for arguments, loaded in ((["--help"], []), (["--list-keys"], ["numpy"])):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == str(loaded)
