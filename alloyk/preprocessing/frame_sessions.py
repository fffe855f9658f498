"""When flat and dark frames were taken, and which of them belong to a set of images."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from alloyk.imaging.header import header_settings
from alloyk.imaging.times import are_comparable, parsed_time

GAP = datetime.timedelta(hours=1)
"""Frames farther apart than this belong to two sessions."""


_MIXED_ZONES = (
    "Some times of the frames and images give their time zone and others do not, so they cannot be "
    "compared: the mean of all frames is used. To choose a session, name its frames only, or give "
    "all times with their zone."
)


def of_nearest_session(
    paths: Sequence[Path], images: Sequence[datetime.datetime]
) -> tuple[list[Path], str | None]:
    """The frames of the session that is nearest to all images.

    Args:
        paths: Frames; their headers date them.
        images: Times of the images; with a zone in UTC, as `parsed_time` returns them.

    Returns:
        The frames, and a note if there are several sessions. All frames if not all of them are
        dated, if only some times have a time zone, or if the images are nearest to different
        sessions.
    """
    times = {path: parsed_time(header_settings(path).get("acquired", "")) for path in paths}
    known = [(time, path) for path, time in times.items() if time is not None]
    if not images or len(known) < len(paths):
        return list(paths), None
    of_frames = [time for time, _ in known]
    if not are_comparable(of_frames):
        return list(paths), _MIXED_ZONES
    dated = sorted(known)
    sessions = [[dated[0]]]
    for entry in dated[1:]:
        if entry[0] - sessions[-1][-1][0] > GAP:
            sessions.append([])
        sessions[-1].append(entry)
    if len(sessions) == 1:
        return list(paths), None
    if not are_comparable([*of_frames, *images]):
        return list(paths), _MIXED_ZONES

    def distance(number: int, image: datetime.datetime) -> datetime.timedelta:
        first, last = sessions[number][0][0], sessions[number][-1][0]
        return max(first - image, image - last, datetime.timedelta(0))

    nearest = {min(range(len(sessions)), key=lambda n: distance(n, image)) for image in images}
    if len(nearest) > 1:
        return list(paths), (
            f"The images belong to {len(nearest)} of {len(sessions)} sessions of flat or dark "
            "frames, but a model has one correction: the mean of all frames is used. To use the "
            "frames of one session, train on its images only."
        )
    (chosen,) = (sessions[number] for number in nearest)
    note = (
        f"Of {len(sessions)} sessions of frames, that of {chosen[0][0]:%Y-%m-%d %H:%M}"
        f"{' UTC' if chosen[0][0].tzinfo else ''} is used: it is nearest to all images."
    )
    return sorted(path for _, path in chosen), note
