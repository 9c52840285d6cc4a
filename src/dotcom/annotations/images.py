"""The one reader of image files: training, prediction, the demo and ``prepare`` see the same pixels. No torch here.

- A picture is upright: it is turned by its EXIF orientation (JPEG, PNG, WebP, AVIF, TIFF), as viewers do.
- An animation or a file of several pages is its first frame.
- Transparency is dropped: a pixel keeps the colour that is stored under it.
- Grey and colour of 16 bits keep the upper 8. Palettes, bilevel images and CMYK become RGB.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps, UnidentifiedImageError

from dotcom import foreign
from dotcom.errors import UsageError, flat

MAX_PIXELS = 150_000_000  # 450 MB once decoded; a file of a few kilobytes can claim to be far larger
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")  # no EPS: it is a program
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k"),
)
KINDS = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF or JPEG 2000"
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # grey of 16 bits, which Pillow would cut off at 255
ORIENTATION = 0x0112  # EXIF tag
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
DAMAGE = (  # how Pillow's decoders answer what is no picture, or a damaged one
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, NotImplementedError, OverflowError),
    *(MemoryError, RuntimeError, AttributeError, AssertionError, ArithmeticError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
TRANSPOSED = Image.Transpose
TURN_BACK = {  # from an upright picture to the stored one, by orientation
    2: TRANSPOSED.FLIP_LEFT_RIGHT,
    3: TRANSPOSED.ROTATE_180,
    4: TRANSPOSED.FLIP_TOP_BOTTOM,
    5: TRANSPOSED.TRANSPOSE,
    6: TRANSPOSED.ROTATE_90,
    7: TRANSPOSED.TRANSVERSE,
    8: TRANSPOSED.ROTATE_270,
}

Size = tuple[int, int]  # width, height

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # our own limit answers with an error


class UnreadableImage(Exception):  # noqa: N818
    """An image that cannot be used; the message says why, in a few words."""


@contextmanager
def opened(source: Path | bytes, limit: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image file without decoding its pixels.

    Args:
        source: A file, or the content of one.
        limit: Pixels that it may have, up to ``MAX_PIXELS``.

    Raises:
        UnreadableImage: If it is no image, damaged, above the limit, or no regular file (a pipe or a device is never
            opened). Also for damage that shows within the ``with`` block.
    """
    try:
        # an opened file: by its name Pillow would map it into memory, and shear TIFFs that EXIF turns
        file = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)
        with file, Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > limit:
                raise UnreadableImage(f"it has {by(picture.size)} pixels; expected at most {limit / 1e6:g} million")
            yield picture
    except Image.DecompressionBombError:  # Pillow's own limit, which may be lower than ours
        raise UnreadableImage(f"far too many pixels; expected at most {limit / 1e6:g} million") from None
    except DAMAGE as error:
        raise UnreadableImage(reason(error)) from None


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read it; a pipe or a device, which could block or act, is never opened.

    Raises:
        UnreadableImage: If it is no regular file.
        OSError: If it is not there, or must not be read.
    """
    try:
        return foreign.open_regular(path)
    except foreign.NoRegularFile as error:
        raise UnreadableImage(str(error)) from None


def decode_image(picture: Image.Image, upright: bool = True) -> Image.Image:
    """The pixels of an opened image in mode RGB.

    Args:
        picture: As ``opened`` gives it.
        upright: Turn it by its EXIF orientation; False for the pixels as the file stores them.
    """
    orientation = exif_orientation(picture)
    picture.load()
    if picture.format == "TIFF":  # Pillow has turned it already
        turned = picture if upright or orientation not in TURN_BACK else picture.transpose(TURN_BACK[orientation])
        return eight_bit(turned)
    return eight_bit(ImageOps.exif_transpose(picture) if upright else picture)


def read_picture(source: Path | bytes, name: str | None = None, limit: int = MAX_PIXELS) -> Image.Image:
    """Read an image file, upright and in mode RGB.

    Args:
        source: A file, or the content of one.
        name: What to call it in an error; default: its path.
        limit: Pixels that it may have, up to ``MAX_PIXELS``.

    Raises:
        UsageError: One line, with name and reason, if it is no picture, damaged, truncated, or above the limit.
    """
    called = name or (str(source) if isinstance(source, Path) else "the picture")
    try:
        with opened(source, limit) as picture:
            return decode_image(picture)
    except UnreadableImage as error:
        raise UsageError(f"{called}: {error}") from None


def is_picture(content: bytes) -> bool:
    """Whether bytes begin as an image does; it may be damaged further on."""
    try:
        Image.open(io.BytesIO(content), formats=FORMATS).close()
    except UnidentifiedImageError:
        return False
    except DAMAGE:
        pass
    return True


def image_sizes(path: Path) -> tuple[Size, Size] | None:
    """Width and height as stored and as upright, read from the file's header; None for a file that is no image."""
    try:
        with opened(path) as picture:
            return header_sizes(picture)
    except UnreadableImage:
        return None


def header_sizes(picture: Image.Image) -> tuple[Size, Size]:
    """Width and height of an opened image as stored and as upright."""
    size, swapped = picture.size, picture.size[::-1]
    if exif_orientation(picture) not in TURNED:
        return size, size
    return (swapped, size) if picture.format == "TIFF" else (size, swapped)


def exif_orientation(picture: Image.Image) -> int:
    """The EXIF orientation of an opened image, from 1 (upright) to 8."""
    orientation = picture.getexif().get(ORIENTATION, 1)
    return orientation if isinstance(orientation, int) else 1


def eight_bit(picture: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB.

    Raises:
        ValueError: For grey values that are no whole numbers from 0 to 65535; what they mean is not in the file.
    """
    if picture.mode in DEEP:
        import numpy as np

        grey = np.asarray(picture).astype(np.int64)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError(f"its values go from {grey.min()} to {grey.max()}; expected 8 or 16 bits")
        picture = Image.fromarray((grey >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("its values are floating point numbers; expected 8 or 16 bits")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def reason(error: BaseException) -> str:
    """Why an image could not be read, in a few words."""
    if isinstance(error, MemoryError):
        return "this machine has too little memory for it"
    if isinstance(error, UnidentifiedImageError):
        return f"no picture, or a damaged one; expected {KINDS}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return flat(str(error)) or type(error).__name__


def by(size: Size) -> str:
    """``640x480``."""
    return f"{size[0]}x{size[1]}"
