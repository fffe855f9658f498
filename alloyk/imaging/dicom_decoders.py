"""Decoders of imagecodecs for the JPEG family in DICOM, as a plugin of pydicom.

pydicom's own decoders come first; these serve what Pillow cannot decode.
"""

from typing import Any

import imagecodecs
from pydicom import pixels, uid
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import DecodeRunner

from alloyk.imaging.jpeg_other import complete

_DECODERS = {
    uid.JPEGExtended12Bit: complete(imagecodecs.jpeg8_decode),
    uid.JPEGLossless: complete(imagecodecs.ljpeg_decode),
    uid.JPEGLosslessSV1: complete(imagecodecs.ljpeg_decode),
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
