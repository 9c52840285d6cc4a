"""What the three tasks share works in each of them: the average, the rates, the checkpoint."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dotcom.data.batches import stack_readable
from dotcom.models import Classifier, Detector, DoTCoM, Segmenter
from dotcom.optim import constant, warmup_cosine
from dotcom.tasks import Classification, Detection, Segmentation
from dotcom.tasks.base import Task
from runs import ADAMW, trainer

BOXES = {"boxes": torch.tensor([[10.0, 10.0, 50.0, 50.0]]), "labels": torch.tensor([1])}
TARGETS = {"classification": torch.tensor(1), "detection": BOXES, "segmentation": torch.ones(64, 64, dtype=torch.uint8)}


@pytest.fixture(params=TARGETS)
def kind(request) -> str:
    return request.param


def task(kind: str, backbone: DoTCoM, schedule=constant, **settings) -> Task:
    if kind == "detection":
        return Detection(Detector(backbone, 3), ADAMW, schedule, **settings)
    if kind == "segmentation":
        return Segmentation(Segmenter(backbone, 3), ADAMW, schedule, num_classes=3, **settings)
    return Classification(Classifier(backbone, 3), ADAMW, schedule, num_classes=3, **settings)


def loader(kind: str) -> DataLoader:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return DataLoader([(image, TARGETS[kind]) for image in images], 2, collate_fn=stack_readable)


def weights(task: Task) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in task.model.named_parameters()}


def test_evaluated__is_the_network_and_its_average_if_there_is_one(kind, backbone):
    learner = task(kind, backbone)
    assert learner.evaluated == {"val": learner.model}
    learner = task(kind, backbone, ema=0.9)
    assert learner.evaluated == {"val": learner.model, "val_ema": learner.ema.module}
    assert not any(parameter.requires_grad for parameter in learner.ema.parameters())


def test_backbone_lr__is_a_fraction_of_the_rate_of_everything_else(kind, backbone, tmp_path):
    learner, run = task(kind, backbone, backbone_lr=0.1), trainer(tmp_path)
    before = weights(learner)
    run.fit(learner, loader(kind))
    head, slow = run.optimizers[0].param_groups
    assert (head["lr"], slow["lr"]) == pytest.approx((1e-2, 1e-3))
    assert set(slow["params"]) == set(learner.model.backbone.parameters())
    assert set(head["params"]) == set(learner.model.parameters()) - set(slow["params"])
    moved = {name: (value - before[name]).abs().max().item() for name, value in weights(learner).items()}
    fast_moves, slow_moves = (
        max(move for name, move in moved.items() if name.startswith("backbone.") == slow) for slow in (False, True)
    )
    assert 5e-3 < fast_moves < 2e-2  # the first step of Adam is as long as the rate
    assert 5e-4 < slow_moves < 2e-3


def test_backbone_lr__follows_the_schedule(kind, backbone, tmp_path):
    schedule = partial(warmup_cosine, warmup=0.0, floor=0.5)
    learner, run = task(kind, backbone, schedule, backbone_lr=0.1), trainer(tmp_path, max_epochs=3)
    run.fit(learner, loader(kind))
    assert [group["lr"] for group in run.optimizers[0].param_groups] == pytest.approx([5e-3, 5e-4])


def test_checkpoint__holds_plain_config_and_every_weight_under_its_name(kind, backbone, tmp_path):
    learner, run = task(kind, backbone, ema=0.9), trainer(tmp_path)
    learner.config = {"seed": 1}
    run.fit(learner, loader(kind))
    run.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["config"] == {"seed": 1}
    expected = learner.model.state_dict()
    assert all(torch.equal(saved["state_dict"][f"model.{name}"], value) for name, value in expected.items())
    average = learner.ema.module.state_dict()
    assert all(torch.equal(saved["state_dict"][f"ema.module.{name}"], value) for name, value in average.items())
