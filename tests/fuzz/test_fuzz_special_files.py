"""A folder, a pipe, a socket, a device or a link to nowhere in place of any file: it is never opened, nothing waits."""

import multiprocessing
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dotcom.annotations.images import read_picture
from dotcom.benchmark.targets import target
from dotcom.data.journal import Journal
from dotcom.data.verification import verify
from dotcom.inference.pictures import find_pictures
from dotcom.prepared import JOURNAL
from dotcom.safetensors import check_safetensors
from every_reader import read_boxes, use_class_folders, use_masks, use_prepared, use_voc_masks
from files import make_coco, make_masks, make_voc, make_yolo
from mutations import SECONDS, new_folder, obeys_the_rule

pytestmark = pytest.mark.usefixtures("cache")

NOBODY = 65534


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # its address has a hundred characters at most
        server.bind(path.name)
        os.chdir(here)


def unreadable(path: Path) -> None:
    path.write_bytes(b"secret")
    path.chmod(0)


INSTEAD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a device that waits": lambda path: path.symlink_to("/dev/ptmx"),
    "a link to its folder": lambda path: path.symlink_to("."),
    "a file that must not be read": unreadable,
    "a folder that must not be read": lambda path: path.mkdir(mode=0),
}


def predict(root: Path) -> None:
    for path in find_pictures([root]):
        obeys_the_rule(lambda path=path: read_picture(path))


def read_file(root: Path) -> None:
    obeys_the_rule(lambda: check_safetensors("weights", root / "a.safetensors"))
    obeys_the_rule(lambda: target(str(root / "net.onnx")))
    obeys_the_rule(lambda: Journal(root / JOURNAL, {"side": 1}))


READERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "coco": (lambda root: read_boxes("coco", root), ("train.json", "train/001.jpg", "val/002.jpg", "train")),
    "yolo": (
        lambda root: read_boxes("yolo", root),
        ("data.yaml", "train/images/train0.jpg", "valid/labels/val0.txt", "train/images", "train/labels"),
    ),
    "voc": (
        lambda root: read_boxes("voc", root),
        *(("VOC2007/ImageSets/Main/test.txt", "VOC2007/Annotations/000001.xml", "VOC2012/JPEGImages/2008_000032.jpg"),),
    ),
    "voc masks": (
        use_voc_masks,
        ("VOC2012/ImageSets/Segmentation/val.txt", "VOC2012/SegmentationClass/2009_000001.png"),
    ),
    "masks": (use_masks, ("train/images/0.jpg", "val/masks/0.png", "classes.txt", "train/masks")),
    "photos": (lambda root: use_class_folders(root, check=False), ("train/dark/0.jpg", "val/light/more", "train/dark")),
    "checked photos": (lambda root: use_class_folders(root, check=True), ("train/dark/0.jpg", "val/light/more.png")),
    "shards": (
        lambda root: [obeys_the_rule(lambda: use_prepared("labels", root)), obeys_the_rule(lambda: verify(root))],
        ("prepared.json", "train/shard-00000.bin", "prepared.sha256"),
    ),
    "pictures": (predict, ("train/dark/0.jpg", "train/dark")),
    "files": (read_file, ("a.safetensors", "net.onnx.json", JOURNAL)),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory, make_photos, shards) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("sources")
    photos = make_photos(parent)
    (parent / "files").mkdir()
    (parent / "files" / "net.onnx").write_bytes(b"onnx")
    voc, masks = make_voc(parent), make_masks(parent)
    made = {"coco": make_coco(parent), "yolo": make_yolo(parent), "voc": voc, "voc masks": voc, "masks": masks}
    return (
        made
        | dict.fromkeys(("photos", "checked photos", "pictures"), photos)
        | {
            "shards": shards["labels"],
            "files": parent / "files",
        }
    )


def apart(read: Callable[[], object]) -> int | None:
    """The exit status of a process that reads; None for one that does not come to an end."""

    def child() -> None:
        if os.getuid() == 0:
            os.seteuid(NOBODY)  # to root, every file is readable
        obeys_the_rule(read)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(SECONDS + 10)
    status = process.exitcode
    process.kill()
    process.join()
    return status


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("instead", INSTEAD)
def test_special_files__are_passed_over_or_refused(name, instead, sources):
    read, victims = READERS[name]
    for victim in victims:
        with new_folder() as folder:
            folder.chmod(0o755)
            root = folder / "data"
            shutil.copytree(sources[name], root)
            root.chmod(0o777)
            place = root / victim
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
            INSTEAD[instead](place)
            assert apart(lambda root=root: read(root)) == 0, victim
