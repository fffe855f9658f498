"""What is in the tree is also installed: an editable installation would not notice."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_installed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = setup["options"]["packages"].split()
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("alloyk/**/__init__.py")}
    assert sorted(listed) == sorted({*found, "alloyk.configs"})
