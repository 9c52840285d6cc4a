"""A folder of images that does not fit is answered with its path and the expected layout."""

import shutil

import pytest

from dotcom.errors import UsageError
from dotcom.layout import ARCHIVES, EXPECTED, class_folders


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
