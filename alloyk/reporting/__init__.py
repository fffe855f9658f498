"""A run, a comparison or a cross-validation as one HTML file that is self-contained."""

from alloyk.reporting.writing import report_page, write_report

__all__ = ["report_page", "write_report"]
