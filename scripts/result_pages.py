"""Tables that scripts write into pages of `docs/`, from committed results."""

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from scipy.stats import t as student

from alloyk.metrics.significance import accuracy_difference

# Read as they are written: serials and labels such as 0100 are no numbers.
TEXT = {"path": str, "label": str, "predicted": str, "plate_id": str}

JAX_MARK = "\\*"
JAX_NOTE = (
    "\\* trained with Keras on JAX on one NVIDIA H200 (`scripts/train_on_jax.py`); all others on "
    "two CPU cores with TensorFlow."
)


def page_options(description: str | None, results: Path, page: Path) -> argparse.Namespace:
    """`--results`, `--page` and `--check` of a script, with these defaults."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--page", type=Path, default=page)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


def replace_tables(page: Path, script: str, tables: str, *, check: bool) -> None:
    """Put tables between the two comments that name a script.

    Args:
        page: The page; it contains `<!-- begin SCRIPT -->` and `<!-- end SCRIPT -->`.
        script: File name of the script that makes the tables.
        tables: What stands between the comments from now on.
        check: Write nothing; end the process with a message if the page would change.

    A page without one of the comments ends the process too, and stays as it is.
    """
    begin, end = f"<!-- begin {script} -->", f"<!-- end {script} -->"
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    if not found:
        sys.exit(f"{page} must contain {begin}")
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"{page} must contain {end} after {begin}")
    new = f"{before}{begin}\n\n{tables}\n{end}{after}"
    if check and new != text:
        sys.exit(f"{page} is not what the results give; run scripts/{script}")
    if not check:
        page.write_text(new, encoding="utf-8")


def star_note(tables: str) -> str:
    """The explanation of the star, if tables have one.

    >>> star_note("| `cnn` | 0.9 |")
    ''
    """
    return JAX_NOTE if JAX_MARK in tables else ""


def same_images(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The first of several tables of predictions; ends the process if their images differ."""
    first = tables[0]
    for other in tables[1:]:
        if not other["path"].equals(first["path"]):
            sys.exit(
                "all networks must be tested on the same images, got "
                f"{len(first)} from {first['path'].iloc[0]} and "
                f"{len(other)} from {other['path'].iloc[0]}"
            )
    return first


def student_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of two values or more, and the ends of Student's 95 % interval.

    >>> [round(value, 4) for value in student_interval([0.01, 0.03])]
    [0.02, -0.1071, 0.1471]
    """
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return mean, mean - half, mean + half


def mean_interval(values: Sequence[float], *, highest: float = 1.0, trials: int = 0) -> str:
    """A mean over seeds with Student's 95 % interval, cut at 0 and `highest`; a dash for NaN.

    Args:
        values: One for each seed.
        highest: Largest possible value.
        trials: Images of which each value is a share. Then a single value, or equal ones, have
            Wilson's interval; without it they have none.

    >>> mean_interval([0.98, 0.99]), mean_interval([0.9], trials=10)
    ('0.9850 [0.9215, 1.0000]', '0.9000 [0.5958, 0.9821]')
    >>> mean_interval([0.5]), mean_interval([math.nan])
    ('0.5000', '–')
    """
    mean = statistics.fmean(values)
    if math.isnan(mean):
        return "–"
    if len(set(values)) > 1:
        _, low, high = student_interval(values)
    elif trials:
        wilson = binomtest(round(mean * trials), trials).proportion_ci(method="wilson")
        low, high = wilson.low, wilson.high
    else:
        return f"{mean:.4f}"
    return f"{mean:.4f} [{max(low, 0.0):.4f}, {min(high, highest):.4f}]"


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """`(n, classes)` of a table."""
    return table[[name for name in table if str(name).startswith("p_")]].to_numpy()


def keep_predictions(
    predictions: Path, target: Path, columns: Sequence[str], *, probabilities: bool = True
) -> pd.DataFrame:
    """Write columns of a predictions file, and the probabilities to four decimals.

    Args:
        predictions: `predictions.csv` of a run or an evaluation.
        target: The file to write.
        columns: Columns of text to keep.
        probabilities: Keep the columns `p_…` too.

    Returns:
        All columns of the predictions.
    """
    table = pd.read_csv(predictions, dtype=TEXT)
    kept = [name for name in table if probabilities and str(name).startswith("p_")]
    table[[*columns, *kept]].to_csv(target, index=False, float_format="%.4f", lineterminator="\n")
    return table


def decided(table: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """The label `(n,)` of the largest probability in each row `(n, classes)`."""
    labels = [str(name).removeprefix("p_") for name in table if str(name).startswith("p_")]
    return np.array(labels)[values.argmax(axis=1)]


def percent(found: np.ndarray) -> str:
    """Accuracy with Wilson's interval.

    >>> percent(np.array([True] * 9 + [False]))
    '90.0 [59.6, 98.2]'
    """
    interval = binomtest(int(found.sum()), len(found)).proportion_ci(method="wilson")
    return f"{100 * found.mean():.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def difference(first: np.ndarray, second: np.ndarray, plates: np.ndarray) -> str:
    """Accuracy of the second minus that of the first in points, paired by plate."""
    found = accuracy_difference(first, second, plates)
    text = f"{100 * found['difference']:+z.1f}"
    if found["interval"]:
        low, high = found["interval"]
        text += f" [{100 * low:+z.1f}, {100 * high:+z.1f}]"
    return text.replace("-", "−")
