"""Training, prediction, the demo and ``prepare`` see the same pixels of a file, whatever its format and orientation."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dotcom.annotations.images import UnreadableImage, image_sizes, opened, read_picture
from dotcom.data import preflight
from dotcom.data.folders import image_folder
from dotcom.data.pieces import Piece
from dotcom.data.preflight import read_image
from dotcom.data.resized import made_of
from dotcom.errors import UsageError

WIDTH, HEIGHT = 48, 32
EXACT = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
LOSSY = {"JPEG": {"quality": 95, "subsampling": 0}}
FLAT = {"GIF": {}, "BMP": {}, "PPM": {}, "JPEG2000": {}}  # formats without an orientation
SUFFIXES = {"JPEG": "jpg", "JPEG2000": "jp2"}


def quarters() -> Image.Image:
    """Red, green over blue, yellow: each orientation shows another picture."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24], pixels[16:, 24:] = RED, GREEN, BLUE, YELLOW
    return Image.fromarray(pixels)


RED, GREEN, BLUE, YELLOW = (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)
STORED = {  # how a camera stores the upright picture, by the orientation that it writes
    1: lambda picture: picture,
    2: lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
    4: lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda picture: picture.transpose(Image.Transpose.TRANSPOSE),
    6: lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    7: lambda picture: picture.transpose(Image.Transpose.TRANSVERSE),
    8: lambda picture: picture.transpose(Image.Transpose.ROTATE_270),
}


def write(folder: Path, form: str, orientation: int) -> Path:
    path = folder / f"{form}{orientation}.{SUFFIXES.get(form, form.lower())}"
    path.parent.mkdir(parents=True, exist_ok=True)
    options = dict((EXACT | LOSSY | FLAT)[form])
    if orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    STORED[orientation](quarters()).save(path, form, **options)
    return path


def readers() -> dict:
    """Every way in which the product reads a file: (H, W, 3) uint8."""

    def without_torchcodec(path):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preflight, "decode_jpeg", None)
            return read_image(path).permute(1, 2, 0).numpy()

    def in_a_folder(path):
        for name in ("train/a/0", "train/b/0", "val/a/0", "val/b/0"):
            copy = (path.parent / f"of {path.name}" / name).with_suffix(path.suffix)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        return image_folder("train", str(path.parent / f"of {path.name}"), lambda image: image)[0][0].permute(1, 2, 0)

    def prepared(path):
        made = made_of(Piece(path, "0.png", "0.jpg"), side=1000, quality=90)  # kept as it is, and read again
        return read_image(made.image).permute(1, 2, 0).numpy()

    return {
        "predict": lambda path: np.asarray(read_picture(path)),
        "demo": lambda path: np.asarray(read_picture(path.read_bytes())),
        "train": lambda path: read_image(path).permute(1, 2, 0).numpy(),
        "train from a shard": lambda path: read_image(path.read_bytes()).permute(1, 2, 0).numpy(),
        "train without TorchCodec": without_torchcodec,
        "class folders": in_a_folder,
        "prepare": prepared,
    }


def test_torchcodec__is_what_the_tests_compare_with_pillow():
    assert preflight.decode_jpeg is not None


@pytest.mark.parametrize(
    ("form", "orientation"),
    [*((form, turn) for form in EXACT | LOSSY for turn in STORED), *((form, 1) for form in FLAT)],
)
def test_readers__see_the_same_upright_pixels(form, orientation, tmp_path):
    path = write(tmp_path, form, orientation)
    found = {name: np.asarray(reader(path)) for name, reader in readers().items()}
    for name, pixels in found.items():
        assert pixels.shape == (HEIGHT, WIDTH, 3), name
        np.testing.assert_array_equal(pixels, found["predict"], name)
    centres = [tuple(found["train"][row, column]) for row in (8, 24) for column in (12, 36)]
    assert np.abs(np.subtract(centres, (RED, GREEN, BLUE, YELLOW))).max() <= 12
    stored = STORED[orientation](quarters())
    assert image_sizes(path) == (stored.size, (WIDTH, HEIGHT))
    as_stored = read_image(path, upright=False).permute(1, 2, 0).numpy()
    assert np.abs(as_stored.astype(int) - np.asarray(stored)).max() <= 12


