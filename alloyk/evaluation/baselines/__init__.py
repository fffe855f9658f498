"""Simple, transparent classifiers, judged on the images that a run is judged by.

`noise_statistics` and `wedge_curve` are what they see of an image, `rivals` trains them, `results`
reads what they reached.
"""

from alloyk.evaluation.baselines.results import CONTROLS, control_file, control_metrics

__all__ = ["CONTROLS", "control_file", "control_metrics"]
