"""Robustness of a trained run to disturbances by detectors and laboratories.

`kinds` changes raw images, `bench` classifies them and writes the table.
"""

from alloyk.robustness.bench import stress_run

__all__ = ["stress_run"]
