"""Export a run to a file for the device.

`conversion` writes a file and `quantization` quantises its network, with `calibration` for the
images it is calibrated on. `subject` has the original and its images, `agreement` and `parity`
compare both, `policy` says what is required, `exporter` keeps the file only if it passes and
`proof` writes the comparison down. `auto` tries formats until one passes; `bench` measures all
exports of a run.
"""

from alloyk.exporting.auto import export_smallest
from alloyk.exporting.bench import bench_run
from alloyk.exporting.exporter import export_run
from alloyk.exporting.table import format_report

__all__ = ["bench_run", "export_run", "export_smallest", "format_report"]
