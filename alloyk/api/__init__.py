"""The Python face: each command as a function that returns its results.

`import alloyk` offers everything here. The command line calls the same functions. TensorFlow,
pandas and matplotlib load inside the functions that need them.
"""

from alloyk.api.configuration import configure
from alloyk.api.inference import bench, build_model, export, load, predict
from alloyk.api.preparation import audit, simulate, split
from alloyk.api.review import compare, evaluate, explain, report, stress
from alloyk.api.search import tune
from alloyk.api.serving import serve
from alloyk.api.setups import ceiling, plan
from alloyk.api.training import cross_validate, ensemble, train

__all__ = [
    "audit",
    "bench",
    "build_model",
    "ceiling",
    "compare",
    "configure",
    "cross_validate",
    "ensemble",
    "evaluate",
    "explain",
    "export",
    "load",
    "plan",
    "predict",
    "report",
    "serve",
    "simulate",
    "split",
    "stress",
    "train",
    "tune",
]
