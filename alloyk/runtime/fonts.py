"""Fonts for class names in scripts that matplotlib's own font lacks."""

import logging
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

FONT = "DejaVu Sans"  # part of matplotlib
# Fonts without outlines, or with a box for every character.
UNUSABLE = ("emoji", "last resort", "lastresort", "blank")
# Words in the Unicode names of characters that the Noto CJK fonts have.
CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "FULLWIDTH", "IDEOGRAPHIC")

_reported: set[str] = set()


def add_fallback_fonts(figure: "Figure") -> None:
    """Give each text of a figure installed fonts for the characters that `FONT` lacks.

    Characters that no installed font has are drawn as boxes, with one warning.
    """
    from matplotlib.text import Text

    missing: set[str] = set()
    for text in figure.findobj(Text):
        lacking = frozenset(text.get_text()) - _characters_of(_path_of(FONT)) - set("\n\t")
        if lacking:
            families, uncovered = fallback_fonts(lacking)
            text.set_fontfamily([FONT, *families])
            missing |= uncovered
    _report(missing - _reported)


@cache
def fallback_fonts(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Installed font families that have some of these characters, and the characters left over."""
    from matplotlib.font_manager import fontManager

    families: list[str] = []
    left = set(characters)
    # Regular, upright faces: a family has the same characters in all of them.
    entries = sorted(fontManager.ttflist, key=lambda font: (_is_special(font), font.name))
    for font in entries:
        if not left:
            break
        if any(word in font.name.lower() for word in UNUSABLE):
            continue
        found = left & _characters_of(font.fname)
        if found:
            families.append(font.name)
            left -= found
    return tuple(families), frozenset(left)


def _is_special(font: object) -> tuple[bool, bool, bool]:
    """Sorts upright, sans-serif and regular fonts first."""
    name = str(getattr(font, "name", "")).lower()
    weight = getattr(font, "weight", 400)
    return (
        getattr(font, "style", "normal") != "normal",
        "sans" not in name and "gothic" not in name,
        weight not in (400, "normal", "regular", "book"),
    )


@cache
def _path_of(family: str) -> str:
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties(family=[family])))


@cache
def _characters_of(path: str) -> frozenset[str]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(chr(code) for code in get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a file that is gone, or that FreeType cannot read
        return frozenset()


def _report(characters: set[str]) -> None:
    if not characters:
        return
    _reported.update(characters)
    names = [unicodedata.name(character, "") for character in characters]
    cjk = any(word in name for name in names for word in CJK)
    package = "fonts-noto-cjk" if cjk else "fonts-noto"
    shown = "".join(sorted(characters)[:10]) + ("…" if len(characters) > 10 else "")
    logger.warning(
        "figures show boxes for %s: no installed font has these characters; install one, "
        "for example the Noto fonts (Debian, Ubuntu: %s)",
        shown,
        package,
    )
