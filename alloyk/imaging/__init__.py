"""Image files as arrays, at their true depth.

`reading` tells the format and names the file in whatever goes wrong; `png`, `raster` (JPEG, BMP),
`tiff` and `dicom` read one format each; `checks` is what they share, `gray` what colour is worth.
"""

from alloyk.imaging.reading import (
    IMAGE_SUFFIXES,
    image_format,
    image_size,
    is_image_name,
    plain_format,
    read_image,
    shown,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "image_format",
    "image_size",
    "is_image_name",
    "plain_format",
    "read_image",
    "shown",
]
