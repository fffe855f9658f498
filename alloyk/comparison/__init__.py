"""Finished runs side by side, on the same test images.

`runs` reads them, `compare` computes, `files` writes, with `tables` in Markdown, CSV and LaTeX.
"""

from alloyk.comparison.compare import compare_runs
from alloyk.comparison.output import write_comparison

__all__ = ["compare_runs", "write_comparison"]
