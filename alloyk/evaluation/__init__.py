"""From the files of a run to its figures, report and pictures.

`run` puts them together: `history` of the training, `text_report` and `figures`; `reference` is
the ceiling beside them. `split_predictions` first classifies a split anew.
"""

from alloyk.evaluation.evaluate import default_folder, evaluate_run, predictions_file, read_json

__all__ = ["default_folder", "evaluate_run", "predictions_file", "read_json"]
