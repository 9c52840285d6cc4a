"""A student learns from a teacher, which stays as it is and is nowhere but in memory."""

import lightning as L
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from dotcom.errors import UsageError
from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD
from dotcom.models import Classifier, from_checkpoint, read_teacher
from dotcom.models.teacher import Teacher
from dotcom.optim import constant
from dotcom.tasks import Classification
from dotcom.tasks.distillation import Distillation, taught_by
from runs import ADAMW, trainer

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Logits that follow from the mean of each channel, so that a wrong normalisation shows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * self.norm(images).mean(dim=(2, 3))


class Photos(L.LightningDataModule):
    """Normalised random photos of three classes."""

    mean, std, classes = IMAGENET_MEAN, IMAGENET_STD, ["a", "b", "c"]

    def train_dataloader(self) -> DataLoader:
        images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        return DataLoader(list(zip(images, torch.arange(8) % 3, strict=True)), 4)


def begun(network: Teacher, **settings) -> Distillation:
    distillation = Distillation(network, **settings)
    distillation.begin(IMAGENET_MEAN, IMAGENET_STD, [], CPU)
    return distillation


def test_soft__is_the_divergence_at_a_temperature_beside_the_labels():
    torch.manual_seed(0)
    images, logits, own = torch.randn(5, 3, 32, 32), torch.randn(5, 3), torch.tensor(0.7)
    network = Teacher(Brightness())
    soft = begun(network, kind="soft", weight=0.3, temperature=2.0).loss(logits, images, own)
    p, q = ((x / 2).softmax(dim=1) for x in (network(images), logits))
    assert soft.item() == pytest.approx(0.7 * 0.7 + 0.3 * 4 * (p * (p / q).log()).sum(dim=1).mean().item(), rel=1e-5)


def test_soft__is_nothing_where_student_and_teacher_agree():
    images = torch.randn(4, 3, 32, 32)
    network = Teacher(Brightness())
    assert begun(network, weight=1.0).loss(network(images), images, torch.tensor(9.0)).item() == pytest.approx(
        0, abs=1e-6
    )


def test_hard__takes_the_first_choice_as_a_label():
    images, logits = torch.randn(5, 3, 32, 32), torch.randn(5, 3)
    network = Teacher(Brightness())
    hard = begun(network, kind="hard", weight=0.5).loss(logits, images, torch.tensor(1.0))
    assert hard.item() == pytest.approx(0.5 + 0.5 * F.cross_entropy(logits, network(images).argmax(1)).item(), rel=1e-5)


def test_teacher__sees_the_images_as_it_was_trained_to():
    photos = torch.rand(2, 3, 32, 32)
    network = Teacher(Brightness(), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    seen = []
    network.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    shape = (1, 3, 1, 1)
    images = (photos - torch.tensor(IMAGENET_MEAN).view(shape)) / torch.tensor(IMAGENET_STD).view(shape)
    begun(network).loss(torch.zeros(2, 3), images, torch.tensor(0.0))
    assert torch.allclose(seen[0], photos * 2 - 1, atol=1e-6)


def test_teacher_of_one_size__is_shown_images_of_that_size():
    network = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), size=(32, 32))
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_teacher__is_in_no_checkpoint_no_average_and_does_not_change(classifier, tmp_path):
    network = Teacher(Brightness())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learner = Classification(
        classifier, ADAMW, constant, num_classes=3, ema=0.9, teacher=taught_by(network, "soft", 0.5, 3.0)
    )
    run = trainer(tmp_path)
    run.fit(learner, datamodule=Photos())
    run.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert all(name.startswith(("model.", "ema.")) for name in saved["state_dict"])
    assert not [name for name in saved["state_dict"] if "teacher" in name]
    moved = [group["params"] for group in saved["optimizer_states"][0]["param_groups"]]
    assert sum(map(len, moved)) == len(list(classifier.parameters()))
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in network.parameters())


def test_student__comes_to_agree_with_its_teacher_more_than_without_one(backbone, tmp_path):
    """The teacher's answers differ from the labels, so only who listens to it can learn them."""
    torch.manual_seed(0)
    network = Teacher(Brightness())
    images = torch.cat([batch for batch, _ in Photos().train_dataloader()])
    agreement = []
    for teacher in (None, taught_by(network, "hard", 1.0, 3.0)):
        torch.manual_seed(0)
        learner = Classification(Classifier(backbone, 3), ADAMW, constant, num_classes=3, teacher=teacher)
        trainer(tmp_path, max_epochs=8).fit(learner, datamodule=Photos())
        with torch.no_grad():
            agreement.append(F.cross_entropy(learner.model.train()(images), network(images).argmax(1)).item())
    assert agreement[1] < agreement[0] / 2


def test_teacher_of_other_classes__is_refused_by_name():
    network = Teacher(Brightness(), classes=["a", "b", "c"])
    with pytest.raises(UsageError, match="teacher: its class 2 is 'c', that of these data is 'd'"):
        Distillation(network).begin(IMAGENET_MEAN, IMAGENET_STD, ["a", "b", "d"], CPU)
    Distillation(network).begin(IMAGENET_MEAN, IMAGENET_STD, ["a", "b", "c"], CPU)


def test_read_teacher__of_a_run_gives_what_the_run_learnt(checkpoints):
    path = checkpoints("classification")
    network = read_teacher(str(path), 2)
    assert network.classes == ["dark", "light"]
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(network(images), from_checkpoint(path)(images))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(ValueError, match=r"teacher=.*: it knows 2 classes, the data have 10; train one on these data"):
        read_teacher(str(path), 10)


def test_read_teacher__of_timm_has_its_classes_and_normalisation(monkeypatch):
    create, asked = timm.create_model, []

    def without_download(name: str, pretrained: bool = False, **options):
        asked.append(pretrained)
        return create(name, False, **options)

    monkeypatch.setattr(timm, "create_model", without_download)
    network = read_teacher("test_vit", 1000)
    published = timm.get_pretrained_cfg("test_vit")
    assert asked == [True]
    assert (network.mean, network.std) == (published.mean, published.std)
    assert network.size == published.input_size[1:]
    with pytest.raises(ValueError, match="teacher=test_vit: it knows 1000 classes, the data have 10; train one on"):
        read_teacher("test_vit", 10)


@pytest.mark.parametrize(
    ("source", "said"),
    [("resnet188", "teacher=resnet188: timm has no such model; did you mean"), ("resnet18.x", "did you mean resnet18")],
)
def test_read_teacher__refuses_a_name_that_timm_does_not_have(source, said):
    with pytest.raises(ValueError, match=said):
        read_teacher(source, 1000)


def test_no_teacher__is_none():
    assert taught_by(read_teacher(None, 10), "soft", 0.5, 3.0) is None
    with pytest.raises(ValueError, match="distill must be one of"):
        Distillation(Teacher(Brightness()), kind="warm")
