"""Run all checks in order, after measuring the data set."""

from pathlib import Path

from alloyk.auditing.balance import BALANCE_CHECKS
from alloyk.auditing.detector import DETECTOR_CHECKS
from alloyk.auditing.file_checks import FILE_CHECKS
from alloyk.auditing.findings import FIX, Audited, Finding
from alloyk.auditing.lag import LAG_CHECKS
from alloyk.auditing.leaks import LEAK_CHECKS
from alloyk.auditing.on_cluster import measure_on_cluster
from alloyk.auditing.quality import QUALITY_CHECKS
from alloyk.auditing.scan import scan_images
from alloyk.auditing.shortcuts import SHORTCUT_CHECKS
from alloyk.auditing.source import read_for_audit, series_of
from alloyk.data.image_paths import ImagePaths
from alloyk.imaging import FileSettings, PageChoice, RawLayout
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.ray_cluster import refuse_missing_cluster, require_ray

CHECKS = (
    *FILE_CHECKS,
    *LEAK_CHECKS,
    *BALANCE_CHECKS,
    *DETECTOR_CHECKS,
    *SHORTCUT_CHECKS,
    *QUALITY_CHECKS,
    *LAG_CHECKS,
)


def audit_dataset(
    data: str | Path,
    *,
    series: str | None = None,
    page: PageChoice | None = None,
    raw: RawLayout | None = None,
    hdf5_path: str | None = None,
    address: str | None = None,
    workers: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Audited:
    """Read a data set and measure every image.

    Args:
        data: As in `load_dataset`, or a folder of images without labels.
        series: A column of the manifest, or a regular expression on the file name, that groups
            images into series. By default `plate_id`, otherwise the name before its last `_`.
        page: Pages to read from files with several: a number from 0, `mean`, or `each` as an
            image of one plate.
        raw: Layout of raw files without a sidecar.
        hdf5_path: Path of the array of images inside HDF5 files.
        address: `HOST:PORT` of a Ray cluster that measures the images, or `local`; by default this
            process does.
        workers: Number of processes on the cluster.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        AlloykError: There is no data set, folders and manifest disagree, or `series` does
            not fit it. Images that cannot be read are findings, not errors.
    """
    if address is not None:
        require_ray("--address", "ray")
        refuse_missing_cluster(address)
    root, table, notes = read_for_audit(Path(data), page=page, raw=raw, hdf5_path=hdf5_path)
    names, name, reliable = series_of(table, series)
    paths = ImagePaths(root.absolute(), table["path"].to_numpy(dtype=object))
    measured = None
    if address is not None:
        measured = measure_on_cluster(paths, root, FileSettings(raw, hdf5_path), address, workers)
    with progress.task("reading", len(paths)) as advance:
        scan = scan_images(paths, advance, measured)
    simulated = (root / "simulation.yaml").is_file()
    return Audited(root, table, scan, names, name, reliable, tuple(notes), simulated)


def find_all(audited: Audited) -> list[Finding]:
    """All findings of all checks, in order."""
    return [finding for check in CHECKS for finding in check(audited)]


def must_fix(findings: list[Finding]) -> bool:
    """Whether any finding must be fixed before training."""
    return any(finding.severity == FIX for finding in findings)
