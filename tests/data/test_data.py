"""Every source of images gives uint8 samples, normalised batches, and names what it cannot read."""

import hashlib
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from dotcom.annotations import folders
from dotcom.data import (
    DataModule,
    cifar10,
    cifar100,
    crop_and_flip,
    fashion,
    fashion_mnist,
    image_folder,
    imagenet,
    preflight,
    resize_and_crop,
)
from dotcom.data.preflight import check_readable
from runs import trainer

TRAIN, VAL = crop_and_flip(64), resize_and_crop(64, 72)


def module(dataset, **changes) -> DataModule:
    settings = {"num_classes": 2, "batch_size": 4, "num_workers": 0, "train_transform": TRAIN, "val_transform": VAL}
    return DataModule(dataset, **settings | changes)


def batches(data: DataModule, split: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    data.setup("fit")
    loader = data.train_dataloader() if split == "train" else data.val_dataloader()
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


@pytest.mark.parametrize(("split", "size"), [("train", 6000), ("val", 1000)])
def test_fashion__is_balanced_and_real(split, size):
    dataset = fashion(split, VAL)
    assert len(dataset) == size
    assert torch.bincount(torch.tensor(dataset.labels)).tolist() == [size // 10] * 10
    image, label = dataset[0]
    assert image.shape == (3, 64, 64)
    assert image.dtype == torch.uint8
    assert torch.equal(image[0], image[2])
    assert dataset.classes[label]


def test_fashion__has_no_photo_in_both_splits():
    photos = {split: {image.numpy().tobytes() for image in fashion(split, VAL).images} for split in ("train", "val")}
    assert not photos["train"] & photos["val"]


def test_folder__gives_classes_and_normalised_batches(photos):
    data = module(image_folder, root=str(photos))
    (images, labels), *_ = batches(data, "val")
    assert data.classes == ["dark", "light"]
    assert images.shape == (4, 3, 64, 64)
    assert images.dtype == torch.float32
    levels = images.mean(dim=(1, 2, 3))  # brightness 40 and 200 of 255, minus the mean, over the deviation
    assert levels[labels == 0].tolist() == pytest.approx([(40 / 255 - 0.449) / 0.226] * 2, abs=0.05)
    assert levels[labels == 1].tolist() == pytest.approx([(200 / 255 - 0.449) / 0.226] * 2, abs=0.05)


def test_read_image__turns_photos_upright(tmp_path):
    picture = Image.new("RGB", (40, 20))
    orientation = picture.getexif()
    orientation[0x0112] = 6  # the camera was turned: rotate by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=orientation)
    assert preflight.read_image(tmp_path / "turned.jpg").shape == (3, 40, 20)


def test_imagenet__unpacks_the_published_archives(tmp_path, monkeypatch):
    make_archives(tmp_path, monkeypatch)
    train, val = imagenet("train", str(tmp_path), VAL), imagenet("val", str(tmp_path), VAL)
    assert train.classes == val.classes == ["n01", "n02"]
    assert (len(train), len(val)) == (2, 2)
    assert sorted(label for _, label in val) == [0, 1]


@pytest.mark.parametrize("published", [cifar10, cifar100, fashion_mnist])
def test_published_sets__are_read_from_root(published, tmp_path, monkeypatch):
    make_published(tmp_path, monkeypatch)
    dataset = published("val", str(tmp_path), VAL)
    image, label = dataset[0]
    assert image.shape == (3, 64, 64)
    assert image.dtype == torch.uint8
    assert 0 <= label < len(dataset.classes)


def test_published_sets__name_the_root_when_there_is_nothing_and_no_network(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(FileNotFoundError, match=r"data\.root=.* holds no CIFAR10, and it could not be downloaded"):
        cifar10("val", str(tmp_path), VAL)


def test_truncated_and_foreign_files__are_skipped_counted_and_named(photos):
    broken = [photos / "train/dark/0.jpg", photos / "train/light/1.jpg"]
    broken[0].write_bytes(broken[0].read_bytes()[:200])
    broken[1].write_text("no image")
    data = module(image_folder, root=str(photos), batch_size=8)
    with pytest.warns(UserWarning, match="skipped unreadable image") as warned:
        ((images, labels),) = batches(data, "train")
    assert len(images) == len(labels) == 6
    assert all(any(str(path) in str(warning.message) for warning in warned) for path in broken)
    with pytest.warns(UserWarning, match="2 of 8 train images were skipped as unreadable: .*0.jpg.*1.jpg"):
        data.teardown("fit")


def test_skipped_files__are_counted_across_loader_processes(photos):
    (photos / "train/dark/0.jpg").write_text("no image")
    data = module(image_folder, root=str(photos), batch_size=4, num_workers=2)
    assert sum(len(images) for images, _ in batches(data, "train")) == 7
    assert data.datasets["train"].skipped == [photos / "train/dark/0.jpg"]


def test_batches__without_a_readable_image_are_passed_over(photos):
    for path in (photos / "val/dark/0.jpg", photos / "val/light/1.jpg"):
        path.write_text("no image")
    data = module(image_folder, root=str(photos), batch_size=1)
    with pytest.warns(UserWarning, match="skipped"):
        assert [labels.tolist() for _, labels in batches(data, "val")] == [[0], [1]]


def test_check__names_every_broken_file_before_training(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE", tmp_path / "cache")
    broken = photos / "train/dark/0.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"data.check: 1 of 12 images cannot be read: .*train/dark/0\.jpg"):
        module(image_folder, root=str(photos), check=True).prepare_data()


@pytest.mark.parametrize(
    ("mode", "name", "colour"),
    [
        ("L", "grey.jpg", 100),
        ("CMYK", "print.jpg", (155, 155, 155, 0)),
        ("P", "palette.png", 0),
        ("RGBA", "alpha.png", (100, 100, 100, 255)),
        ("I;16", "deep.png", 100 * 257),
        ("P", "animation.gif", 0),
        ("RGB", "photo.webp", (100, 100, 100)),
    ],
)
def test_read_image__gives_rgb_bytes_whatever_the_file(tmp_path, mode, name, colour):
    picture = Image.new(mode, (40, 30), colour)
    if mode == "P":
        picture.putpalette([100, 100, 100] * 256)
    picture.save(tmp_path / name)
    image = preflight.read_image(tmp_path / name)
    assert image.shape == (3, 30, 40)
    assert image.dtype == torch.uint8
    assert (image.float() - 100).abs().max() <= 2


def test_check__remembers_what_passed_until_a_file_changes(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE", tmp_path / "cache")
    paths = sorted(photos.glob("train/*/*.jpg"))
    check_readable(paths)
    monkeypatch.setattr(preflight, "read_image", None)  # would fail if it were asked again
    check_readable(paths)
    os.utime(paths[0], (0, 0))
    with pytest.raises(TypeError):
        check_readable(paths)


@pytest.mark.parametrize("repeats", [1, 2])
def test_train_order__depends_on_seed_and_epoch_alone(photos, repeats):
    pytest.importorskip("timm")

    def order(seed: int, epoch: int) -> list[int]:
        data = module(image_folder, root=str(photos), seed=seed, repeats=repeats)
        data.setup("fit")
        torch.rand(5)
        sampler = data.train_dataloader().sampler
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(*pair)) for pair in ((0, 0), (0, 1), (1, 0))}) == 3


def test_validation__meets_every_image_once_whatever_the_number_of_processes(photos):
    from dotcom.data.order import Share

    assert sorted(index for rank in range(3) for index in Share(10, rank, 3)) == list(range(10))


@pytest.mark.parametrize("auto_augment", ["rand", "trivial"])
def test_augmentation__keeps_size_and_type(auto_augment):
    transform = crop_and_flip(64, auto_augment=auto_augment, random_erasing=1.0)
    image = transform(torch.randint(0, 256, (3, 80, 100), dtype=torch.uint8))
    assert image.shape == (3, 64, 64)
    assert image.dtype == torch.uint8


def test_augmentation__names_the_allowed_kinds():
    with pytest.raises(ValueError, match=r"auto_augment must be one of .*trivial.*, got 'auto'"):
        crop_and_flip(64, auto_augment="auto")


@pytest.mark.parametrize("blend", ["mixup", "cutmix"])
def test_blending__gives_soft_labels_in_training_only(photos, tmp_path, blend):
    data = module(image_folder, root=str(photos), **{blend: 1.0})
    data.trainer = trainer(tmp_path)
    data.trainer.training = True
    _, labels = batches(data, "train")[0]
    assert labels.shape == (4, 2)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(4))
    data.trainer.training = False
    assert batches(data, "val")[0][1].shape == (4,)


def test_repeats__show_each_chosen_image_several_times(photos):
    pytest.importorskip("timm")
    data = module(image_folder, root=str(photos), repeats=3)
    data.setup("fit")
    counts = np.bincount([index for index, _ in data.train_dataloader().sampler], minlength=8)
    assert counts.sum() == 8
    assert sorted(set(counts.tolist()) - {0, 2}) == [3]


def make_published(root: Path, monkeypatch) -> None:
    """CIFAR-10, CIFAR-100 and Fashion-MNIST with two images each, in the published file formats."""
    rows = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    entry = {"data": rows, "labels": [0, 1], "fine_labels": [0, 1]}
    names = {"label_names": ["a", "b"], "fine_label_names": ["a", "b"]}
    for cls, files in ((datasets.CIFAR10, ["data_batch_1", "test_batch"]), (datasets.CIFAR100, ["train", "test"])):
        folder = root / cls.base_folder
        folder.mkdir()
        for name in files:
            (folder / name).write_bytes(pickle.dumps(entry))
        (folder / cls.meta["filename"]).write_bytes(pickle.dumps(names))
        monkeypatch.setattr(cls, "train_list", [[files[0], None]])
        monkeypatch.setattr(cls, "test_list", [[files[1], None]])
        monkeypatch.setattr(cls, "meta", cls.meta | {"md5": None})
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train", "t10k"):
        images = np.array([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28], np.uint8).tobytes() + bytes(2 * 784)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 4]))


