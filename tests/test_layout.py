"""A folder of images that does not fit is answered with its path and the expected layout."""

import os
import shutil
import warnings

import pytest
from PIL import Image

from dotcom.annotations.folders import is_hidden
from dotcom.data.folders import image_folder
from dotcom.errors import UsageError
from dotcom.layout import ARCHIVES, EXPECTED, class_folders, labelled_files


def test_class_folders__are_the_sorted_names(photos):
    assert class_folders(str(photos)) == ["dark", "light"]


def test_class_folders__want_two_classes_or_more(photos):
    for split in ("train", "val"):
        shutil.rmtree(photos / split / "dark")
    with pytest.raises(UsageError, match="there is only the class light"):
        class_folders(str(photos))


def test_class_folders__accept_the_archives_of_imagenet(tmp_path):
    for name in ARCHIVES:
        (tmp_path / name).touch()
    assert len(class_folders(str(tmp_path))) == 1000


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: shutil.rmtree(root / "val"), "there is no folder val in it"),
        (lambda root: [shutil.rmtree(folder) for folder in (root / "train").iterdir()], "train holds no class folders"),
        (lambda root: [file.unlink() for file in (root / "val/dark").iterdir()], "val/dark holds no images"),
        (lambda root: shutil.rmtree(root / "val/dark"), "1 classes are in train but not in val: dark"),
        (lambda root: shutil.rmtree(root / "train/light"), "1 classes are in val but not in train: light"),
    ],
)
def test_class_folders__name_what_is_wrong(photos, damage, said):
    damage(photos)
    with pytest.raises(UsageError) as raised:
        class_folders(str(photos))
    assert str(raised.value).startswith(f"data.root={photos}: {said}")
    assert EXPECTED in str(raised.value)


def test_names__that_systems_leave_do_not_count():
    for name in (
        ".DS_Store",
        "._a.jpg",
        ".ipynb_checkpoints",
        "@eaDir",
        "__MACOSX",
        "Thumbs.db",
        "thumbs.db",
        "#recycle",
    ):
        assert is_hidden(name), name
    for name in ("$RECYCLE.BIN", "desktop.ini", "System Volume Information", "lost+found", "~$notes.docx", "Icon\r"):
        assert is_hidden(name), name
    for name in ("a.jpg", "recycle", "@home", "#1.jpg", "thumbs", "macosx", "~a.jpg"):
        assert not is_hidden(name), name


def litter(photos) -> None:
    """What a NAS, a Mac, Windows and Jupyter leave in the folders."""
    for split in ("train", "val"):
        (photos / split / "Thumbs.db").write_text("system")
        for folder in ("@eaDir", "__MACOSX", ".ipynb_checkpoints"):
            for place in (photos / split / folder, photos / split / "dark" / folder):
                place.mkdir()
                shutil.copy(photos / split / "dark/0.jpg", place / "0.jpg")
        (photos / split / "dark/._0.jpg").write_text("system")


def test_hidden_entries__are_passed_over_and_counted_in_one_line(photos):
    before = {split: labelled_files(photos, split) for split in ("train", "val")}
    litter(photos)
    assert class_folders(str(photos)) == ["dark", "light"]
    for split in ("train", "val"):
        with pytest.warns(UserWarning, match="hidden or system") as warned:
            assert labelled_files(photos, split) == before[split]
        (line,) = [str(warning.message) for warning in warned]
        assert line.startswith(f"data.root={photos}: {split}: 7 hidden or system entries are passed over: ")


def test_photos__of_every_format_are_found_in_the_order_of_their_names(photos):
    for number, kind in enumerate(("bmp", "tiff", "TIF", "avif", "webp", "JPEG", "gif", "ppm", "jp2")):
        Image.new("RGB", (40, 30)).save(photos / "train/dark" / f"9{number}.{kind}")
    (photos / "train/dark/sub").mkdir()
    Image.new("RGB", (40, 30)).save(photos / "train/dark/sub/0.png")
    dataset = image_folder("train", str(photos), lambda image: image)
    assert len(dataset) == 8 + 10
    assert [path.name for path in dataset.paths[:5]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "90.bmp"]
    assert dataset.paths[13].relative_to(photos).as_posix() == "train/dark/sub/0.png"
    assert all(dataset[index] is not None for index in range(len(dataset)))


def test_files__that_cannot_be_read_are_counted_by_extension(photos):
    for name in ("a.heic", "b.HEIC", "notes.txt", "README"):
        (photos / "train/dark" / name).write_text("no image")
    said = "4 files in class folders are left out, because they are no images that can be read: 2 .heic, 1"
    with pytest.warns(UserWarning, match=said):
        assert len(labelled_files(photos, "train")[0]) == 8
    for file in (photos / "train/dark").glob("*.jpg"):
        file.unlink()
    with pytest.raises(UsageError, match=r"train/dark holds no images but 2 \.heic, 1 "):
        class_folders(str(photos))


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_val__may_have_the_names_that_tools_give_it(photos, name):
    (photos / "val").rename(photos / name)
    assert class_folders(str(photos)) == ["dark", "light"]
    assert len(image_folder("val", str(photos), lambda image: image)) == 4


def test_links__to_folders_are_followed_once(photos, tmp_path):
    (tmp_path / "more").mkdir()
    shutil.copy(photos / "train/dark/0.jpg", tmp_path / "more/9.jpg")
    os.symlink(tmp_path / "more", photos / "train/dark/more")
    os.symlink(photos / "train/dark", tmp_path / "more/loop")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(labelled_files(photos, "train")[0]) == 9
