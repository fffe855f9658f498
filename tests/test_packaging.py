"""Everything in the source tree is installed: an editable installation would hide a gap."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parents[1]


def test_every_folder_with_modules_is_a_package():
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("alloyk/**/*.py")}
    assert sorted(find_packages(ROOT, include=["alloyk*"])) == sorted(found)


def test_type_checkers_find_the_annotations():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert (ROOT / "alloyk" / "py.typed").is_file()
    assert "py.typed" in config["options.package_data"]["alloyk"].split()
