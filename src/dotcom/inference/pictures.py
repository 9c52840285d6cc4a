"""Any picture file as upright 8-bit RGB, or one line that says why not. Nothing here imports torch."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dotcom.annotations.pictures import by
from dotcom.errors import UsageError, flat

MAX_PIXELS = 150_000_000  # 450 MB once decoded; a file of a few kilobytes can claim to be far larger
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")  # no EPS: it is a program
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k"),
)
DRAWN = ("drawings", "masks")  # folders of a PredictionFolder
KINDS = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF or JPEG 2000"
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # grey of 16 bits, which Pillow would cut off at 255
DAMAGE = (  # how Pillow's decoders answer what is no picture, or a damaged one
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, NotImplementedError, OverflowError),
    *(MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # our own limit answers with an error


def read_picture(source: Path | bytes, name: str | None = None, limit: int = MAX_PIXELS) -> Image.Image:
    """A picture in mode RGB, turned by its EXIF orientation as viewers do; of an animation, the first frame.

    It is what training reads from the same file: transparency and colour profiles are dropped, grey of 16 bits keeps
    its upper 8.

    Args:
        source: A file, or the content of one.
        name: What to call it in an error; default: its path.
        limit: Pixels that it may have, up to ``MAX_PIXELS``.

    Raises:
        UsageError: One line, with name and reason, if it is no picture, damaged, truncated, or above the limit.
    """
    called = name or (str(source) if isinstance(source, Path) else "the picture")
    try:
        # an opened file: by its name Pillow would map it into memory, and shear TIFFs that EXIF turns
        file = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with file, Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > limit:
                raise UsageError(
                    f"{called}: it has {by(picture.size)} pixels; expected at most {limit / 1e6:g} million"
                )
            picture.load()
            return eight_bit(ImageOps.exif_transpose(picture))
    except UsageError:
        raise
    except DAMAGE as error:
        raise UsageError(f"{called}: {reason(error)}") from None


def eight_bit(picture: Image.Image) -> Image.Image:
    """Any mode as RGB.

    Raises:
        ValueError: For grey values that are no whole numbers from 0 to 65535; what they mean is not in the file.
    """
    if picture.mode in DEEP:
        grey = np.asarray(picture).astype(np.int64)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError(f"its values go from {grey.min()} to {grey.max()}; expected 8 or 16 bits")
        picture = Image.fromarray((grey >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("its values are floating point numbers; expected 8 or 16 bits")
    return picture.convert("RGB")


def reason(error: BaseException) -> str:
    """Why a picture could not be read, in a few words."""
    if isinstance(error, Image.DecompressionBombError):
        return f"far too many pixels; expected at most {MAX_PIXELS / 1e6:g} million"
    if isinstance(error, UnidentifiedImageError):
        return f"no picture, or a damaged one; expected {KINDS}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return flat(str(error)) or type(error).__name__


def find_pictures(paths: Sequence[Path], without: Path | None = None) -> list[Path]:
    """The files among ``paths``, and the pictures in the folders among them, however deep; sorted, each file once.

    In folders, files count by their extension; hidden ones do not.

    Args:
        paths: Files, whatever they are called, and folders.
        without: A folder to leave out, since it holds what an earlier call has drawn; if it is one of ``paths``, its
            folders ``drawings`` and ``masks``.

    Raises:
        UsageError: If one of ``paths`` does not exist, or there is no picture at all.
    """
    for path in paths:
        if not path.is_dir() and not path.is_file():
            raise UsageError(f"{path}: no such file or folder; expected pictures, or folders with some")
    found = sorted(file for path in paths for file in ([path] if path.is_file() else _inside(path, without)))
    if not found:
        names = ", ".join(map(str, paths))
        raise UsageError(f"{names}: no pictures there; expected {KINDS}")
    first = {file.resolve(): file for file in reversed(found)}  # of the names of one file, the first
    return sorted(first.values())


def _inside(folder: Path, without: Path | None) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        made = DRAWN if _same(Path(place), without) else ()
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in made and not _same(Path(place, name), without)
        ]
        for name in names:
            file = Path(place, name)
            if name.lower().endswith(EXTENSIONS) and not name.startswith(".") and file.is_file():
                yield file


def _same(folder: Path, other: Path | None) -> bool:
    return other is not None and folder.resolve() == other.resolve()
