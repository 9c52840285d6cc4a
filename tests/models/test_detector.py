"""The detector keeps its promises: sizes, gradients, and torchvision's own losses and detections."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD

from dotcom.models import Detector, DoTCoM, TimmBackbone
from dotcom.models.detector import DetectionLoss
from dotcom.models.dotcom import VARIANTS

SIDE = 128
NO_BOXES = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
TWO_BOXES = {"boxes": torch.tensor([[10.0, 20.0, 60.0, 90.0], [50.0, 40.0, 120.0, 126.0]]), "labels": torch.arange(2)}


@pytest.fixture
def detector(backbone: DoTCoM) -> Detector:
    return Detector(backbone, num_classes=3)


def summed(network: Detector, images: Tensor, targets: list[dict[str, Tensor]]) -> Tensor:
    return torch.stack(list(network.losses(network(images), targets).values())).sum()


def test_extra_channels__say_how_many_maps_follow(backbone):
    few = Detector(backbone, num_classes=3, extra_channels=[256])
    outputs = few(torch.rand(2, 3, 96, 96))
    assert outputs["anchors"].shape == (6 * (6 * 6 + 3 * 3 + 2 * 2), 4)
    assert outputs["cls_logits"].shape == (2, len(outputs["anchors"]), 4)
    with pytest.raises(ValueError, match=r"extra_channels must be even numbers above 0, got \[0\]"):
        Detector(backbone, num_classes=3, extra_channels=[0])


def test_empty_images__teach_what_is_background(detector):
    """Torchvision takes three negatives per match, so none of an image without objects."""
    images = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    outputs = detector(images)
    outputs["cls_logits"].retain_grad()
    losses = detector.losses(outputs, [TWO_BOXES, NO_BOXES, NO_BOXES])
    losses["classification"].backward()
    pushed = (outputs["cls_logits"].grad.abs().sum(dim=-1) > 0).sum(dim=1)
    matches = int((detector._match(TWO_BOXES["boxes"], outputs["anchors"]) >= 0).sum())
    assert pushed.tolist() == [4 * matches, 3 * matches, 3 * matches]
    assert detector.losses(detector(images), [NO_BOXES] * 3)["classification"] > 0


class TorchvisionsBackbone(nn.Module):
    """The six maps of a detector, named as torchvision's SSD wants them."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.backbone, self.extra = detector.backbone, detector.extra

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = list(self.backbone(images)[-2:])
        for block in self.extra:
            maps.append(block(maps[-1]))
        return {str(number): feature for number, feature in enumerate(maps)}


def torchvisions(detector: Detector, num_classes: int) -> SSD:
    """The same weights in an SSD that torchvision runs from images to losses and detections."""
    return SSD(
        TorchvisionsBackbone(detector),
        detector.anchor_generator,
        size=(SIDE, SIDE),
        num_classes=num_classes + 1,
        image_mean=[0.0, 0.0, 0.0],
        image_std=[1.0, 1.0, 1.0],
        head=detector.head,
        score_thresh=0.001,
        nms_thresh=0.55,
        detections_per_img=100,
        topk_candidates=300,
    )


@pytest.mark.parametrize(
    ("variant", "num_classes", "params"),
    [("base", 80, 6_779_396), ("large", 80, 12_032_900), ("base", 90, 6_906_476), ("large", 90, 12_179_180)],
)
def test_params__stay_as_they_were_when_results_were_measured(variant, num_classes, params):
    with torch.device("meta"):
        model = Detector(DoTCoM.from_variant(variant), num_classes)
    assert sum(p.numel() for p in model.parameters()) == params


@pytest.mark.parametrize("loss", get_args(DetectionLoss))
@pytest.mark.parametrize("variant", VARIANTS)
def test_backward__reaches_every_parameter(variant, loss):
    model = Detector(DoTCoM.from_variant(variant), num_classes=3, loss=loss)
    summed(model, torch.rand(2, 3, SIDE, SIDE), [TWO_BOXES, NO_BOXES]).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["repvit_m1_0", "mobilenetv2_100", "mobilevit_xxs"])
def test_backward__reaches_every_parameter_of_a_peer(name):
    model = Detector(TimmBackbone(name), num_classes=3)
    summed(model, torch.rand(2, 3, 96, 96), [TWO_BOXES, NO_BOXES]).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("loss", get_args(DetectionLoss))
@pytest.mark.parametrize("targets", [[TWO_BOXES, TWO_BOXES], [NO_BOXES, NO_BOXES]], ids=["boxes", "no boxes"])
def test_losses__are_finite(backbone, loss, targets):
    model = Detector(backbone, num_classes=3, loss=loss)
    assert summed(model, torch.rand(2, 3, SIDE, SIDE), targets).isfinite()


