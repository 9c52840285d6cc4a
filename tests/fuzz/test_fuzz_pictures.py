"""Whatever stands in the file of a picture or a mask: it is read, or refused in a few words."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from scipy.io import savemat

from dotcom.annotations.images import UnreadableImage, image_sizes, is_picture, read_picture
from dotcom.annotations.masks import open_mask
from dotcom.data.pieces import Piece
from dotcom.data.preflight import check_readable, read_image
from dotcom.data.resized import made_of
from every_reader import use_masks
from mutations import changed_bytes, fuzzed, new_folder, obeys_the_rule

pytestmark = pytest.mark.usefixtures("cache")

LIMIT = 20000  # pixels that a picture here claims at most, unless it claims far too many
SUFFIXES = {"JPEG": "jpg", "JPEG2000": "jp2"}


def encoded(form: str, mode: str, **options: object) -> bytes:
    """A picture of 24x16 pixels in a file."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture = picture.convert("L").convert("I;16") if mode == "I;16" else picture.convert(mode)
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def with_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "described"
    return exif


def with_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 3000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>')
    return info


PICTURES = {
    "jpg": encoded("JPEG", "RGB", exif=with_exif(6), dpi=(72, 72), icc_profile=b"icc" * 50),
    "progressive.jpg": encoded("JPEG", "L", progressive=True),
    "cmyk.jpg": encoded("JPEG", "CMYK"),
    "png": encoded("PNG", "RGBA", exif=with_exif(3), pnginfo=with_text()),
    "palette.png": encoded("PNG", "P", transparency=3, bits=8),
    "deep.png": encoded("PNG", "I;16"),
    "bits.png": encoded("PNG", "1"),
    "gif": encoded(
        "GIF", "P", save_all=True, append_images=[Image.new("P", (24, 16))], duration=10, comment=b"c" * 300
    ),
    "webp": encoded("WEBP", "RGBA", exif=with_exif(8), lossless=True),
    "bmp": encoded("BMP", "P"),
    "tiff": encoded("TIFF", "RGB", exif=with_exif(5), compression="tiff_lzw"),
    "jpeg.tiff": encoded("TIFF", "RGB", compression="jpeg"),
    "fax.tiff": encoded("TIFF", "1", compression="group4"),
    "flat.tiff": encoded("TIFF", "I;16"),
    "ppm": encoded("PPM", "RGB"),
    "plain.ppm": b"P3 2 2 255 " + b"1 2 3 " * 4,
    "pgm": encoded("PPM", "L"),
    "avif": encoded("AVIF", "RGB", exif=with_exif(6)),
    "jp2": encoded("JPEG2000", "RGB"),
}


def huge(width: int, height: int) -> dict[str, bytes]:
    """Files that claim such a size, of a few hundred bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 50_000_000, 9))
    jpeg = PICTURES["progressive.jpg"]
    frame = jpeg.index(b"\xff\xc2")
    shown = min(width, 65535), min(height, 65535)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(278, 4, 1, height), (279, 4, 1, 2**31 - 1)]
    entries = b"".join(struct.pack("<HHI", *tag[:3]) + struct.pack("<I", tag[3]) for tag in tags)
    gif = PICTURES["gif"]
    return {
        "png": b"\x89PNG\r\n\x1a\n" + head + data,
        "text.png": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 6, 0, 0, 0))
        + bomb * 3
        + data,
        "jpg": jpeg[: frame + 5] + struct.pack(">HH", shown[1], shown[0]) + jpeg[frame + 9 :],
        "gif": gif[:6] + struct.pack("<HH", *shown) + gif[10:],
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0),
        "rle.bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 8, 1, 0, 0, 0, 0, 0),
        "tiff": b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4,
        "ppm": f"P6 {width} {height} 255\n".encode(),
        "plain.pbm": f"P1 {width} {height}\n".encode(),
    }


def read_everywhere(content: bytes, suffix: str) -> None:
    """Every way in which the product reads the file of a picture."""
    with new_folder() as folder:
        path = folder / f"picture.{suffix.rpartition('.')[2]}"
        path.write_bytes(content)
        obeys_the_rule(lambda: is_picture(content))
        sizes = obeys_the_rule(lambda: image_sizes(path))
        predicted = obeys_the_rule(lambda: read_picture(path))
        trained = obeys_the_rule(lambda: read_image(path), UnreadableImage)
        if not isinstance(predicted, Exception):
            assert predicted.mode == "RGB"
            assert sizes is not None
            assert tuple(trained.shape) == (3, *predicted.size[::-1])
        obeys_the_rule(lambda: read_image(content, upright=False), UnreadableImage)
        obeys_the_rule(lambda: open_mask(path), ValueError)
        obeys_the_rule(lambda: made_of(Piece(path, "a.png", "a.jpg", mask=path), 8, 90), UnreadableImage)
        obeys_the_rule(lambda: check_readable([path, path]))


@pytest.mark.parametrize("suffix", PICTURES)
def test_pictures__that_this_file_damages_are_read(suffix):
    assert read_image(PICTURES[suffix]).shape[0] == 3


@fuzzed
@given(st.sampled_from(list(PICTURES)).flatmap(lambda name: st.tuples(changed_bytes(PICTURES[name]), st.just(name))))
def test_pictures(case):
    read_everywhere(*case)


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (0, 0)])
def test_pictures__that_claim_to_be_huge(size):
    for suffix, content in huge(*size).items():
        read_everywhere(content, suffix)


def sbd() -> bytes:
    """A mask as the files of SBD hold it."""
    file = io.BytesIO()
    savemat(file, {"GTcls": {"Segmentation": np.arange(24, dtype=np.uint8).reshape(4, 6) % 3}}, do_compression=True)
    flat = io.BytesIO()
    savemat(flat, {"GTcls": {"Segmentation": np.arange(24, dtype=np.uint8).reshape(4, 6) % 3}})
    return flat.getvalue() if len(flat.getvalue()) < len(file.getvalue()) else file.getvalue()


@fuzzed
@given(changed_bytes(sbd()))
def test_masks__of_sbd(content):
    with new_folder() as folder:
        (folder / "mask.mat").write_bytes(content)
        obeys_the_rule(lambda: open_mask(folder / "mask.mat"), ValueError)


MASKS = [encoded("PNG", "P"), encoded("PNG", "L"), encoded("PNG", "1"), encoded("PNG", "I;16")]


@fuzzed
@given(
    names=st.none() | changed_bytes(b"sky\nroad\ncar\n"),
    masks=st.lists(st.sampled_from(MASKS).flatmap(changed_bytes) | st.sampled_from(MASKS), min_size=4, max_size=4),
)
def test_masks__in_a_data_set(names, masks):
    with new_folder() as root:
        for number, content in enumerate(masks):
            split = "val" if number == 3 else "train"
            for kind, held in (("images", PICTURES["ppm"]), ("masks", content)):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
                (root / split / kind / f"{number}.{'ppm' if kind == 'images' else 'png'}").write_bytes(held)
        if names is not None:
            (root / "classes.txt").write_bytes(names)
        obeys_the_rule(lambda: use_masks(root))
