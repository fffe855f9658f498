"""Whether the metadata and the detector of a model fit what the model computes.

They are separate files in a SavedModel folder, and may be of another run.
"""

from collections.abc import Iterator
from pathlib import Path

from alloyk.errors import ModelError
from alloyk.inference.backends import Backend
from alloyk.inference.metadata import ModelMetadata
from alloyk.inference.novelty import FEATURES, NoveltyDetector
from alloyk.messages import shown


def refuse_misfit(
    path: Path, metadata: ModelMetadata, detector: NoveltyDetector | None, backend: Backend
) -> None:
    """Compare what is stored with a model with the inputs and outputs of the model.

    Raises:
        ModelError: They do not fit.
    """
    for misfit in (*_misfits(metadata, backend), *_detector_misfits(metadata, detector, backend)):
        raise ModelError(
            f"the metadata of {shown(path)} does not fit the model: {misfit}; export or train the "
            "model again"
        )


def _misfits(metadata: ModelMetadata, backend: Backend) -> Iterator[str]:
    expected = {metadata.output: len(metadata.classes), **dict.fromkeys(metadata.spreads, 1)}
    for name, size in expected.items():
        if name not in backend.outputs:
            yield f"an output {name!r} must exist, got {', '.join(sorted(backend.outputs))}"
        elif backend.outputs[name] not in (None, size):
            yield f"the output {name!r} must have {size} numbers, got {backend.outputs[name]}"
    channels = metadata.channels.count if metadata.channels else 1
    allowed = (None, 1, 3) if channels == 1 else (None, channels)
    if backend.input_shape[2] not in allowed:
        yield f"the model must take {channels} channels, got {backend.input_shape[2]}"


def _detector_misfits(
    metadata: ModelMetadata, detector: NoveltyDetector | None, backend: Backend
) -> Iterator[str]:
    has_features = FEATURES in backend.outputs and FEATURES not in metadata.spreads
    if detector is None:
        if has_features:
            yield "its detector of unlike images is missing"
        return
    if not has_features:
        yield f"an output {FEATURES!r} must exist for its detector of unlike images"
        return
    # A detector of an earlier version has no coarse image, though the network gives one.
    least, found = detector.width + len(detector.picture_mean), backend.outputs[FEATURES]
    if found is not None and (found < least or (len(detector.picture_mean) and found != least)):
        yield f"the output {FEATURES!r} must have {least} numbers, got {found}"
