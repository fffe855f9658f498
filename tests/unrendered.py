"""A figure's PNG file without its rendering."""

import io

from matplotlib.figure import Figure
from PIL import Image

RENDER = Figure.savefig


def save_one_pixel(figure, file, **options):
    """Stand in for `Figure.savefig`."""
    png = io.BytesIO()
    Image.new("L", (1, 1)).save(png, "png")
    if hasattr(file, "write"):
        file.write(png.getvalue())
    else:
        with open(file, "wb") as opened:
            opened.write(png.getvalue())


def use_one_pixel():
    """Save all figures of this process as one pixel."""
    Figure.savefig = save_one_pixel
