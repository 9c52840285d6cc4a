"""Masks are paired with their images, counted, and looked at; what does not fit is named in one line."""

import os
import shutil
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from dotcom.annotations import folders, masks
from dotcom.annotations.folders import spread
from dotcom.annotations.masks import class_names, mask_classes, open_mask, read_masks
from dotcom.data.masks import image_masks
from dotcom.errors import UsageError
from files import make_masks, save_mask, save_photo, stripes


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE", tmp_path / "cache")
    return make_masks(tmp_path)


def flat(parent, count):
    for number in range(count):
        save_photo(parent / "flat/images" / f"{number}.jpg", 90, 70)
        save_mask(parent / "flat/masks" / f"{number}.png", 90, 70, (0, 1, 2))
    return parent / "flat"


def test_splits__pair_images_with_masks_of_their_name(root):
    for split, count in (("train", 4), ("val", 2)):
        folder = root / split
        pairs = [(folder / "images" / f"{number}.jpg", folder / "masks" / f"{number}.png") for number in range(count)]
        assert read_masks(str(root), split) == pairs


def test_flat_folders__give_a_fixed_tenth_to_val_and_say_so(tmp_path):
    root = flat(tmp_path, 40)
    with pytest.warns(UserWarning, match=r"no folders train and val; \d of 40 images, chosen by a hash .*, are val"):
        train, val = (read_masks(str(root), split) for split in ("train", "val"))
    assert len(set(train) | set(val)) == len(train) + len(val) == 40
    assert 1 <= len(val) <= 10
    flat(tmp_path, 60)
    with pytest.warns(UserWarning, match="of 60 images"):
        assert set(val) <= set(read_masks(str(root), "val"))


