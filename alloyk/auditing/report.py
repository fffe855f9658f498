"""Format an audit as text and as JSON."""

import json
import textwrap
from dataclasses import asdict

import numpy as np

from alloyk.auditing.findings import CHECK, FIX, NOTE, SEVERITIES, Audited, Finding
from alloyk.data import SPLITS
from alloyk.messages import counted, few, shown

WIDTH = 96
HEADS = {FIX: "FIX", CHECK: "CHECK", NOTE: "NOTE"}


def format_text(audited: Audited, findings: list[Finding]) -> str:
    """Format the findings, most severe first, after a summary of the data set."""
    lines = _summary(audited)
    for severity in SEVERITIES:
        for finding in findings:
            if finding.severity == severity:
                lines += ["", *_wrapped(f"{HEADS[severity]:<7}", finding.what)]
                lines += _wrapped("     → ", finding.advice)
    return "\n".join([*lines, "", _verdict(findings)]) + "\n"


def format_json(audited: Audited, findings: list[Finding]) -> str:
    """The complete audit as a JSON object, with all images of all findings."""
    report = {
        "data": str(audited.root),
        "simulated": audited.simulated,
        "images": len(audited),
        "readable": int(audited.scan.readable.sum()),
        "splits": _counts(audited.splits),
        "classes": _classes(audited),
        "series": {
            "by": audited.series_name,
            "believed": audited.series_reliable,
            "count": len(set(audited.series) - {""}),
        },
        "sizes": _counts(_sizes(audited)),
        "depths": _counts(audited.measure("dtype")),
        "modes": _counts(audited.measure("mode")),
        "formats": _counts(audited.measure("format")),
        "notes": list(audited.notes),
        "must_fix": sum(finding.severity == FIX for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _summary(audited: Audited) -> list[str]:
    simulated = ", simulated" if audited.simulated else ""
    head = f"{shown(audited.root)}: {counted(len(audited))}{simulated}"
    if audited.splits is not None:
        counts = _counts(audited.splits)
        head += "; " + ", ".join(f"{name} {counts[name]:,}" for name in SPLITS if name in counts)
    lines = [head]
    if audited.labels is None:
        lines.append("no labels")
    else:
        classes = _counts(audited.labels)
        names = [f"{shown(name)} ({count:,})" for name, count in classes.items()]
        lines.append(f"{counted(len(classes), 'class')}: {few(names, 8)}")
    kinds = (_sizes(audited), *(audited.measure(name) for name in ("dtype", "mode", "format")))
    found = [_most_common(values) for values in kinds]
    if all(found):
        lines.append("images of " + ", ".join(found))
    lines += audited.notes
    return lines


def _most_common(values: np.ndarray) -> str:
    counts = _counts(values)
    if len(counts) < 2:
        return "".join(counts)
    by_number = sorted(counts.items(), key=lambda item: -item[1])
    return few([f"{value} ({count:,})" for value, count in by_number])


def _verdict(findings: list[Finding]) -> str:
    fix, check, note = (sum(f.severity == severity for f in findings) for severity in SEVERITIES)
    if not findings:
        return "No problems found."
    must = f"{counted(fix, 'problem')} to fix" if fix else "No problems to fix"
    return f"{must}, {check:,} to check, {counted(note, 'note')}."


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * 7,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sizes(audited: Audited) -> np.ndarray:
    readable = audited.scan.readable
    height, width = audited.measure("height"), audited.measure("width")
    return np.array(
        [
            f"{h:.0f}×{w:.0f}" if known else None
            for h, w, known in zip(height, width, readable, strict=True)
        ],
        dtype=object,
    )


def _counts(values: np.ndarray | None) -> dict[str, int]:
    """Number of occurrences of each value, sorted by value, without missing values."""
    if values is None:
        return {}
    import pandas as pd

    counts = pd.Series(values).dropna().value_counts()
    return {str(value): int(counts[value]) for value in sorted(counts.index)}


def _classes(audited: Audited) -> dict[str, dict[str, float | None]]:
    """Number of images and typical quality per class, or of all images without labels."""
    labels = audited.labels
    if labels is None:
        labels = np.full(len(audited), "", dtype=object)
    found: dict[str, dict[str, float | None]] = {}
    for label in sorted(set(labels)):
        rows = labels == label
        found[label] = {"images": int(rows.sum())}
        for name in ("mean", "snr", "sharpness"):
            values = audited.measure(name)[rows]
            values = values[np.isfinite(values)]
            found[label][f"median_{name}"] = float(np.median(values)) if len(values) else None
    return found
