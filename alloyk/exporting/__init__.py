"""Export a run to a file for the device.

`conversion` writes the file, `agreement` compares it with the original, and `exporter` keeps it
only if they agree.
"""

from alloyk.exporting.exporter import export_run, format_report

__all__ = ["export_run", "format_report"]
