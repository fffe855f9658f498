"""The choice between TensorFlow's two sets of CPU kernels, oneDNN and Eigen.

TensorFlow switches oneDNN on by itself only on processors with instructions for neural networks.
On others with AVX2, oneDNN trains up to 1.4 times as fast as Eigen: `docs/performance.md`. The
choice is an environment variable that TensorFlow reads when it is imported.
"""

import os
import platform
import sys
from functools import cache
from pathlib import Path

from alloyk.errors import ConfigError
from alloyk.runtime.cluster import cluster_from_environment

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
# Set with `VARIABLE` by `choose_kernels`; a child process then knows that no user set it.
OURS = "ALLOYK_CHOSE_CPU_KERNELS"

# On these TensorFlow uses oneDNN by itself.
NEURAL_INSTRUCTIONS = frozenset(
    {"avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"}
)


def choose_kernels() -> None:
    """Set the environment variable by which TensorFlow chooses its kernels.

    A value that the user has set stays. Nothing is set on processors for which there is no
    measurement: TensorFlow decides there. Has no effect after TensorFlow is imported. Several
    workers use Eigen: a worker may get no image of a last batch, for which a convolution of oneDNN
    returns the channels of its input.
    """
    if "tensorflow" in sys.modules or _is_set_by_user():
        return
    if _has_several_workers():
        os.environ[VARIABLE] = os.environ[OURS] = "0"
    elif _is_slow_by_default(cpu_flags()):
        os.environ[VARIABLE] = os.environ[OURS] = "1"
    else:
        for name in (VARIABLE, OURS):
            os.environ.pop(name, None)


def _is_slow_by_default(flags: frozenset[str]) -> bool:
    """Whether a processor is faster with oneDNN and TensorFlow does not choose it by itself.

    >>> _is_slow_by_default(frozenset({"avx2"}))
    True
    >>> _is_slow_by_default(frozenset({"avx2", "avx512_vnni"}))
    False
    """
    return "avx2" in flags and not flags & NEURAL_INSTRUCTIONS


def describe_kernels() -> dict[str, str]:
    """What a run records: the kernels in use and who chose them.

    Returns:
        `kernels`: `oneDNN`, `Eigen` or `default`; `chosen_by`: `user`, `alloyk` or
        `TensorFlow`.
    """
    value = os.environ.get(VARIABLE)
    if value is None:
        kernels = "oneDNN" if cpu_flags() & NEURAL_INSTRUCTIONS else "default"
        chosen_by = "TensorFlow"
    else:
        kernels = "oneDNN" if value.strip().lower() in ("1", "true") else "Eigen"
        chosen_by = "user" if _is_set_by_user() else "alloyk"
    return {"kernels": kernels, "chosen_by": chosen_by}


def _has_several_workers() -> bool:
    """Whether `TF_CONFIG` names several workers."""
    try:
        return cluster_from_environment() is not None
    except ConfigError:  # which a training run reports
        return False


def _is_set_by_user() -> bool:
    value = os.environ.get(VARIABLE)
    return value is not None and value != os.environ.get(OURS)


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor, by Linux' names; empty where they are not known."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    return frozenset(_cpuinfo("flags").split())


def processor_name() -> str:
    """The processor's name, such as `AMD EPYC`; where it is not known, its architecture."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """A line of the first processor in `/proc/cpuinfo`; empty on other systems than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
