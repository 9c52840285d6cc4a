"""Histograms around Co-Bias and confusion matrices show what is in the network, and cost nothing where unwanted."""

from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader

from dotcom import logged
from dotcom.callbacks import ConfusionMatrix
from dotcom.callbacks.histograms import around_first, biases, log_histograms
from dotcom.models import Classifier
from dotcom.models.dot import DoTBlock
from dotcom.optim import constant
from dotcom.tasks import Classification
from recorded import SMALL, Recorder, config_of, fit, learner, noise


@pytest.fixture
def task(classifier: Classifier) -> Classification:
    return learner(classifier)


@pytest.fixture
def batches() -> DataLoader:
    return noise()


def test_histograms__are_of_the_values_in_the_network(task, batches):
    backbone = task.model.backbone.eval()
    images, _ = next(iter(batches))
    watched: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    paths = {name: block for name, block in backbone.named_modules() if isinstance(block, DoTBlock)}
    for name, block in paths.items():
        block.bias_in.register_forward_hook(lambda _, given, out, name=name: watched.update({name: (given[0], out)}))
    backbone(images)
    expected = dict(watched)
    seen = around_first(backbone, images)
    assert set(seen) == {f"activations/{name}/{side}" for name in paths for side in ("before", "after")}
    for name, (before, after) in expected.items():
        assert torch.equal(seen[f"activations/{name}/before"], before)
        assert torch.equal(seen[f"activations/{name}/after"], after)
    held = biases(backbone)
    assert set(held) == {f"co_bias/{name}/{site}" for name in paths for site in ("bias_in", "bias_out")}
    for name, block in paths.items():
        assert torch.equal(held[f"co_bias/{name}/bias_out"], block.bias_out.bias)
        shift = seen[f"activations/{name}/after"] - seen[f"activations/{name}/before"]
        torch.testing.assert_close(held[f"co_bias/{name}/bias_in"], shift[0, :, 0, 0], atol=1e-5, rtol=0)


def test_histograms__take_images_of_any_size(task):
    assert len(around_first(task.model.backbone, torch.rand(1, 3, 50, 70))) == 6


def test_histograms__survive_what_is_not_finite():
    run = Recorder()
    values = {"some": torch.tensor([float("nan"), 1.0, float("inf"), 3.0]), "none": torch.full((3,), float("nan"))}
    log_histograms(WandbLogger(experiment=run), values | {"equal": torch.ones(5)}, step=3)
    (row,) = run.rows
    assert set(row) == {"some", "equal", "trainer/global_step"}
    assert sum(row["some"].histogram) == 2
    assert (row["some"].bins[0], row["some"].bins[-1]) == (1.0, 3.0)


def test_histograms__go_to_tensorboard_too(tmp_path, task, batches):
    fit(tmp_path, task, batches, TensorBoardLogger(tmp_path, name="", version="tb"))
    tags = EventAccumulator(str(tmp_path / "tb")).Reload().Tags()
    assert len([name for name in tags["histograms"] if name.startswith("co_bias/")]) == 6
    assert len([name for name in tags["histograms"] if name.startswith("activations/")]) == 6


def test_histograms__cost_nothing_where_no_logger_takes_them(tmp_path, task, batches, monkeypatch):
    monkeypatch.setattr("dotcom.callbacks.histograms.biases", lambda *_: pytest.fail("computed for nobody"))
    monkeypatch.setattr("dotcom.callbacks.confusion.multiclass_confusion_matrix", lambda *_: pytest.fail("counted"))
    fit(tmp_path, task, batches, CSVLogger(tmp_path))


class Fixed(nn.Module):
    """Says of each image the class that its first pixel holds."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(images[:, 0, 0, 0].long(), 3).float() + 0 * self.backbone.weight.sum()

    segment = forward


def cells(chart: Any) -> dict[tuple[str, str], int]:
    """Counts by true and predicted class."""
    return {(true, guess): count for true, guess, count in chart.table.data}


class Pairs(L.LightningDataModule):
    """True and predicted classes, as images."""

    num_classes = 3

    def __init__(self, pairs: list[tuple[int, int]], classes: list[str]) -> None:
        super().__init__()
        self.samples = [(torch.full((3, 32, 32), float(guess)), torch.tensor(true)) for true, guess in pairs]
        self.classes = classes

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.samples, batch_size=2)

    val_dataloader = train_dataloader


PAIRS = [(0, 0), (0, 1), (0, 1), (1, 1), (2, 0), (2, 2), (2, 2)]


def test_confusion__counts_true_by_predicted_in_every_epoch(tmp_path):
    task = Classification(Fixed(), partial(torch.optim.SGD, lr=0.1), constant, num_classes=3)
    recorder = Recorder()
    settings = {"limit_val_batches": 1.0, "max_epochs": 2}
    fit(
        tmp_path, task, Pairs(PAIRS, ["a", "b", "c"]), WandbLogger(experiment=recorder), [ConfusionMatrix()], **settings
    )
    charts = [row[logged.CONFUSION] for row in recorder.rows if logged.CONFUSION in row]
    assert len(charts) == 2  # and none of the sanity check
    for chart in charts:
        counted = {pair: count for pair, count in cells(chart).items() if count}
        assert counted == {("a", "a"): 1, ("a", "b"): 2, ("b", "b"): 1, ("c", "a"): 1, ("c", "c"): 2}
        assert chart.table.columns == ["Actual", "Predicted", "nPredictions"]


def test_confusion__of_a_segmentation_is_its_own(tmp_path):
    config = config_of(*SMALL, "data=fashion_masks", "data.val_batch_size=2")
    task, data, recorder = instantiate(config["task"]), instantiate(config["data"]), Recorder()

    class Keep(L.Callback):
        def on_validation_epoch_end(self, trainer, pl_module) -> None:
            self.counts = pl_module.counts["val"].confmat.clone()

    keep = Keep()
    fit(tmp_path, task, data, WandbLogger(experiment=recorder), [keep, ConfusionMatrix()], num_sanity_val_steps=0)
    counted = cells(recorder.last(logged.CONFUSION))
    assert [counted[true, guess] for true in data.classes for guess in data.classes] == keep.counts.flatten().tolist()
    assert sum(counted.values()) == 2 * 2 * 128 * 128
    assert recorder.last("val/pixel_accuracy") == pytest.approx(float(keep.counts.trace() / keep.counts.sum()))


def test_confusion__of_very_many_classes_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("dotcom.callbacks.confusion.MOST_CLASSES", 2)
    recorder = Recorder()
    task = Classification(Fixed(), partial(torch.optim.SGD, lr=0.1), constant, num_classes=3)
    fit(tmp_path, task, Pairs(PAIRS, ["a", "b", "c"]), WandbLogger(experiment=recorder), [ConfusionMatrix()])
    assert not any(logged.CONFUSION in row for row in recorder.rows)
