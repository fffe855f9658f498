"""How a trained run stands what detectors and laboratories do to its images.

`kinds` changes raw images, `bench` classifies them and writes the table.
"""

from alloyk.stress.bench import stress_run

__all__ = ["stress_run"]
