"""Figures do not depend on the user's matplotlib: backend, `matplotlibrc`, style, fonts."""

import ast
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from alloyk import plots
from alloyk.runtime import fonts

ROOT = Path(__file__).parents[2]
HOSTILE_STYLE = """
text.usetex: True
figure.facecolor: black
axes.facecolor: black
savefig.facecolor: black
text.color: white
axes.labelcolor: white
axes.grid: True
font.size: 30
image.cmap: viridis
figure.dpi: 40
axes.prop_cycle: cycler("color", ["k"])
"""

# One figure of each kind, written to the folder that is the first argument.
DRAW = """
import sys
from pathlib import Path
import numpy as np
from readable_figures import history_of, predictions_of
from alloyk import plots
from alloyk.metrics import classification_metrics
from alloyk.metrics.breakdown import breakdown

out = Path(sys.argv[1])
predictions = predictions_of(["A", "B"])
predictions.table["label"] = predictions.table["predicted"] = "A"
metrics = classification_metrics(predictions)
image = np.arange(64.0).reshape(8, 8) / 64
figures = {
    "matrix": plots.plot_confusion_matrix(np.eye(2, dtype=int), ["A", "B"]),
    "roc": plots.plot_roc(plots.roc_curves(predictions), metrics, ["A", "B"]),
    "loss": plots.plot_history(history_of(9), "loss"),
    "map": plots.plot_explanation(image, image, image, image, signed=True, title="A"),
    "mistakes": plots.plot_mistakes([image[..., None]], [("A", "b.png")]),
    "breakdown": plots.plot_breakdown([breakdown(predictions, ["label"])], 0.5),
}
for name, ax in figures.items():
    plots.save_figure(ax, out / f"{name}.png")
"""


def hostile(folder: Path) -> dict[str, str]:
    """The environment of a notebook whose backend is not installed here, with a dark TeX style."""
    (folder / "matplotlibrc").write_text(HOSTILE_STYLE)
    return {
        "MPLBACKEND": "module://a_backend_that_is_not_installed",
        "MATPLOTLIBRC": str(folder / "matplotlibrc"),
    }


def run_python(*arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "MATPLOTLIBRC")}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT,
        env=clean | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.png")}


def test_figures_are_the_same_in_a_hostile_environment(tmp_path):
    for name, environment in (("clean", {}), ("hostile", hostile(tmp_path))):
        (tmp_path / name).mkdir()
        run_python("-c", DRAW, tmp_path / name, **environment)
    clean = pictures(tmp_path / "clean")
    assert len(clean) == 6
    assert pictures(tmp_path / "hostile") == clean


