"""One image made small: decoded, its shorter side brought to so many pixels, encoded again."""

import io
from dataclasses import dataclass

from PIL import Image
from torch import Tensor
from torchvision.io import encode_jpeg
from torchvision.transforms.v2.functional import resize

from dotcom.annotations.masks import open_mask
from dotcom.data.pieces import Piece
from dotcom.data.preflight import read_image, reason

Size = tuple[int, int]  # height, width


class Unreadable(Exception):  # noqa: N818
    """An image that cannot be used; it says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a piece: name and content of its file, content of its mask, the size before and after."""

    name: str
    image: bytes
    mask: bytes
    before: Size
    after: Size


def made_of(piece: Piece, side: int, quality: int) -> Made:
    """Decode an image and, unless it is kept or small, resize it, bilinear with antialiasing; masks by nearest pixel.

    An image that stays keeps every byte. Nothing in the result depends on the time or on other images.

    Args:
        piece: Image and mask.
        side: Length of the shorter side, in pixels; a smaller image is kept.
        quality: Of the JPEG, from 1 to 100.

    Raises:
        Unreadable: If image or mask cannot be decoded, or do not have the size that they should.
    """
    try:
        content = piece.image.read_bytes()
        image = _image(piece, content)
    except (RuntimeError, OSError) as error:
        raise Unreadable(reason(error)) from None
    before = (image.shape[-2], image.shape[-1])
    mask = None if piece.mask is None else _mask(piece, before)
    if piece.keep or min(before) <= side:
        return Made(piece.name, content, b"" if mask is None else _png(mask), before, before)
    small = resize(image, [side], antialias=True)
    after = (small.shape[-2], small.shape[-1])
    encoded = encode_jpeg(small, quality).numpy().tobytes()
    shrunk = b"" if mask is None else _png(mask.resize(after[::-1], Image.Resampling.NEAREST))
    return Made(piece.as_jpeg, encoded, shrunk, before, after)


def _image(piece: Piece, content: bytes) -> Tensor:
    """The image upright, or as it is stored if that is what its annotation means; uint8 (3, H, W)."""
    image = read_image(content)
    if piece.size is not None and tuple(image.shape[-2:]) != piece.size:
        image = read_image(content, upright=False)
        if tuple(image.shape[-2:]) != piece.size:
            height, width = image.shape[-2:]
            raise Unreadable(f"it is {width}x{height}, but its annotation is for {piece.size[1]}x{piece.size[0]}")
    return image


def _mask(piece: Piece, size: Size) -> Image.Image:
    assert piece.mask is not None
    try:
        mask = open_mask(piece.mask)
    except ValueError as error:
        raise Unreadable(f"its mask {piece.mask} {error}") from None
    if mask.size != size[::-1]:
        found = f"{mask.width}x{mask.height}"
        raise Unreadable(f"it is {size[1]}x{size[0]}, but its mask {piece.mask} is {found}")
    return mask


def _png(mask: Image.Image) -> bytes:
    """Without loss, and with its palette."""
    file = io.BytesIO()
    mask.save(file, "PNG")
    return file.getvalue()
