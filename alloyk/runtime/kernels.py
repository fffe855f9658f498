"""The choice between TensorFlow's two sets of CPU kernels, oneDNN and Eigen.

TensorFlow switches oneDNN on by itself only on processors with instructions for neural networks.
On others with AVX2, oneDNN trains residual networks two to five times faster, and slows
EfficientNetB0 down at small image sizes: `docs/performance.md`. The choice is an environment
variable that TensorFlow reads when it is imported.
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
# Architecture -> the smallest image side at which oneDNN is not slower than Eigen.
MIN_SIDE = {"efficientnetb0": 64}


def choose_kernels(arch: str | None = None, image_size: tuple[int, int] | None = None) -> None:
    """Set the environment variable by which TensorFlow chooses its kernels.

    A value that the user has set stays. Nothing is set on processors for which there is no
    measurement: TensorFlow decides there. Has no effect after TensorFlow is imported. Several
    workers use Eigen: a worker may get no image of a last batch, for which a convolution of oneDNN
    returns the channels of its input.

    Args:
        arch: Name of the architecture; None if it is not known.
        image_size: `(height, width)` that the network sees, in pixels; None if it is not known.
    """
    if "tensorflow" in sys.modules or _is_set_by_user():
        return
    several = _has_several_workers()
    onednn = False if several else prefer_onednn(cpu_flags(), arch, image_size)
    if onednn is None:
        for name in (VARIABLE, OURS):
            os.environ.pop(name, None)
        return
    os.environ[VARIABLE] = os.environ[OURS] = "1" if onednn else "0"


def prefer_onednn(
    flags: frozenset[str], arch: str | None, image_size: tuple[int, int] | None
) -> bool | None:
    """Whether oneDNN is the faster choice; None leaves the choice to TensorFlow.

    >>> prefer_onednn(frozenset({"avx2"}), "resnet18", (32, 32))
    True
    >>> prefer_onednn(frozenset({"avx2"}), "efficientnetb0", (32, 32))
    False
    >>> prefer_onednn(frozenset({"avx2", "avx512_vnni"}), "resnet18", (32, 32)) is None
    True
    """
    if "avx2" not in flags or flags & NEURAL_INSTRUCTIONS:
        return None
    smallest = MIN_SIDE.get(arch or "")
    return smallest is None or image_size is None or min(image_size) >= smallest


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
