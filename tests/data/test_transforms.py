"""Whatever is done to an image is done to its boxes and masks alike, and nothing is made up on the way."""

import time

import pytest
import torch
from torchvision import tv_tensors

from dotcom.data import augment_boxes, augment_masks, resize_boxes, whole_masks
from dotcom.data.transforms import GREY, RandomScale

HEIGHT, WIDTH, SIDE = 90, 130, 96
BLUE, RED = (0, 0, 255), (255, 0, 0)
RED_BOX, BLUE_BOX = [20, 15, 55, 50], [70, 40, 120, 80]
SEEDS = range(40)


def painted() -> torch.Tensor:
    """A black image with a red and a blue rectangle."""
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    for (x1, y1, x2, y2), colour in ((RED_BOX, RED), (BLUE_BOX, BLUE)):
        image[:, y1:y2, x1:x2] = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    return image


def with_boxes(boxes=(RED_BOX, BLUE_BOX), labels=(3, 7)):
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    target = {"boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(HEIGHT, WIDTH))}
    return tv_tensors.Image(painted()), target | {"labels": torch.tensor(labels, dtype=torch.int64)}


def with_mask():
    """Class 1 where it is red, 2 where it is blue, and a row of 255 as annotators leave it."""
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    for value, (x1, y1, x2, y2) in ((1, RED_BOX), (2, BLUE_BOX)):
        mask[y1:y2, x1:x2] = value
    mask[0] = 255
    return tv_tensors.Image(painted()), tv_tensors.Mask(mask)


def coloured(image: torch.Tensor, colour: tuple[int, int, int]) -> torch.Tensor:
    """Where an image has nearly this colour, (H, W)."""
    return (image.float() - torch.tensor(colour)[:, None, None]).abs().amax(0) < 60


def extent(there: torch.Tensor) -> list[int]:
    """The box around what is there."""
    y, x = there.nonzero(as_tuple=True)
    return [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]


@pytest.mark.parametrize(
    "settings",
    [
        {"iou_crop": False, "zoom_out": 1.0},
        {"iou_crop": True, "zoom_out": 1.0},
        {"iou_crop": False, "zoom_out": 3.0},
        {"iou_crop": True, "zoom_out": 3.0},
    ],
    ids=["flip", "crop", "zoom", "both"],
)
def test_boxes__stay_around_what_they_were_around(settings):
    transform = augment_boxes(SIDE, photometric=False, **settings)
    images, mirrored, counts = [], set(), set()
    for seed in SEEDS:
        torch.manual_seed(seed)
        image, target = transform(*with_boxes())
        assert (image.shape, image.dtype) == ((3, SIDE, SIDE), torch.uint8)
        assert len(target["boxes"]) == len(target["labels"])
        assert type(target["boxes"]) is type(image) is torch.Tensor
        for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
            there = coloured(image, {3: RED, 7: BLUE}[label])
            if min(box[2] - box[0], box[3] - box[1]) > 6:  # else there is little but blurred edge
                assert extent(there) == pytest.approx(box, abs=2.5), seed
        if len(target["boxes"]) == 2:
            mirrored.add(bool(target["boxes"][0, 0] > target["boxes"][1, 0]))
        counts.add(len(target["boxes"]))
        images.append(image)
    assert mirrored == {False, True}
    assert counts == ({1, 2} if settings["iou_crop"] else {2})  # a crop keeps one at least
    assert len({image.numpy().tobytes() for image in images}) > (2 if settings["zoom_out"] > 1 else 1)


def test_boxes__at_the_edge_of_the_image_stay():
    transform = augment_boxes(SIDE, iou_crop=False, zoom_out=1.0, photometric=False)
    for height, width in ((43, 43), (61, 45), (37, 83)):  # 96 / 43 * 43 is 96.00001 in float32
        corners = torch.tensor([[0.0, 7.0, width, height]])
        boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(height, width))
        image = tv_tensors.Image(torch.zeros(3, height, width, dtype=torch.uint8))
        _, target = transform(image, {"boxes": boxes, "labels": torch.tensor([5])})
        assert target["labels"].tolist() == [5]
        assert target["boxes"].min() >= 0
        assert target["boxes"].max() <= SIDE


def test_boxes__without_area_go_and_take_their_labels_along():
    boxes = [[30, 30, 30, 60], RED_BOX, [10, 10, 10.2, 10.2], BLUE_BOX, [200, 10, 240, 20]]  # the last is outside
    transform = augment_boxes(SIDE, iou_crop=False, zoom_out=1.0, photometric=False)
    _, target = transform(*with_boxes(boxes, labels=(1, 3, 4, 7, 9)))
    assert target["labels"].tolist() == [3, 7]
    assert target["boxes"].shape == (2, 4)


