"""A run as a file for the device: `conversion` writes it, `run` checks it against the original."""

from alloyk.export.run import export_run, format_report

__all__ = ["export_run", "format_report"]
