"""The table that `alloyk export` prints."""

from alloyk.exporting.agreement import Agreement
from alloyk.exporting.policy import POINTS
from alloyk.exporting.result import Attempt, ExportReport
from alloyk.messages import counted
from alloyk.runs.folder import RunFolder

MEGABYTE, MILLI = 1e6, 1e3


def format_report(report: ExportReport) -> str:
    """Format a report as the table that `alloyk export` prints."""
    images = f"{report.agreement.images:,} (the whole test split)"
    if report.resized:
        height, width = report.input_shape[:2]
        images += f", {report.resized:,} of them resized to {height}x{width} for both"
    shape = "x".join(map(str, report.timed_shape))
    speed = report.speed
    rows = [
        ("file", str(report.path)),
        ("format", f"{report.format}, input {_described(report.input_shape)}"),
        ("compared with", f"{RunFolder('').model_file.name} of the run, on the raw images"),
        ("images compared", images),
        *_differences(report),
        (RunFolder("").predictions_file().name, _recorded_row(report.recorded)),
        *_calibration(report),
        ("size", f"{report.size_bytes / MEGABYTE:.1f} MB"),
        ("peak memory", f"{speed.peak_bytes / MEGABYTE:.0f} MB (whole process)"),
        ("latency", f"{speed.median_seconds * MILLI:.2f} ms (one {shape} image, one thread)"),
        ("proof", str(report.proof)),
    ]
    width = max(len(name) for name, _ in rows)
    table = "".join(f"{name:<{width}}  {value}\n" for name, value in rows)
    advice = f"{report.advice}\n" if report.advice else ""
    return table + "".join(map(_attempt_line, report.attempts)) + advice


def _attempt_line(attempt: Attempt) -> str:
    """A line on a file that was tried."""
    result = f"failed: {'; '.join(attempt.failed)}" if attempt.failed else "passed, written"
    size = "" if attempt.size_bytes is None else f" ({attempt.size_bytes / MEGABYTE:.1f} MB)"
    return f"{attempt.what}{size}: {result}\n"


def _differences(report: ExportReport) -> list[tuple[str, str]]:
    found, parity, policy = report.agreement, report.parity, report.policy
    allowed = ""
    if policy.max_difference is not None:
        allowed = f" (allowed: {policy.max_difference:.0e})"
    accuracy = f"{parity.accuracy.difference * POINTS:+z.2f} points"
    if parity.interval is not None:
        low, high = (end * POINTS for end in parity.interval)
        accuracy += f" (95 % interval {low:+z.2f} to {high:+z.2f})"
    if policy.accuracy_loss is not None and parity.least is not None:
        accuracy += (
            f", at least {parity.least * POINTS:+z.2f} with 95 % confidence "
            f"(required: {-policy.accuracy_loss * POINTS:+z.2f})"
        )
    return [
        ("predictions that differ", str(len(found.differing))),
        ("max |Δp|", f"{found.max_difference:.1e}{allowed}"),
        ("mean |Δp|", f"{found.mean_difference:.1e}"),
        ("Δ accuracy", accuracy),
        ("Δ calibration error", f"{parity.calibration_error.difference:+z.4f}"),
        ("Δ log loss", f"{parity.log_loss.difference:+z.4f}"),
        *(
            (f"max |Δ {name}|", f"{difference:.1e} (allowed: {report.allowed[name]:.0e})")
            for name, difference in found.estimates.items()
        ),
        ("unlike flags changed", str(found.flags)),
    ]


def _calibration(report: ExportReport) -> list[tuple[str, str]]:
    if report.draws is None:
        learned = report.scheme is not None and report.scheme.activations is not None
        return [("calibration", "none: the ranges of fine-tuning")] if learned else []
    drawn, other = report.draws.calibration, report.draws.difference
    text = (
        f"{counted(len(drawn.of('A')), 'training image')}; "
        f"{counted(len(drawn.of('B')), 'other', 'change')} "
        f"{counted(len(other.differing), 'prediction')}, max |Δp| {other.max_difference:.1e}"
    )
    return [("calibration", text)]


def _described(shape: tuple[int | None, ...]) -> str:
    height, width, channels = shape
    size = "any size" if height is None or width is None else f"{height}x{width}"
    if channels is None:
        return f"raw images of {size}, 1 or 3 channels"
    images = "raw images" if size == "any size" else "one raw image"
    return f"{images} of {size}, {counted(channels, 'channel')}"


def _recorded_row(recorded: Agreement | None) -> str:
    if recorded is None:
        return "not compared: missing, or of other images"
    differing = counted(len(recorded.differing), "prediction", "differ")
    row = f"{differing}, max |Δp| {recorded.max_difference:.1e}"
    return row + "".join(f", |Δ {name}| {x:.1e}" for name, x in recorded.estimates.items())