def test_readers__agree_on_frames_transparency_depth_and_palettes(tmp_path):
    picture, other = quarters(), Image.new("RGB", (WIDTH, HEIGHT), "white")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 256 + 99
    alpha = picture.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(tmp_path / "frames.gif", save_all=True, append_images=[other])
    picture.save(tmp_path / "frames.webp", save_all=True, append_images=[other], lossless=True)
    picture.save(tmp_path / "frames.png", save_all=True, append_images=[other])
    picture.save(tmp_path / "pages.tiff", save_all=True, append_images=[other])
    picture.save(tmp_path / "frames.avif", save_all=True, append_images=[other], quality=100, subsampling="4:4:4")
    alpha.save(tmp_path / "alpha.png")
    alpha.save(tmp_path / "alpha.webp", lossless=True, exact=True)
    alpha.save(tmp_path / "alpha.tiff")
    alpha.convert("LA").save(tmp_path / "grey_alpha.png")
    picture.quantize(4).save(tmp_path / "palette.png", transparency=0)
    picture.quantize(4).save(tmp_path / "palette.bmp")
    picture.quantize(4).save(tmp_path / "palette.gif", transparency=1)
    Image.fromarray(deep).save(tmp_path / "grey_deep.png")
    Image.fromarray(deep).save(tmp_path / "grey_deep.tiff")
    picture.convert("L").save(tmp_path / "grey.jpg")
    picture.convert("CMYK").save(tmp_path / "ink.jpg", quality=100)
    picture.convert("CMYK").save(tmp_path / "ink.tiff")
    picture.save(tmp_path / "progressive.jpg", progressive=True)
    picture.convert("L").point(lambda level: 255 * (level > 100)).convert("1").save(tmp_path / "bits_.png")
    grey = np.asarray(picture.convert("L"))[..., None].repeat(3, axis=2)
    for path in sorted(tmp_path.glob("*.*")):
        found = {name: np.asarray(reader(path)) for name, reader in readers().items()}
        for name, pixels in found.items():
            np.testing.assert_array_equal(pixels, found["predict"], f"{path.name}: {name}")
        if not path.stem.startswith("bits"):
            expected = grey if path.stem.startswith("grey") else np.asarray(picture)
            centres = np.ix_((8, 24), (12, 36))
            assert np.abs(found["train"][centres].astype(int) - expected[centres]).max() <= 12, path.name


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.avif", "a.tiff", "a.bmp", "a.gif", "a.jp2"])
def test_damage__is_answered_alike_by_all_readers(name, tmp_path):
    path = tmp_path / name
    quarters().save(path)
    content = path.read_bytes()
    for part in (content[: len(content) // 2], content[:20], b"", b"no picture"):
        path.write_bytes(part)
        said = set()
        for reader in (read_image, lambda path: read_image(path.read_bytes()), read_picture):
            with pytest.raises((UnreadableImage, UsageError)) as raised:
                reader(path)
            said.add(str(raised.value).removeprefix(f"{path}: "))
        assert len(said) == 1


def test_jpeg__without_its_last_bytes_is_read_or_refused_alike(tmp_path):
    path = tmp_path / "a.jpg"
    quarters().save(path)
    path.write_bytes(path.read_bytes()[:-2] + b"trailing bytes of a camera")
    np.testing.assert_array_equal(read_image(path).permute(1, 2, 0).numpy(), np.asarray(read_picture(path)))


def test_pipes_and_folders__are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "folder.jpg", "link.jpg"):
        with pytest.raises(UnreadableImage, match="a folder, a pipe or a device"):
            read_image(tmp_path / name)
        with pytest.raises(UsageError, match=rf"{name}: it is a folder, a pipe or a device"):
            read_picture(tmp_path / name)
        assert image_sizes(tmp_path / name) is None
    with pytest.raises(UnreadableImage, match="No such file"):
        read_image(tmp_path / "none.jpg")


def test_limit__holds_for_training_too():
    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG")
    with pytest.raises(UnreadableImage, match="13000x13000 pixels; expected at most 150 million"):
        read_image(file.getvalue())
    with pytest.raises(UnreadableImage, match="at most 1e-06 million"), opened(file.getvalue(), limit=1):
        pass


def test_tensor__is_writable_and_of_its_own():
    file = io.BytesIO()
    quarters().save(file, "PNG")
    first, second = read_image(file.getvalue()), read_image(file.getvalue())
    first += 1
    assert not torch.equal(first, second)
