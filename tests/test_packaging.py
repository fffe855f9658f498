"""What is in the tree is also installed: an editable installation would not notice."""

from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parents[1]


def test_every_folder_with_modules_is_a_package():
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("alloyk/**/*.py")}
    assert sorted(find_packages(ROOT, include=["alloyk*"])) == sorted(found)