def test_losses__are_those_of_torchvision(detector):
    targets = [TWO_BOXES, {name: value[:1] for name, value in TWO_BOXES.items()}]
    images = torch.rand(2, 3, SIDE, SIDE)
    ours = detector.losses(detector(images), targets)
    with_background = [target | {"labels": target["labels"] + 1} for target in targets]
    theirs = torchvisions(detector, 3).train()(images, with_background)
    torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_detections__are_those_of_torchvision(detector):
    for parameter in detector.head.classification_head.parameters():
        parameter.mul_(15)  # so that some scores are below the threshold
    images = torch.rand(2, 3, SIDE, SIDE)
    detector(images)  # batch norm sees some data
    outputs = detector.eval()(images)
    ours = detector.detect(outputs, (SIDE, SIDE))
    theirs = torchvisions(detector, 3).eval()(images)
    scores = outputs["cls_logits"].softmax(dim=-1)[..., 1:]
    assert (scores <= 0.001).any()
    assert ((scores > 0.001).sum(dim=1) > 300).any()
    for mine, other in zip(ours, theirs, strict=True):
        assert len(mine["boxes"]) == 100
        torch.testing.assert_close(mine, other | {"labels": other["labels"] - 1})


def made_outputs(logits: list[list[float]]) -> dict[str, Tensor]:
    """Three anchors far from each other, which the boxes equal."""
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0], [50.0, 50.0, 60.0, 60.0]])
    return {"bbox_regression": torch.zeros(1, 3, 4), "cls_logits": torch.tensor([logits]), "anchors": anchors}


def test_focal_loss__equals_a_sum_by_hand(backbone):
    logits = [[0.5, -1.0, 2.0], [0.0, 3.0, -0.5], [-2.0, 1.0, 0.3]]
    target = {"boxes": torch.tensor([[20.0, 20.0, 30.0, 30.0], [0.0, 0.0, 10.0, 10.0]]), "labels": torch.tensor([1, 0])}
    losses = Detector(backbone, num_classes=2, loss="focal").losses(made_outputs(logits), [target])
    expected = 0.0
    for anchor, row in enumerate(logits):
        for column, logit in enumerate(row):
            p = 1 / (1 + math.exp(-logit))
            is_object = (anchor, column) in {(1, 2), (0, 1)}  # column 0 is the background
            expected += -0.25 * (1 - p) ** 2 * math.log(p) if is_object else -0.75 * p**2 * math.log(1 - p)
    assert losses["classification"].item() == pytest.approx(expected / 2)
    assert losses["bbox_regression"].item() == pytest.approx(0, abs=1e-6)


def test_focal_detections__are_scored_by_a_sigmoid(backbone):
    outputs = made_outputs([[9.0, 2.0, -9.0], [0.0, -9.0, 1.0], [0.0, -9.0, -9.0]])
    (found,) = Detector(backbone, num_classes=2, loss="focal").detect(outputs, (64, 25))
    assert found["labels"].tolist() == [0, 1]
    assert found["scores"].tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))])
    assert found["boxes"].flatten().tolist() == pytest.approx([0, 0, 10, 10, 20, 20, 25, 30])  # clipped at the right


def test_anchors__are_pixels_of_images_of_any_shape(detector):
    anchors = detector.eval()(torch.rand(1, 3, 128, 64))["anchors"]
    first = anchors[(8 * 4 - 1) * 6]  # the last cell of the stride-16 map, the first of its six anchors
    width, height = (first[2:] - first[:2]).tolist()
    assert ((first[:2] + first[2:]) / 2).tolist() == pytest.approx([56, 120])
    assert (width, height) == pytest.approx((0.2 * 64, 0.2 * 128))


def test_autocast__leaves_anchors_and_losses_in_float32(detector):
    images = torch.rand(2, 3, 160, SIDE)  # ten cells, whose centres bfloat16 would round
    anchors = detector(images)["anchors"]
    with torch.autocast("cpu", torch.bfloat16):
        outputs = detector(images)
        losses = detector.losses(outputs, [TWO_BOXES, NO_BOXES])
        (found, _) = detector.eval().detect(outputs, (160, SIDE))
    assert outputs["cls_logits"].dtype == torch.bfloat16
    assert outputs["anchors"].dtype == torch.float32
    assert torch.equal(outputs["anchors"], anchors)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32


def test_loss__names_the_allowed_values(backbone):
    with pytest.raises(ValueError, match=r"loss must be one of .*focal.*, got 'hinge'"):
        Detector(backbone, num_classes=3, loss="hinge")


def test_backbone__without_the_maps_is_refused(backbone: DoTCoM):
    with pytest.raises(ValueError, match=r"maps at strides \(16, 32\), the backbone has \(4, 8, 16\)"):
        Detector(backbone.keep(3), num_classes=3)