def test_flat_folders__keep_one_image_for_each_split(tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 images"):
        assert [len(read_masks(str(flat(tmp_path, 2)), split)) for split in ("train", "val")] == [1, 1]
    with pytest.raises(UsageError, match="there is only one image; expected two or more"):
        read_masks(str(flat(tmp_path / "one", 1)), "train")


def test_classes__are_the_values_without_255(root):
    assert mask_classes(str(root)) == 3
    assert class_names(str(root)) == []


def test_classes__are_remembered_until_a_mask_changes(root, monkeypatch):
    assert mask_classes(str(root)) == 3
    mask_classes.cache_clear()  # as in the next process
    monkeypatch.setattr(masks, "_counts_of", None)  # would fail if it were asked again
    assert mask_classes(str(root)) == 3
    mask_classes.cache_clear()
    os.utime(root / "train/masks/0.png", (0, 0))
    with pytest.raises(TypeError):
        mask_classes(str(root))


def test_classes__are_named_by_a_file(root):
    (root / "classes.txt").write_text("sky\nroad\ntree\nhouse\n\n")
    assert mask_classes(str(root)) == 4
    assert class_names(str(root)) == ["sky", "road", "tree", "house"]
    with pytest.raises(UsageError, match=r"data\.num_classes=5: .*classes\.txt has 4 names; expected one per class"):
        mask_classes(str(root), 5)


def test_classes__may_be_more_than_the_values(root):
    assert mask_classes(str(root), 7) == 7


@pytest.mark.parametrize("number", [1, 256, "many", 2.5])
def test_num_classes__is_a_whole_number_in_range(root, number):
    with pytest.raises(UsageError, match=rf"data\.num_classes={number}: expected a whole number from 2 to 255"):
        mask_classes(str(root), number)


def test_spread__reaches_from_the_first_to_the_last():
    assert spread(range(1000), 3) == [0, 500, 999]
    assert spread([1, 2], 64) == [1, 2]
    assert len(set(spread(range(65)))) == 64


def test_images__are_compared_upright(root):
    picture = Image.new("RGB", (40, 20))
    orientation = picture.getexif()
    orientation[0x0112] = 6  # the camera was turned: rotate by 90 degrees
    picture.save(root / "train/images/0.jpg", exif=orientation)
    save_mask(root / "train/masks/0.png", 20, 40, (0, 1))
    assert mask_classes(str(root), 3) == 3


def refill(*values):
    """Every mask in these values alone."""

    def change(root) -> None:
        for path in root.glob("*/masks/*.png"):
            with Image.open(path) as mask:
                size = mask.size
            save_mask(path, *size, values)

    return change


@pytest.mark.parametrize(
    ("damage", "num_classes", "said"),
    [
        (shutil.rmtree, 3, "data.root=ROOT: no such folder; expected ROOT/train/images"),
        (lambda root: shutil.rmtree(root / "val"), 3, "data.root=ROOT: there is no folder val/images in it; expected"),
        (lambda root: shutil.rmtree(root / "val/masks"), 3, "data.root=ROOT: there is no folder val/masks in it"),
        (
            lambda root: [path.unlink() for path in root.glob("val/images/*")],
            3,
            "data.root=ROOT: val/images holds no images; expected",
        ),
        (
            lambda root: [path.unlink() for path in root.glob("train/masks/*")],
            3,
            "data.root=ROOT: 4 of 4 files in train/images have no mask: 0.jpg, 1.jpg, 2.jpg, ...",
        ),
        (
            lambda root: (root / "train/images/1.jpg").unlink(),
            3,
            "data.root=ROOT: 1 of 4 files in train/masks have no image: 1.png",
        ),
        (
            lambda root: None,
            2,
            "6 of 6 masks looked at do not fit: ROOT/train/masks/0.png holds the value 2, but there are 2 classes; "
            "ROOT/train/masks/1.png",
        ),
        (
            lambda root: save_mask(root / "val/masks/1.png", 40, 30, (0, 1)),
            3,
            "1 of 6 masks looked at do not fit: ROOT/val/masks/1.png is 40x30, its image 1.jpg is 70x105",
        ),
        (
            lambda root: Image.new("RGB", (95, 75)).save(root / "val/masks/0.png"),
            3,
            "ROOT/val/masks/0.png is a picture of mode RGB, so it may show colours instead of classes; expected",
        ),
        (
            lambda root: shutil.copy(root / "train/images/1.jpg", root / "train/images/1.jpeg"),
            3,
            "1 images differ from others in their extension only, but have one mask: 1.jpeg; expected",
        ),
        (
            lambda root: (root / "val/masks/0.png").write_text("no image"),
            3,
            "ROOT/val/masks/0.png cannot be read (no p",
        ),
        (
            refill(0, 255),
            2,
            "ROOT/train/masks/0.png and 5 others hold nothing but 0 and 255, where 255 means ignore; expected class",
        ),
        (refill(0, 255), None, "data.num_classes=1: expected a whole number from 2 to 255; expected class indices"),
    ],
)
def test_check__names_what_is_wrong(root, damage, num_classes, said):
    damage(root)
    with pytest.raises(UsageError) as raised:
        mask_classes(str(root), num_classes)
    assert said in str(raised.value).replace(str(root), "ROOT")


def test_unreadable_masks__are_named_when_classes_are_counted(root):
    (root / "train/masks/2.png").write_bytes((root / "train/masks/2.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"train/masks/2\.png cannot be read"):
        mask_classes(str(root))


def test_large_sets__show_a_progress_bar(root, monkeypatch, capsys):
    monkeypatch.setattr(folders, "SLOW", 6)
    mask_classes(str(root))
    assert "reading 6 masks" in capsys.readouterr().out


def indices(bits: int, form: str, path) -> np.ndarray:
    """A mask of 0, 1 (and 2) that is stored with so many bits for each pixel."""
    rows = np.tile(stripes(90, (0, 1) if bits == 1 else (0, 1, 2)), (70, 1))
    path = path.with_suffix(f".{form}")
    if bits == 16:
        Image.fromarray(rows.astype(np.uint16)).save(path)
    elif bits == 8 or form != "png":
        Image.fromarray(rows.astype(np.uint8)).save(path)
    else:
        path.write_bytes(grey_png(rows, bits))
    return rows


def grey_png(rows: np.ndarray, bits: int) -> bytes:
    """A grey PNG with ``bits`` for each pixel, as image editors and label tools write it."""
    height, width = rows.shape
    digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in packed)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("bits", "form"),
    [(1, "png"), (2, "png"), (4, "png"), (8, "png"), (16, "png"), (8, "tif"), (16, "tif"), (8, "bmp"), (8, "gif")],
)
def test_depths__give_the_indices_that_the_file_holds(bits, form, tmp_path):
    rows = indices(bits, form, tmp_path / "mask")
    mask = open_mask(tmp_path / f"mask.{form}")
    assert mask.mode in ("L", "P")
    np.testing.assert_array_equal(np.asarray(mask), rows)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes__give_their_indices_whatever_their_depth(bits, tmp_path):
    rows = np.tile(stripes(90, (0, 1) if bits == 1 else (0, 1, 2)), (70, 1))
    mask = Image.fromarray(rows.astype(np.uint8), mode="P")
    mask.putpalette([200, 9, 9, 9, 200, 9, 9, 9, 200])
    mask.save(tmp_path / "mask.png", bits=bits)
    np.testing.assert_array_equal(np.asarray(open_mask(tmp_path / "mask.png")), rows)


def test_masks__of_other_files_than_png_train_and_hidden_entries_are_passed_over(root):
    for path in root.glob("*/masks/*.png"):
        with Image.open(path) as mask:
            mask.save(path.with_suffix(".tif"))
        path.unlink()
    for name in (".DS_Store", "._0.jpg", "Thumbs.db"):
        (root / "train/images" / name).write_text("system")
        (root / "train/masks" / name).write_text("system")
    for folder in ("@eaDir", ".ipynb_checkpoints"):
        save_photo(root / "train/images" / folder / "0.jpg", 90, 70)
    (root / "val/images/notes.txt").write_text("left out")
    with pytest.warns(UserWarning, match="passed over|left out") as warned:
        assert mask_classes(str(root)) == 3
    said = [str(warning.message) for warning in warned]
    assert any("train/images and train/masks: 8 hidden or system entries are passed over" in line for line in said)
    assert any(
        "1 files in val/images and val/masks are left out, because they are no images or masks: 1 .txt" in line
        for line in said
    )
    assert [image.name for image, _ in read_masks(str(root), "train")] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_images_and_masks__may_have_the_splits_within(root):
    for split, name in (("train", "train"), ("val", "validation")):
        for kind in ("images", "masks"):
            (root / kind).mkdir(exist_ok=True)
            shutil.move(root / split / kind, root / kind / name)
        (root / split).rmdir()
    assert mask_classes(str(root)) == 3
    assert [len(read_masks(str(root), split)) for split in ("train", "val")] == [4, 2]


def test_masks__may_be_drawn_on_the_stored_picture_or_turned_with_it(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 70)).save(root / "train/images/0.jpg", exif=exif)  # the mask is 90x70 as well
    turned = Image.fromarray(np.tile(stripes(75, (0, 1, 2)), (100, 1)))
    turned.transpose(Image.Transpose.ROTATE_90).save(root / "train/masks/1.png", exif=exif)
    assert mask_classes(str(root)) == 3
    dataset = image_masks("train", str(root), lambda *pair: pair, 3)
    assert [tuple(part.shape[-2:]) for part in dataset[0]] == [(70, 90), (70, 90)]
    np.testing.assert_array_equal(dataset[1][1].numpy(), np.asarray(turned))


