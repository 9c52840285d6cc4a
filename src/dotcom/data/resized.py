"""One image made small: decoded, its shorter side brought to so many pixels, encoded again."""

import io
from dataclasses import dataclass

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from dotcom.annotations.images import UnreadableImage, open_regular
from dotcom.annotations.masks import open_mask
from dotcom.data.pieces import Piece
from dotcom.data.preflight import read_image

Size = tuple[int, int]  # height, width


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
        UnreadableImage: If image or mask cannot be decoded, or do not have the size that they should.
    """
    try:
        with open_regular(piece.image) as file:
            content = file.read()
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from None
    mask = _mask(piece)
    image = _image(piece, content, None if mask is None else mask.size[::-1])
    before = (image.shape[-2], image.shape[-1])
    if piece.keep or min(before) <= side:
        return Made(piece.name, content, b"" if mask is None else _png(mask), before, before)
    small = resize(image, [side], antialias=True)
    after = (small.shape[-2], small.shape[-1])
    encoded = _jpeg(small, quality)
    shrunk = b"" if mask is None else _png(mask.resize(after[::-1], Image.Resampling.NEAREST))
    return Made(piece.as_jpeg, encoded, shrunk, before, after)


def _image(piece: Piece, content: bytes, of_mask: Size | None) -> Tensor:
    """The image upright, or as it is stored if that is what its annotation or mask means; uint8 (3, H, W)."""
    image, expected = read_image(content), piece.size or of_mask
    if expected is not None and tuple(image.shape[-2:]) != expected:
        image = read_image(content, upright=False)
        if tuple(image.shape[-2:]) != expected:
            height, width = image.shape[-2:]
            what = "annotation is for" if of_mask is None else f"mask {piece.mask} is"
            raise UnreadableImage(f"it is {width}x{height}, but its {what} {expected[1]}x{expected[0]}")
    return image


def _mask(piece: Piece) -> Image.Image | None:
    if piece.mask is None:
        return None
    try:
        return open_mask(piece.mask)
    except ValueError as error:
        raise UnreadableImage(f"its mask {piece.mask} {error}") from None


def _jpeg(image: Tensor, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _png(mask: Image.Image) -> bytes:
    """Without loss, and with its palette."""
    file = io.BytesIO()
    mask.save(file, "PNG")
    return file.getvalue()
