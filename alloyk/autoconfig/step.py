"""Measure one training step of a configuration in a process of its own.

The largest memory of a process never falls, so that a second measurement in it could not be lower.
A process that runs out of memory may be killed, which must not end the command.
"""

import json
import math
import subprocess
import sys
import time
from typing import Any, NamedTuple

from alloyk.config import Config
from alloyk.errors import AlloykError, ConfigError

KILLED = -9
"""Exit status of a process that the system ended because memory ran out."""


class StepNeed(NamedTuple):
    """What one training step takes.

    Attributes:
        seconds: Median duration of a step.
        peak_bytes: Largest memory of the process; infinite if it ran out of memory.
        took: Duration of the measurement, TensorFlow's import not included.
    """

    seconds: float
    peak_bytes: float
    took: float


OUT_OF_MEMORY = StepNeed(math.inf, math.inf, 0.0)


def measured_step(config: Config, class_counts: list[int]) -> StepNeed:
    """Run a few training steps of a configuration on random images, in a process of its own.

    Args:
        config: The experiment.
        class_counts: Training images of each class.

    Raises:
        ConfigError: The step cannot be run.
    """
    # Of several workers only this one runs a step.
    settings = config.model_dump(mode="json", exclude={"train": {"strategy"}})
    ended = subprocess.run(
        [sys.executable, "-m", "alloyk.autoconfig.step"],
        input=json.dumps({"config": settings, "classes": class_counts}),
        capture_output=True, text=True,
    )  # fmt: skip
    if ended.returncode == KILLED:
        return OUT_OF_MEMORY
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"could not measure a training step: {why}")
    found = json.loads(ended.stdout.splitlines()[-1])
    if "problem" in found:
        raise ConfigError(found["problem"])
    return StepNeed(**found)


def _measure(config: Config, class_counts: list[int]) -> dict[str, Any]:
    """Measure in this process."""
    import tensorflow as tf

    from alloyk.training.keras_setup import set_up_keras
    from alloyk.training.step_cost import measure_configuration

    started = time.monotonic()
    try:
        set_up_keras(config)
        cost = measure_configuration(config, class_counts)
    except AlloykError as error:
        return {"problem": str(error)}
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return OUT_OF_MEMORY._asdict()
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        return {"problem": f"could not measure a training step: {type(error).__name__}: {first}"}
    return {**cost._asdict(), "took": time.monotonic() - started}


def main() -> None:
    """Read a configuration from standard input, and write its cost to standard output."""
    given = json.load(sys.stdin)
    config = Config.model_validate(given["config"])
    from alloyk.runtime.tensorflow import load_tensorflow

    try:
        load_tensorflow()
        found = _measure(config, given["classes"])
    except ConfigError as error:
        found = {"problem": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
