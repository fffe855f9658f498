"""Records of a TFRecord file: bytes between two lengths and two checksums.

A record is its length (8 bytes), the checksum of the length (4), the bytes, and their checksum (4),
all little-endian; a checksum is a masked CRC-32C. `tf.data.TFRecordDataset` reads such files.

Reference: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import struct
from typing import BinaryIO

import google_crc32c

OVERHEAD = 16
"""Bytes of a record beside its content."""

_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")


def checksum(content: bytes) -> int:
    """Return the masked CRC-32C.

    >>> hex(checksum(b"123456789"))
    '0xc78ab0e5'
    """
    crc = int(google_crc32c.value(content))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def write_record(file: BinaryIO, content: bytes) -> int:
    """Append a record to a file; return the checksum of its content."""
    length = struct.pack("<Q", len(content))
    crc = checksum(content)
    file.write(length + _TAIL.pack(checksum(length)) + content + _TAIL.pack(crc))
    return crc


def content_of(record: bytes) -> bytes | None:
    """Return the content of a whole record; None if the record is damaged or something else."""
    if len(record) < OVERHEAD:
        return None
    length, crc = _HEAD.unpack_from(record)
    if length != len(record) - OVERHEAD or crc != checksum(record[:8]):
        return None
    content = record[_HEAD.size : -_TAIL.size]
    return content if _TAIL.unpack(record[-_TAIL.size :])[0] == checksum(content) else None
