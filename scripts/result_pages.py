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

JAX_MARK = "\\*"
JAX_NOTE = (
    "\\* trained with Keras on JAX on one NVIDIA H200, by the same command with `--on-jax`; "
    "all others on two CPU cores with TensorFlow."
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
    """
    begin, end = f"<!-- begin {script} -->", f"<!-- end {script} -->"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    new = f"{before}{begin}\n\n{tables}\n{end}{after}"
    if check and new != text:
        sys.exit(f"{page} is not what the results give; run scripts/{script}")
    if not check:
        page.write_text(new, encoding="utf-8")


def student_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of two values or more, and the ends of Student's 95 % interval.

    >>> [round(value, 4) for value in student_interval([0.01, 0.03])]
    [0.02, -0.1071, 0.1471]
    """
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return mean, mean - half, mean + half


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """`(n, classes)` of a table."""
    return table[[name for name in table if str(name).startswith("p_")]].to_numpy()


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
