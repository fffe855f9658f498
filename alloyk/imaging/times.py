"""Times in headers: read, and compared only where their zones are known alike."""

import datetime
from collections.abc import Iterable


def parsed_time(text: str) -> datetime.datetime | None:
    """A time in ISO 8601, in UTC if it gives its zone; None for a date alone and other text.

    >>> parsed_time("2026-03-01T12:30:00+01:00").isoformat()
    '2026-03-01T11:30:00+00:00'
    >>> parsed_time("2026-03-01T12:30:00").isoformat(), parsed_time("2026-03-01")
    ('2026-03-01T12:30:00', None)
    """
    text = text.strip()
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if _is_date(text):  # would become midnight
        return None
    try:
        return time if time.tzinfo is None else time.astimezone(datetime.UTC)
    except OverflowError:  # in the year 1 or 9999
        return None


def are_comparable(times: Iterable[datetime.datetime]) -> bool:
    """Return whether all times give their zone, or none does.

    >>> are_comparable([parsed_time("2026-03-01T12:30"), parsed_time("2026-03-01T12:30Z")])
    False
    """
    return len({time.tzinfo is None for time in times}) < 2


def joined_time(day: str, time: str) -> str:
    """A date and a time as one moment in ISO 8601; the date if it has a time of its own.

    >>> joined_time("2026-03-01", "12:30:00"), joined_time("2026-03-01T08:00:00", "12:30:00")
    ('2026-03-01T12:30:00', '2026-03-01T08:00:00')
    """
    return f"{day}T{time}" if time and _is_date(day) else day


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True
