"""What a server takes from its clients, and the errors by which it refuses the rest."""

from dataclasses import dataclass

from alloyk.errors import AlloykError, ConfigError, DataError


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        body_bytes: Size of one image file.
        pixels: Pixels of one image, counted before it is decoded.
        seconds: Time in which a body must arrive, and again in which it must be classified.
        requests: Requests that are read or wait at one time.
    """

    body_bytes: int = 64 * 2**20
    pixels: int = 2**25
    seconds: float = 30.0
    requests: int = 64

    @property
    def header_seconds(self) -> float:
        """Time in which the header of a request must arrive."""
        return min(10.0, self.seconds)

    @property
    def at_once(self) -> int:
        """Requests of any kind at one time, most of which are for files of the page."""
        return max(4 * self.requests, 256)

    @property
    def total_body_bytes(self) -> int:
        """Bytes of the bodies of all requests, together."""
        return 8 * max(self.body_bytes, 8 * 2**20)


class BodyTooLargeError(DataError):
    """A body has more bytes than allowed."""


class BodyTooSlowError(DataError):
    """A body did not arrive in time."""


class WrongBodyError(DataError):
    """A body is not that of a request for a prediction."""


class BusyError(AlloykError):
    """The server has as many requests as it takes, or did not answer in time."""


def status_of(error: Exception) -> int:
    """Return the HTTP status: 4xx for the client's fault, 5xx for the server's own.

    >>> status_of(DataError("cut short")), status_of(ConfigError("rate")), status_of(ValueError())
    (422, 400, 500)
    """
    for kind, status in (
        (BodyTooLargeError, 413),
        (BodyTooSlowError, 408),
        (WrongBodyError, 415),
        (BusyError, 503),
        (ConfigError, 400),
        (DataError, 422),
    ):
        if isinstance(error, kind):
            return status
    return 500
