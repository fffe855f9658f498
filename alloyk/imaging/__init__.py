"""Image files as arrays, at their true depth.

`reading` detects the format and names the file in every error; `png`, `jpeg`, `pillow` (also BMP),
`tiff`, `dicom` and `lab` read the formats; `limits` has their common checks, and `gray` converts
colour to gray.
"""

from alloyk.imaging.reading import (
    IMAGE_SUFFIXES,
    image_format,
    image_size,
    is_image_file,
    is_image_name,
    page_count,
    plain_format,
    read_image,
    shown,
    split_page,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "image_format",
    "image_size",
    "is_image_file",
    "is_image_name",
    "page_count",
    "plain_format",
    "read_image",
    "shown",
    "split_page",
]