def make_archives(root: Path, monkeypatch) -> None:
    """The three ImageNet archives with two classes of one image each, and their checksums."""
    from scipy.io import savemat

    work = root / "work"
    kit = work / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(number, f"n0{number}", f"word {number}", "", 0) for number in (1, 2)]
    savemat(kit / "meta.mat", {"synsets": np.array(rows, dtype=fields)})
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n")
    photo = work / "photo.JPEG"
    Image.new("RGB", (80, 80)).save(photo)
    for name in ("n01", "n02"):
        with tarfile.open(work / f"{name}.tar", "w") as archive:
            archive.add(photo, f"{name}_1.JPEG")
    contents = {
        "ILSVRC2012_img_train.tar": [(work / f"{name}.tar", f"{name}.tar") for name in ("n01", "n02")],
        "ILSVRC2012_img_val.tar": [(photo, f"ILSVRC2012_val_0000000{number}.JPEG") for number in (1, 2)],
        "ILSVRC2012_devkit_t12.tar.gz": [(kit.parent, kit.parent.name)],
    }
    for name, files in contents.items():
        with tarfile.open(root / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for path, inside in files:
                archive.add(path, inside)
    sums = {
        split: (name, hashlib.md5((root / name).read_bytes()).hexdigest())
        for split, name in zip(("train", "val", "devkit"), contents, strict=True)
    }
    monkeypatch.setattr("torchvision.datasets.imagenet.ARCHIVE_META", sums)
