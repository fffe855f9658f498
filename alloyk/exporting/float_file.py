"""A run's float32 `.tflite` file, from which quantised files are made."""

import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from alloyk.exporting.calibration import Calibration, draw_calibration, read_calibration
from alloyk.exporting.conversion import write_tflite
from alloyk.exporting.learned_ranges import tensor_ranges, without_range
from alloyk.exporting.quantization import (
    NetworkOperator,
    Range,
    Scheme,
    activation_ranges,
    network_operators,
    quantize,
    range_for,
)
from alloyk.exporting.subject import Subject, logger
from alloyk.runs.folder import RunFolder


@dataclass
class FloatFile:
    """A float32 file and what quantising it needs, each measured once.

    Attributes:
        subject: The run.
        content: The file.
    """

    subject: Subject
    content: bytes
    _ranges: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def of(cls, subject: Subject) -> "FloatFile":
        """Convert the run's model."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "float32.tflite"
            write_tflite(subject.model, path, subject.timed_shape)
            return cls(subject, path.read_bytes())

    @cached_property
    def operators(self) -> list[NetworkOperator]:
        """The operators of the network."""
        return network_operators(self.content)

    @cached_property
    def calibration(self) -> Calibration:
        """The training images that ranges are measured on."""
        calibration = draw_calibration(self.subject.dataset)
        if calibration.note:
            logger.warning(calibration.note)
        return calibration

    @cached_property
    def learned(self) -> dict[str, Range]:
        """The ranges that quantisation-aware training has learned; empty for another run."""
        return tensor_ranges(self.operators, RunFolder(self.subject.run).activation_ranges)

    def is_calibrated(self, scheme: Scheme) -> bool:
        """Whether a file of this scheme needs ranges that are measured on training images."""
        if scheme.activations is None:
            return False
        return scheme.activations != 8 or bool(without_range(self.operators, self.learned))

    def ranges(self, draw: str, bits: Literal[8, 16]) -> dict[str, Range]:
        """The range of each activation, of so many bits, over a draw of training images."""
        if draw not in self._ranges:
            images = self.calibration.of(draw)
            logger.info(f"calibrating on {len(images)} training images (draw {draw})")
            read = read_calibration(images, self.subject.timed_shape)
            self._ranges[draw] = activation_ranges(self.content, read, self.operators)
        return {name: range_for(rows, bits) for name, rows in self._ranges[draw].items()}

    def quantized(self, scheme: Scheme, draw: str = "A") -> bytes:
        """The file with its network quantised, calibrated on a draw if the scheme needs it.

        Learned ranges come first in an int8 file: its network was trained with them.
        """
        ranges: dict[str, Range] = {}
        if scheme.activations is not None and self.is_calibrated(scheme):
            ranges = self.ranges(draw, scheme.activations)
        if scheme.activations == 8:
            ranges = {**ranges, **self.learned}
        return quantize(self.content, scheme, self.operators, ranges)