def test_images_without_boxes__pass_every_augmentation_at_once():
    transform = augment_boxes(SIDE)
    started = time.process_time()
    for seed in SEEDS:
        torch.manual_seed(seed)
        image, target = transform(*with_boxes((), ()))
        assert image.shape == (3, SIDE, SIDE)
        assert (target["boxes"].shape, target["labels"].shape) == ((0, 4), (0,))
    assert (time.process_time() - started) / len(SEEDS) < 0.2  # a crop that overlaps an object is sought in vain


def test_zoom_out__surrounds_the_image_with_the_mean_colour():
    torch.manual_seed(0)
    transform = augment_boxes(SIDE, iou_crop=False, zoom_out=4.0, photometric=False)
    grey = [coloured(transform(*with_boxes())[0], GREY).float().mean().item() for _ in SEEDS]
    assert sum(share == 0 for share in grey) >= 10  # about half of the images are left as they are
    assert sum(share > 0.3 for share in grey) >= 10


def test_photometric__changes_colours_and_no_box():
    torch.manual_seed(1)
    calm, wild = (augment_boxes(SIDE, iou_crop=False, zoom_out=1.0, photometric=value) for value in (False, True))
    boxes = {extent(image.amax(0) > 60)[1] for image, _ in (calm(*with_boxes()) for _ in SEEDS)}
    assert boxes == {16}  # the upper edge of the red rectangle
    images = [wild(*with_boxes()) for _ in SEEDS]
    assert len({image.numpy().tobytes() for image, _ in images}) > 10
    assert {round(box[1]) for _, target in images for box in target["boxes"].tolist()} == {16, 43}


def test_resize_boxes__scales_every_box_and_drops_none():
    boxes = [RED_BOX, [5, 5, 5.1, 5.1], [30, 30, 30, 60]]
    image, target = resize_boxes(SIDE)(*with_boxes(boxes, labels=(3, 0, 1)))
    scale = torch.tensor([SIDE / WIDTH, SIDE / HEIGHT] * 2)
    torch.testing.assert_close(target["boxes"], torch.tensor(boxes, dtype=torch.float32) * scale)
    assert (image.shape, target["labels"].tolist()) == ((3, SIDE, SIDE), [3, 0, 1])
    assert extent(coloured(image, RED)) == pytest.approx(target["boxes"][0].tolist(), abs=1.5)


def test_masks__stay_on_what_they_were_on():
    transform = augment_masks(SIDE, photometric=False)
    shares, padded = [], 0
    for seed in SEEDS:
        torch.manual_seed(seed)
        image, mask = transform(*with_mask())
        assert (image.shape, mask.shape, mask.dtype) == ((3, SIDE, SIDE), (SIDE, SIDE), torch.uint8)
        assert set(mask.unique().tolist()) <= {0, 1, 2, 255}
        for value, colour in ((1, RED), (2, BLUE)):
            there = coloured(image, colour)
            assert (there != (mask == value)).float().mean() < 0.05, seed  # the blurred edges
            if there.sum() > 100:
                assert extent(there) == pytest.approx(extent(mask == value), abs=2), seed
        padded += bool((mask == 255).sum() > 500)
        shares.append((mask == 2).float().mean().item())
    assert max(shares) > 4 * min(shares)
    assert padded


@pytest.mark.parametrize("scale", [(0.5, 0.5), (0.3, 0.8)])
def test_padding__is_grey_and_ignored(scale):
    image, mask = with_mask()
    mask[0] = 0  # so that nothing but padding is ignored
    for seed in SEEDS:
        torch.manual_seed(seed)
        padded, ignored = augment_masks(SIDE, scale=scale, photometric=False)(image, mask)
        grey = (padded == torch.tensor(GREY)[:, None, None]).all(0)
        assert torch.equal(grey, ignored == 255), seed
        assert grey.any()


def test_photometric__leaves_the_values_of_a_mask_alone():
    torch.manual_seed(0)
    transform = augment_masks(SIDE, scale=(1.0, 1.0), photometric=True)
    values = {value for _ in SEEDS for value in transform(*with_mask())[1].unique().tolist()}
    assert values <= {0, 1, 2, 255}


def test_random_scale__keeps_the_sizes_of_image_and_mask_equal():
    image, mask = with_mask()
    for seed in SEEDS:
        torch.manual_seed(seed)
        scaled, values = RandomScale(0.012, 0.9)(image, mask)
        assert scaled.shape[-2:] == values.shape
        assert min(values.shape) >= 1


@pytest.mark.parametrize("scale", [(0.0, 1.0), (-1.0, 1.0), (2.0, 0.5)])
def test_random_scale__refuses_what_is_no_range(scale):
    with pytest.raises(ValueError, match="scale is a pair of factors above 0, the smaller one first, got"):
        RandomScale(*scale)


def test_whole_masks__changes_nothing():
    image, mask = with_mask()
    seen, values = whole_masks()(image, mask)
    assert type(seen) is type(values) is torch.Tensor
    assert torch.equal(seen, image)
    assert torch.equal(values, mask)
