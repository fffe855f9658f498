import io
import logging
import sys

from alloyk.cli.terminal import TerminalProgress, notes_on_stderr, replace_unprintable


class Terminal(io.StringIO):
    def isatty(self):
        return True


def draw(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with TerminalProgress().task("reading", 2) as advance:
        advance(1)
        advance(1)
    return stream.getvalue()


def test_bar_on_a_terminal(monkeypatch):
    assert "reading" in draw(monkeypatch, Terminal())


def test_no_bar_in_a_pipe(monkeypatch):
    assert draw(monkeypatch, io.StringIO()) == ""


def test_warnings_are_notes_and_information_is_plain(capfd):
    logger = logging.getLogger("alloyk.some.module")
    with notes_on_stderr():
        logger.warning("2 of %d files skipped", 9)
        logger.info("converting")
        logger.debug("unseen")
    assert capfd.readouterr() == ("", "note: 2 of 9 files skipped\nconverting\n")


def test_the_logger_is_left_as_it_was():
    logger = logging.getLogger("alloyk")
    before = logger.level, logger.propagate, list(logger.handlers)
    with notes_on_stderr():
        assert logger.level == logging.INFO
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_characters_that_the_output_lacks_are_replaced(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "latin-1"))
    replace_unprintable()
    print("32×32 → 1050")
    sys.stdout.flush()
    assert written.getvalue() == "32×32 ? 1050\n".encode("latin-1")