@pytest.mark.parametrize("place", ["matplotlibrc", "elsewhere/matplotlibrc"])
def test_settings_that_are_not_utf8_are_not_read(tmp_path, place):
    """The file in the working folder comes before that in the environment."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_bytes("# Schriftgröße\nfont.size: 12\n".encode("latin-1"))
    code = (
        f"import os; os.chdir({str(tmp_path)!r}); import alloyk.runtime.drawing; "
        "import matplotlib.figure; print(os.getcwd(), os.environ['MATPLOTLIBRC'])"
    )
    done = run_python("-c", code, MATPLOTLIBRC=str(file))
    assert done.stdout.split() == [str(tmp_path), str(file)]


@pytest.mark.slow
def test_the_commands_draw_the_same_figures_in_a_hostile_environment(tmp_path):
    train = ["-m", "alloyk", "train", "--arch", "cnn", "--set", "train.epochs=1"]
    data = tmp_path / "data"
    run_python("-m", "alloyk", "simulate", data, "--images", "60", "--image-size", "32")
    for name, environment in (("clean", {}), ("hostile", hostile(tmp_path))):
        out = tmp_path / name
        run = out / "run"
        small = ["--data", data, "--set", "preprocess.image_size=32", "--run", run]
        run_python(*train, *small, **environment)
        run_python("-m", "alloyk", "evaluate", run, "--from-predictions", **environment)
        image = next((data).rglob("*.png"))
        run_python("-m", "alloyk", "explain", run, image, **environment)
        run_python(
            "-c",
            "import sys; from alloyk.cli import main; sys.exit(main(standalone_mode=False) and 0)",
            "audit", data, "--figures", out / "audit", **environment,
        )  # fmt: skip
    clean = pictures(tmp_path / "clean")
    assert {"loss.png", "confusion_matrix.png", "classes.png", "overview.png"} <= set(clean)
    # The times of two training runs differ; they are drawn nowhere.
    assert pictures(tmp_path / "hostile") == clean


def test_only_the_drawing_packages_import_matplotlib_when_they_load():
    """Anywhere else the import could come before `load_matplotlib` has made it safe."""
    found = []
    for path in (ROOT / "alloyk").rglob("*.py"):
        name = path.relative_to(ROOT / "alloyk").as_posix()
        if name.startswith("plots/"):
            continue
        for node in ast.parse(path.read_text()).body:
            modules = [getattr(node, "module", None) or ""]
            modules += [a.name for a in getattr(node, "names", []) if isinstance(node, ast.Import)]
            if any(module.startswith(("matplotlib", "seaborn")) for module in modules):
                found.append(name)
    assert found == []


def test_every_public_function_that_makes_a_figure_draws_in_the_house_style():
    """Private ones, and those listed, are called by such a function."""
    called_within = {"new_figure", "axes_beside_legend", "plot_contact_sheet"}
    found, missing = 0, []
    for path in (ROOT / "alloyk").rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            calls = {
                call.func.id
                for call in ast.walk(function)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
            }
            if not calls & {"new_axes", "new_figure", "Figure"}:
                continue
            found += 1
            styles = {getattr(one, "id", "") for one in function.decorator_list} | calls
            listed = function.name.startswith("_") or function.name in called_within
            if not listed and not styles & {"in_house_style", "house_style"}:
                missing.append(function.name)
    assert found > 20
    assert missing == []


@pytest.fixture
def han_font(tmp_path):
    """An installed font that has 材 and nothing else."""
    from matplotlib.font_manager import fontManager

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    glyph = pen.glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "han"])
    font.setupCharacterMap({ord("材"): "han"})
    font.setupGlyf({".notdef": glyph, "han": glyph})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "han": (1000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Sans Han Of The Test", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "han.ttf")
    before = list(fontManager.ttflist)
    fontManager.addfont(str(tmp_path / "han.ttf"))
    fonts.fallback_fonts.cache_clear()
    yield "Sans Han Of The Test"
    fontManager.ttflist[:] = before
    fontManager._findfont_cached.cache_clear()
    fonts.fallback_fonts.cache_clear()


def test_a_class_name_is_drawn_in_an_installed_font_that_has_it(tmp_path, han_font, caplog):
    ax = plots.plot_confusion_matrix(np.eye(2, dtype=int), ["材", "B"])
    plots.save_figure(ax, tmp_path / "figure.png")
    shown = {text.get_text(): text.get_fontfamily() for text in ax.get_xticklabels()}
    assert shown == {"材": [fonts.FONT, han_font], "B": ["sans-serif"]}
    assert not caplog.records


def test_characters_without_a_font_are_reported_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(fonts, "_reported", set())
    monkeypatch.setattr(fonts, "fallback_fonts", lambda characters: ((), characters))
    with caplog.at_level(logging.WARNING):
        for name in ("one.png", "two.png"):
            ax = plots.plot_confusion_matrix(np.eye(2, dtype=int), ["材料", "B"])
            plots.save_figure(ax, tmp_path / name)
    (record,) = caplog.records
    assert record.getMessage() == (
        "figures show boxes for 料材: no installed font has these characters; install one, "
        "for example the Noto fonts (Debian, Ubuntu: fonts-noto-cjk)"
    )
