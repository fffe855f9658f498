"""Image files as arrays, at their true depth.

`contents` finds the bytes of an image, in its file or in the shards of `store`; `reading` reads a
file or its header, `opening` names the file in every error, `formats` finds the
format; `png`, `jpeg`, `pillow` (BMP too), `tiff` and `dicom` read one format each, `lab` those of
laboratories (`numpy_files`, `edf`, `fits`, `his`, `hdf5`, `raw`). `limits` has the limits that they
share, `described` the settings of raw and HDF5 files, `pages` names the pages of a file, `channels`
images of several files, `header` has the settings of the exposure and `times` compares their times,
`advice` says how to convert formats that are not read, `gray` converts colour to gray.
"""

from alloyk.imaging.channels import ChannelChoice, channel_files, channel_name, several
from alloyk.imaging.contents import (
    image_bytes,
    image_exists,
    image_length,
    image_stamp,
    open_image_file,
)
from alloyk.imaging.described import (
    NO_SETTINGS,
    FileSettings,
    RawLayout,
    assume_files,
    describe_files,
    described_folders,
)
from alloyk.imaging.formats import IMAGE_SUFFIXES
from alloyk.imaging.opening import is_image_file, is_image_name
from alloyk.imaging.pages import (
    Page,
    PageChoice,
    image_file,
    image_files,
    page_paths,
    split_page,
    without_page,
)
from alloyk.imaging.raw import raw_layout
from alloyk.imaging.reading import (
    decoded_pixels,
    image_format,
    image_size,
    page_count,
    plain_format,
    read_image,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "NO_SETTINGS",
    "ChannelChoice",
    "FileSettings",
    "Page",
    "PageChoice",
    "RawLayout",
    "assume_files",
    "channel_files",
    "channel_name",
    "decoded_pixels",
    "describe_files",
    "described_folders",
    "image_bytes",
    "image_exists",
    "image_file",
    "image_files",
    "image_format",
    "image_length",
    "image_size",
    "image_stamp",
    "is_image_file",
    "is_image_name",
    "open_image_file",
    "page_count",
    "page_paths",
    "plain_format",
    "raw_layout",
    "read_image",
    "several",
    "split_page",
    "without_page",
]
