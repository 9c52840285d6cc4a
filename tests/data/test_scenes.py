"""A scene depends on its number alone, and its boxes and masks say exactly where its things are."""

import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision import tv_tensors

from dotcom.data import augment_boxes, augment_masks, fashion, fashion_boxes, fashion_masks, whole_masks
from dotcom.data.fashion_scenes import SIZES
from dotcom.data.scenes import OBJECTS, VISIBLE, Scene, SceneGenerator, cut_out

SCENES = range(40)
SPLITS = ("train", "val")


def unchanged(image, target):
    return image, target


def photos(split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    dataset = fashion(split, None)
    return dataset.images[:, 0].numpy(), np.array(dataset.labels)


def generator(seed=(0, 0)) -> SceneGenerator:
    return SceneGenerator(*photos(), seed=seed)


def content(scene: Scene) -> tuple[bytes, ...]:
    return tuple(array.tobytes() for array in (scene.image, scene.instances, scene.labels, scene.boxes))


def extent(there: np.ndarray) -> list[int]:
    y, x = np.nonzero(there)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_scene__is_the_same_whatever_was_made_before_it():
    one, other = generator(), generator()
    forwards = [content(one(index)) for index in range(6)]
    backwards = [content(other(index)) for index in (17, 5, 4, 3, 2, 1, 0, 5)]
    assert forwards == backwards[-2:0:-1]
    assert backwards[-1] == forwards[5]


def test_scene__differs_by_number_seed_and_split():
    seeds = ((0, 0), (1, 0), (0, 1))
    scenes = {content(generator(seed)(index)) for seed in seeds for index in range(3)}
    assert len(scenes) == 9


class Watched(SceneGenerator):
    """Keeps which photos were placed, and how large each was before others came to stand in front of it."""

    def _posed(self, photo, rng):
        self.photo = photo
        return super()._posed(photo, rng)

    def _place(self, instances, shape, areas, rng):
        place = super()._place(instances, shape, areas, rng)
        if place:
            self.placed.append((self.photo, int(shape.sum())))
        return place


def test_scenes__hold_one_to_five_things_that_can_be_seen():
    watched, counts = Watched(*photos(), seed=(0, 0)), set()
    for index in SCENES:
        watched.placed = []
        scene = watched(index)
        shown, whole = zip(*watched.placed, strict=True)
        assert scene.labels.tolist() == [watched.labels[photo] for photo in shown]
        visible = np.bincount(scene.instances.ravel(), minlength=len(whole) + 1)[1:]
        assert (visible >= VISIBLE * np.array(whole)).all(), index
        assert (visible <= whole).all()
        counts.add(len(whole))
    assert OBJECTS == (1, 5)
    assert counts <= {1, 2, 3, 4, 5}
    assert len(counts) >= 4


def test_place__refuses_what_would_hide_too_much():
    making, rng = generator(), np.random.default_rng(0)
    covered = np.ones((128, 128), np.uint8)  # one object, as large as the scene
    whole = [1, 128 * 128]
    assert making._place(covered, np.ones((120, 120), bool), whole, rng) is None
    assert making._place(np.zeros((128, 128), np.uint8), np.ones((20, 129), bool), [1], rng) is None
    y, x = making._place(covered, np.ones((60, 90), bool), whole, rng)
    assert (y.stop - y.start, x.stop - x.start) == (60, 90)
    assert min(y.start, x.start) >= 0
    assert max(y.stop, x.stop) <= 128


def test_boxes__are_tight_around_what_can_be_seen():
    making = generator()
    for index in SCENES:
        scene = making(index)
        instances = range(1, len(scene.labels) + 1)
        assert scene.boxes.tolist() == [extent(scene.instances == instance) for instance in instances], index
        assert set(np.unique(scene.instances)) <= {0, *instances}
        assert (scene.image.shape, scene.image.dtype, scene.boxes.dtype) == ((128, 128, 3), np.uint8, np.float32)


def test_classes__are_those_of_the_instances():
    making = generator()
    for index in SCENES:
        scene = making(index)
        assert scene.classes.dtype == np.uint8
        assert ((scene.classes == 0) == (scene.instances == 0)).all()
        for instance, label in enumerate(scene.labels, start=1):
            assert (scene.classes[scene.instances == instance] == label + 1).all()


def test_instances__lie_on_the_pixels_of_their_thing():
    white = np.zeros((1, 28, 28), np.uint8)
    white[:, 4:24, 8:20] = 255
    making, looked_at = SceneGenerator(white, np.array([0]), seed=(0, 0)), 0
    for index in range(10):
        scene = making(index)
        for instance in range(1, len(scene.labels) + 1):
            inside = ndimage.binary_erosion(scene.instances == instance, iterations=4)
            if inside.any():
                looked_at += 1
                assert np.ptp(scene.image[inside], axis=0).max() <= 1, "a white thing has one colour in the scene"
    assert looked_at > 10


def test_cut_out__fills_holes_and_drops_specks():
    photo = np.zeros((28, 28), np.uint8)
    photo[5:20, 5:20] = 200
    photo[10:12, 10:12] = 0
    photo[25, 25] = 90
    grey, alpha = (np.asarray(channel) for channel in cut_out(photo).split())
    assert (grey == photo).all()
    assert extent(alpha) == [5, 5, 20, 20]
    assert (alpha[5:20, 5:20] == 255).all()


def test_splits__share_no_photo():
    own = {split: {photo.tobytes() for photo in fashion_boxes(split, unchanged).generate.photos} for split in SPLITS}
    assert {split: len(some) for split, some in own.items()} == {"train": 6000, "val": 1000}
    assert not own["train"] & own["val"]
    one, other = (fashion_boxes(split, unchanged)[0][0] for split in SPLITS)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_and_masks__are_of_the_same_scenes(split):
    boxes, masks = fashion_boxes(split, unchanged), fashion_masks(split, unchanged)
    assert len(boxes) == len(masks) == {"train": 4000, "val": 500}[split]
    assert masks.classes == ["background", *boxes.classes]
    alone = 0
    for index in SCENES:
        (image, target), (same, mask) = boxes[index], masks[index]
        assert torch.equal(image, same)
        assert (image.shape, image.dtype, mask.shape, mask.dtype) == (
            (3, 128, 128),
            torch.uint8,
            (128, 128),
            torch.uint8,
        )
        labels = target["labels"].tolist()
        assert set(mask.unique().tolist()) == {0, *(label + 1 for label in labels)}
        for box, label in zip(target["boxes"].tolist(), labels, strict=True):
            if labels.count(label) == 1:
                alone += 1
                assert extent(mask.numpy() == label + 1) == box
    assert alone > 40


def test_val_samples__carry_what_the_evaluation_needs():
    boxes, masks = fashion_boxes("val", unchanged), fashion_masks("val", unchanged)
    for index in (0, 7):
        image, target = boxes[index]
        count = len(target["labels"])
        assert isinstance(image, tv_tensors.Image)
        assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
        assert type(target["original"]) is torch.Tensor
        assert target["original"].tolist() == target["boxes"].tolist()
        assert (target["image_id"], target["size"]) == (index, (128, 128))
        assert target["iscrowd"].tolist() == [0] * count
        assert target["area"].sum() == (masks[index][1] > 0).sum()
    assert set(fashion_boxes("train", unchanged)[0][1]) == {"boxes", "labels"}


@pytest.mark.parametrize(
    ("dataset", "transform"),
    [(fashion_boxes, augment_boxes(64)), (fashion_masks, augment_masks(64))],
    ids=["boxes", "masks"],
)
def test_augmentation__leaves_the_scenes_in_memory_as_they_are(dataset, transform):
    augmented, fresh = dataset("train", transform), dataset("train", unchanged)
    for _ in range(3):
        augmented[3]
    assert content(augmented.made[3]) == content(fresh.generate(3))
    assert not torch.equal(augmented[3][0], augmented[3][0])  # drawn anew each time


def test_set__ends(monkeypatch):
    monkeypatch.setitem(SIZES, "val", 3)
    assert len(list(fashion_masks("val", whole_masks()))) == 3


@pytest.mark.parametrize("dataset", [fashion_boxes, fashion_masks])
def test_set__travels_to_loader_processes(dataset):
    """On macOS and Windows these are started afresh, so the set is pickled."""
    image, _ = pickle.loads(pickle.dumps(dataset("val", whole_masks())))[3]
    assert torch.equal(image, dataset("val", whole_masks())[3][0])
