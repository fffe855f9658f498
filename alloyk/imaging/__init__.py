"""Image files as arrays, at their true depth.

`reading` finds the format and names the file in every error; `png`, `jpeg`, `pillow` (BMP too),
`tiff` and `dicom` read one format each; `limits` is what they share, `gray` makes gray of colour.
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
