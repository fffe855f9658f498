"""The exceptions that a user of alloyk is meant to see.

A server answers `ConfigError` and `DataError` as the client's fault and anything else as its own:

    >>> from alloyk.errors import AlloykError, ConfigError, DataError, ModelError
    >>> all(issubclass(kind, AlloykError) for kind in (ConfigError, DataError, ModelError))
    True
"""


class AlloykError(Exception):
    """An error the user can fix: one line with what must hold, what was found, what to do.

    The command line prints it as `Error: …` and exits with code 1.
    """


class ConfigError(AlloykError):
    """A setting, an option or a configuration file has a wrong value, or is missing."""


class DataError(AlloykError):
    """A data set, a manifest or an image cannot be used."""


class ImageError(DataError):
    """An image cannot be read, or its values cannot be used."""


class ModelError(AlloykError):
    """A run, a model file or an export is missing, damaged, or does not fit its use."""


class LostError(AlloykError):
    """Another worker of a training run ended, failed or no longer answers."""


class OptionError(ConfigError):
    """Options contradict each other; the message has their Python names in backticks.

    The command line shows them as `--options` and exits with code 2.
    """


def reason(error: Exception) -> str:
    r"""The start of another library's message on one line; the error's type if it has none.

    >>> reason(ValueError("no such\n  operator")), reason(ValueError())
    ('no such operator', 'ValueError')
    """
    return " ".join(str(error).split())[:200] or type(error).__name__
