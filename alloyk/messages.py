"""Names and numbers in messages."""

from collections.abc import Iterable
from pathlib import Path


def shown(path: str | Path) -> str:
    r"""Return a path for a one-line message, escaped if it has control characters.

    >>> print(shown("plate 7.png"), shown("a\nb.png"))
    plate 7.png 'a\nb.png'
    """
    text = str(path)
    return text if text.isprintable() else repr(text)


def few(names: Iterable[str], limit: int = 3) -> str:
    """Name the first few of many for a one-line message.

    >>> few(["a.png", "b.png", "c.png", "d.png"])
    'a.png, b.png, c.png and 1 more'
    """
    names = list(names)
    text = ", ".join(shown(name) for name in names[:limit])
    return text + (f" and {len(names) - limit} more" if len(names) > limit else "")


def counted(count: int, noun: str = "image", verb: str = "") -> str:
    """Return a number with its noun, and the verb after it in the singular or plural.

    >>> counted(1), counted(2816), counted(3, "class"), counted(2, "series"), counted(2, "copy")
    ('1 image', '2,816 images', '3 classes', '2 series', '2 copies')
    >>> counted(1, "image", "are"), counted(2, "row", "name"), counted(1, "row", "name")
    ('1 image is', '2 rows name', '1 row names')
    """
    text = f"{count:,} {noun if count == 1 else _plural(noun)}"
    if not verb:
        return text
    return f"{text} {_SINGULAR.get(verb, f'{verb}s') if count == 1 else verb}"


_SINGULAR = {"are": "is", "have": "has", "were": "was"}


def _plural(noun: str) -> str:
    if noun.endswith("series"):
        return noun
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}{'es' if noun.endswith('s') else 's'}"