def gaps(*values):
    return lambda root: refill(*values)(root)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            gaps(0, 64, 128),
            "the masks hold the values 0 (33.7%), 64 (33.4%), 128 (32.9%), and none between; they look like 3 grey",
        ),
        (
            gaps(0, 127, 255),
            "they look like 2 grey levels, besides 255, which means ignore: write class indices (0, 1, 2 ...)",
        ),
        (gaps(0, 1, 2, 3, 5), "if 4 are classes that do not occur, add data.num_classes=6"),
        (gaps(1, 2), "if 0 are classes that do not occur, add data.num_classes=3"),
        (
            lambda root: (
                [refill_one(root, "train", number, (0, 255)) for number in range(3)] + [refill_val(root, (0, 1))]
            ),
            "hold nothing but 0 and 255, such as ROOT/train/masks/0.png, while others, such as ROOT/train/masks/3.png",
        ),
        (
            lambda root: refill_val(root, (255,)),
            "the 2 masks of val looked at hold nothing but 255, which means ignore",
        ),
        (
            lambda root: refill_one(root, "train", 0, (0, 300)),
            "ROOT/train/masks/0.png holds the value 300; expected class",
        ),
        (
            lambda root: shuffle_palettes(root),
            "0.png has 2 for the colour #ff0000, ROOT/train/masks/1.png has 1: each mask numbers its colours by itself",
        ),
        (lambda root: jpeg_in_disguise(root), "ROOT/train/masks/0.png is a JPEG, which changes the values of pixels"),
        (
            lambda root: masks_as_jpeg(root),
            "4 of 4 files in train/images have no mask: 0.jpg, 1.jpg, 2.jpg, ... (4 .jpg there",
        ),
        (
            lambda root: (root / "classes.txt").write_bytes("a\ncafé\nb".encode("latin-1")),
            "classes.txt: line 2 holds the byte 0xe9",
        ),
        (
            lambda root: (root / "classes.txt").write_bytes("a\nb\nc".encode("utf-16-le")),
            "it looks like UTF-16 without",
        ),
        (
            lambda root: (root / "classes.txt").write_text("a\n\nb\nc"),
            "classes.txt: line 2 is empty; expected the name of class 1",
        ),
        (lambda root: (root / "classes.txt").write_text("a\nb"), "holds the value 2, but there are 2 classes"),
    ],
)
def test_masks__whose_meaning_is_not_clear_are_refused_by_name(root, damage, said):
    damage(root)
    with pytest.raises(UsageError) as raised:
        mask_classes(str(root))
    assert said in str(raised.value).replace(str(root), "ROOT")
    assert "\n" not in str(raised.value)


