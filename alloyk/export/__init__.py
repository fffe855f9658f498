"""A run as a file for the device.

`conversion` writes it, `agreement` compares it with the original, `run` lets it out if they agree.
"""

from alloyk.export.exporter import export_run, format_report

__all__ = ["export_run", "format_report"]
