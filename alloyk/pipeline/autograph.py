"""Graphs of tf.data are traced from the functions as they are."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import tensorflow as tf

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def without_autograph(make: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """For a function that makes a data set: AutoGraph leaves the functions that it maps alone.

    AutoGraph rewrites Python's conditions on tensors. Ours have none, and looking for them in all
    that they call takes seconds (`scripts/bench_tracing.py`).
    """
    return cast(Callable[Arguments, Result], tf.autograph.experimental.do_not_convert(make))
