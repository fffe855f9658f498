"""Explain predictions by Grad-CAM and SHAP, with a sanity check of the maps."""

from alloyk.explanation.explanation import Explanation, explain
from alloyk.explanation.image_selection import chosen_images, most_and_least_confident
from alloyk.explanation.sanity import describe_sanity
from alloyk.explanation.writing import (
    check_output_folder,
    describe,
    format_decisions,
    write_explanation,
)

__all__ = [
    "Explanation",
    "check_output_folder",
    "chosen_images",
    "describe",
    "describe_sanity",
    "explain",
    "format_decisions",
    "most_and_least_confident",
    "write_explanation",
]
