"""Decoders of imagecodecs for the JPEG family in DICOM, as a plugin of pydicom.

pydicom's own decoders come first; these serve what Pillow cannot decode.
"""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from pydicom import pixels, uid
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import DecodeRunner

from alloyk.imaging.limits import CUT_SHORT

_END = b"\xff\xd9"


def _complete(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a JPEG decoder that raises if pixels are missing, where `decode` fills them.

    A complete frame gives the same pixels with bits left over before its end marker.
    """

    def decoded(source: bytes) -> Any:
        body, end, rest = source.rpartition(_END)
        if not end or rest.strip(b"\0\xff"):
            raise ValueError(CUT_SHORT)
        image = decode(source)
        for filling in (b"\x55", b"\xaa"):
            if not np.array_equal(image, decode(body + 64 * filling + end)):
                raise ValueError("pixels are missing in its middle")
        return image

    return decoded


_DECODERS = {
    uid.JPEGExtended12Bit: _complete(imagecodecs.jpeg8_decode),
    uid.JPEGLossless: _complete(imagecodecs.ljpeg_decode),
    uid.JPEGLosslessSV1: _complete(imagecodecs.ljpeg_decode),
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
}
_WITHOUT_TRANSFORM = (PhotometricInterpretation.YBR_ICT, PhotometricInterpretation.YBR_RCT)

DECODER_DEPENDENCIES = dict.fromkeys(_DECODERS, ("imagecodecs",))
"""Required of a plugin by pydicom."""


def is_available(syntax: str) -> bool:
    """Return whether a transfer syntax can be decoded; required of a plugin by pydicom."""
    return syntax in _DECODERS


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """Return the pixels of one compressed frame; called by pydicom.

    Args:
        source: The compressed frame.
        runner: Describes the frame; it is told how the returned pixels are stored.
    """
    try:
        image: Any = _DECODERS[runner.transfer_syntax](source)
    except RuntimeError as error:
        raise ValueError(f"its compressed pixels are damaged ({error})") from error
    runner.set_option("bits_allocated", 8 * image.dtype.itemsize)
    if image.ndim == 3:
        runner.set_option("planar_configuration", 0)  # colour by pixel
    if runner.photometric_interpretation in _WITHOUT_TRANSFORM:  # decoded to RGB
        runner.set_option("photometric_interpretation", PhotometricInterpretation.RGB)
    return bytes(image.tobytes())


def register() -> None:
    """Offer the decoders to pydicom."""
    for syntax in _DECODERS:
        decoder = pixels.get_decoder(syntax)
        if "imagecodecs" not in decoder.available_plugins:
            decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))
