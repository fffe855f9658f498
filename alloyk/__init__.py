"""Tell metals apart in X-ray transmission images.

Each command is a function with the same options as keyword arguments:

    run = alloyk.train(data="sorted/", arch="resnet18")
    run.metrics["accuracy"]
    run.predict("plate.png").labels
    run.export("tflite", out="resnet18.tflite")

A trained run, or a file exported from it, classifies raw images:
`alloyk.load("saved_models/resnet18").predict(["plate.png"]).labels`. A network alone:

    >>> import alloyk
    >>> alloyk.build_model("cnn", (64, 64, 1), num_classes=6).output_shape
    (None, 6)

Nothing is printed: messages go to the logger `alloyk`, and `progress=` takes an object of
`alloyk.progress`. `import alloyk` loads no TensorFlow; the functions load what they need.
"""

from typing import Any

__version__ = "0.1.0"

# Name → the module that has it, loaded on first use.
_HOMES = {
    "Config": "alloyk.config",
    "RunFolder": "alloyk.runs.folder",
    **dict.fromkeys(
        (
            "audit", "bench", "build_model", "ceiling", "compare", "configure", "cross_validate",
            "ensemble", "evaluate", "explain", "export", "load", "plan", "predict", "report",
            "serve", "simulate", "split", "stress", "train", "tune",
        ),
        "alloyk.api",
    ),
}  # fmt: skip

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
