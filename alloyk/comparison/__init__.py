"""Compare finished runs on the same test images.

`runs` reads them, `compare` computes, `output` writes, with `tables` in Markdown, CSV and LaTeX.
"""

from alloyk.comparison.compare import compare_runs
from alloyk.comparison.output import check_output_folder, write_comparison

__all__ = ["check_output_folder", "compare_runs", "write_comparison"]