def refill_one(root, split, number, values) -> None:
    path = root / split / "masks" / f"{number}.png"
    with Image.open(path) as mask:
        width, height = mask.size
    rows = np.tile(np.array(values)[np.arange(width) * len(values) // width], (height, 1))
    Image.fromarray(rows.astype(np.uint8 if max(values) < 256 else np.uint16)).save(path)


def refill_val(root, values) -> None:
    for number in range(2):
        refill_one(root, "val", number, values)
    refill_one(root, "train", 3, (0, 1))


def shuffle_palettes(root) -> None:
    """The same colours, numbered otherwise in each file, as each was quantized by itself."""
    colours = [[0, 0, 0], [255, 0, 0], [0, 255, 0]]
    for at, path in enumerate(sorted(root.glob("*/masks/*.png"))):
        with Image.open(path) as mask:
            rows = np.asarray(mask).copy()
        rows[rows == 255] = 0
        palette = Image.fromarray(rows, mode="P")
        palette.putpalette(
            [level for colour in (colours if at % 2 else [colours[0], *colours[:0:-1]]) for level in colour]
        )
        palette.save(path)


def test_palettes__that_differ_in_length_or_colour_alone_are_fine(root):
    for at, path in enumerate(sorted(root.glob("*/masks/*.png"))):
        with Image.open(path) as mask:
            rows = np.asarray(mask).copy()
        rows[rows == 255] = 0
        palette = Image.fromarray(rows, mode="P")
        palette.putpalette([[0, 0, 0, 255, 0, 0, 0, 255, 0], [0, 0, 0, 9, 9, 9, 8, 8, 8] + [7] * 300][at % 2])
        palette.save(path)
    assert mask_classes(str(root)) == 3


def jpeg_in_disguise(root) -> None:
    Image.new("L", (90, 70)).save(root / "train/masks/0.png", "JPEG")


def masks_as_jpeg(root) -> None:
    for path in (root / "train/masks").glob("*.png"):
        path.rename(path.with_suffix(".jpg"))


def test_few_binary_masks__are_named_and_255_means_ignore_where_it_stands_beside_classes(root, tmp_path):
    big = tmp_path / "big"
    for number in range(40):
        for split in ("train", "val"):
            save_photo(big / split / "images" / f"{number}.jpg", 30, 20)
            save_mask(big / split / "masks" / f"{number}.png", 30, 20, (0, 255) if number == 7 else (0, 1))
    with pytest.warns(UserWarning, match=r"2 of 80 masks looked at hold nothing but 0 and 255, .*; 255 means ignore"):
        assert mask_classes(str(big)) == 2
    save_mask(big / "train/masks/0.png", 30, 20, (0, 1, 255))
    mask_classes.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mask_classes(str(big)) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_class_names__understand_byte_order_marks_and_are_told_apart(root, encoding):
    (root / "classes.txt").write_text("Straße\r\ncat\ncat\n\n", encoding=encoding)
    assert class_names(str(root)) == ["Straße", "cat (1)", "cat (2)"]
    assert mask_classes(str(root)) == 3
