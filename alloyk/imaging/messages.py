"""Names in messages."""

from pathlib import Path


def shown(path: str | Path) -> str:
    r"""Return a path for a one-line message, escaped if it has control characters.

    >>> print(shown("plate 7.png"), shown("a\nb.png"))
    plate 7.png 'a\nb.png'
    """
    text = str(path)
    return text if text.isprintable() else repr(text)
