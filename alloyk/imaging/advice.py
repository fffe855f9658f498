"""Detector formats that are not read: how to recognise and convert each."""

import re
from pathlib import PurePath

_TO_TIFF = "export 16-bit or 32-bit TIFF from the program that wrote it"

# First bytes of a file → advice. They override its suffix.
_BY_CONTENT = {
    b"ncaa": "VFF is not read; convert it to TIFF, for example with Fiji",
    b"XIVI": f"VIV is not read; {_TO_TIFF}",
    b"###CBF": "CBF is not read; convert it to EDF or TIFF, for example with fabio-convert",
    b"NRRD": "NRRD is not read; convert it to TIFF, for example with Fiji",
    b"\x1f\x8b": "it is compressed with gzip; decompress it",
    b"BZh": "it is compressed with bzip2; decompress it",
}

# Zeiss TXRM is a compound file, as are old office documents.
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

# The first element of DICOM (group 2 or 8) without what must be before it: explicit value
# representation in both byte orders, and implicit (PS3.5, 7.1).
_KINDS = rb"(?:AE|CS|DA|DT|IS|LO|OB|PN|SH|SQ|TM|UI|UL|US)"
_BARE_DICOM = re.compile(
    rb"[\x02\x08]\0.\0" + _KINDS + rb"|\0[\x02\x08]\0." + _KINDS
    + rb"|\x08\0.\0[\x02-\x40]\0\0\0[0-9A-Z\\._ ]{2}",
    re.DOTALL,
)  # fmt: skip
_BARE_DICOM_ADVICE = (
    "it is DICOM without its first 132 bytes (preamble and mark), which is not read; save it as a "
    "DICOM file, for example with dcmconv of DCMTK"
)

_AS_RAW = (
    "has no header that alloyk reads; if its pixels are uncompressed, rename it to .raw and "
    "describe it by data.raw"
)

# Suffix → advice, if the content is not recognised.
_BY_SUFFIX = {
    ".txrm": "Zeiss TXRM is not read; export TIFF from the microscope's program",
    ".xrm": "Zeiss XRM is not read; export TIFF from the microscope's program",
    ".txm": "Zeiss TXM is not read; export TIFF from the microscope's program",
    ".vff": _BY_CONTENT[b"ncaa"],
    ".viv": f"VIV is not read; {_TO_TIFF}",
    ".cbf": _BY_CONTENT[b"###CBF"],
    ".nrrd": _BY_CONTENT[b"NRRD"],
    ".mhd": "MetaImage is not read; describe its .raw file by data.raw, or convert it with Fiji",
    ".mha": "MetaImage is not read; convert it to TIFF, for example with Fiji",
    ".nii": "NIfTI is not read; convert it to TIFF, for example with Fiji",
    ".seq": f"SEQ {_AS_RAW}, or {_TO_TIFF}",
    ".img": f"IMG {_AS_RAW}, or {_TO_TIFF}",
    ".bin": f"BIN {_AS_RAW}",
    ".dat": f"DAT {_AS_RAW}",
    ".vol": f"VOL {_AS_RAW}",
    ".spe": "SPE is not read; convert it to TIFF, for example with Fiji",
    ".mat": "MATLAB files are not read; save the array as .npy, or as TIFF by imwrite",
    ".jp2": "JPEG 2000 is not read; convert it to TIFF or PNG",
    ".j2k": "JPEG 2000 is not read; convert it to TIFF or PNG",
    ".webp": "WebP is not read; convert it to PNG",
    ".gif": "GIF is not read; convert it to PNG",
    ".pgm": "PGM is not read; convert it to PNG, which keeps 16 bits",
}


def how_to_convert(head: bytes, name: str) -> str | None:
    """Return how to convert a file of a known format that is not read, or None.

    Args:
        head: Its first bytes.
        name: Its name, or `""`.
    """
    if _BARE_DICOM.match(head):
        return _BARE_DICOM_ADVICE
    for mark, advice in _BY_CONTENT.items():
        if head.startswith(mark):
            return advice
    suffix = PurePath(name).suffix.lower()
    if suffix not in _BY_SUFFIX and head.startswith(_COMPOUND):
        suffix = ".txrm"
    return _BY_SUFFIX.get(suffix)
