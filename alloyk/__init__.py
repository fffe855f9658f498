"""Tell metals apart in X-ray transmission images.

    >>> import alloyk
    >>> model = alloyk.build_model("cnn", (64, 64, 1), num_classes=6)
    >>> model.output_shape
    (None, 6)

A trained run, or a file exported from it, classifies raw images:
`alloyk.load("saved_models/resnet18").predict(["plate.png"]).labels`.
"""

__version__ = "0.1.0"

__all__ = ["__version__", "build_model", "load"]

# Name → the module that has it. Loaded on first use: `import alloyk` stays free of TensorFlow.
_HOMES = {"build_model": "alloyk.models", "load": "alloyk.inference"}


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__():
    return sorted({*globals(), *_HOMES})
