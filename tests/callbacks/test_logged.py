"""What is logged beside the metrics: gradient norms, histograms around Co-Bias, confusion matrices, and their names."""

import csv
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader

from dotcom import logged
from dotcom.callbacks import CoBiasHistograms, ConfusionMatrix, GradientNorms
from dotcom.callbacks.gradients import scale_of_gradients
from dotcom.callbacks.histograms import around_first, biases, log_histograms
from dotcom.config import register_resolvers
from dotcom.errors import CONF
from dotcom.models import Classifier, DoTCoM
from dotcom.models.dot import DoTBlock
from dotcom.optim import constant
from dotcom.tasks import Classification

FAKED = ["hydra.run.dir=.", "run_name=test", "output_dir=."]  # what only a run knows
CALLBACKS = (GradientNorms, CoBiasHistograms, ConfusionMatrix)


class Recorder:
    """Stands for a run of W&B: keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def last(self, name: str) -> Any:
        return next(row[name] for row in reversed(self.rows) if name in row)


def config_of(*overrides: str) -> dict[str, Any]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=[*FAKED, *overrides]), resolve=True)


def fit(
    tmp_path: Path, task: L.LightningModule, data: Any, loggers: Any, callbacks: Any = None, **settings: Any
) -> None:
    """Two steps, then one validation of two batches, unless told otherwise."""
    short = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 2, "num_sanity_val_steps": 1}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    callbacks = [callback() for callback in CALLBACKS] if callbacks is None else callbacks
    where = {"accelerator": "cpu", "default_root_dir": tmp_path, "logger": loggers, "callbacks": callbacks}
    sources = (data, data) if isinstance(data, DataLoader) else (data,)
    L.Trainer(**where | quiet | short | settings).fit(task, *sources)


@pytest.fixture
def task(classifier: Classifier) -> Classification:
    for name, parameter in classifier.named_parameters():
        if ".bias_in." in name or ".bias_out." in name:
            nn.init.normal_(parameter)
    return Classification(classifier, partial(torch.optim.AdamW, lr=1e-2), constant, num_classes=3)


@pytest.fixture
def batches() -> DataLoader:
    """Five batches of two noisy images, of three classes."""
    images = torch.rand(10, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return DataLoader(list(zip(images, torch.arange(10) % 3, strict=True)), batch_size=2)


class Watch(L.Callback):
    """Works the norms out by hand, in every step."""

    def __init__(self) -> None:
        self.norms: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        network = pl_module.model
        parts = {"stem": network.backbone.stem, "head": network.head}
        parts |= {f"stages.{index}": stage for index, stage in enumerate(network.backbone.stages)}
        flat = {name: torch.cat([p.grad.flatten() for p in part.parameters()]) for name, part in parts.items()}
        self.norms.append({f"grad_norm/{name}": float(gradient.double().norm()) for name, gradient in flat.items()})


def test_gradient_norms__stand_beside_the_loss_and_are_those_before_clipping(tmp_path, task, batches):
    watch, logger = Watch(), CSVLogger(tmp_path, name="", version="")
    callbacks, every = [GradientNorms(), watch], {"log_every_n_steps": 2, "limit_train_batches": 5}
    fit(tmp_path, task, batches, logger, callbacks, gradient_clip_val=0.01, **every)
    rows = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["train/loss"]]
    assert [row["step"] for row in rows] == ["1", "3"]
    for row, norms in zip(rows, (watch.norms[1], watch.norms[3]), strict=True):
        found = {name: float(value) for name, value in row.items() if name.startswith("grad_norm/")}
        assert found == pytest.approx(norms, rel=1e-5)
        assert min(found.values()) > 0.01


@pytest.mark.parametrize(("logging", "calls"), [(True, 2 * 6), (False, 0)])
def test_gradient_norms__are_computed_when_they_are_logged_and_never_else(
    tmp_path, task, batches, monkeypatch, logging, calls
):
    norms = []
    monkeypatch.setattr(
        "dotcom.callbacks.gradients.get_total_norm", lambda gradients: norms.append(1) or torch.ones(())
    )
    loggers = [CSVLogger(tmp_path)] if logging else False
    fit(tmp_path, task, batches, loggers, [GradientNorms()], log_every_n_steps=2, limit_train_batches=5)
    assert len(norms) == calls


def test_gradient_norms__are_of_the_true_gradients_where_float16_enlarges_them():
    scaler = SimpleNamespace(get_scale=lambda: 1024.0)
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    fused, plain = SimpleNamespace(_step_supports_amp_scaling=True), SimpleNamespace()
    assert scale_of_gradients(trainer, fused) == 1024
    assert scale_of_gradients(trainer, plain) == 1  # Lightning has taken it back
    assert scale_of_gradients(SimpleNamespace(precision_plugin=SimpleNamespace()), fused) == 1


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("backbone.stem.0.0.weight", "grad_norm/stem"),
        ("backbone.stages.1.0.2.bias_in.bias", "grad_norm/stages.1"),
        ("backbone.network.stages.1.weight", "grad_norm/backbone"),
        ("head.weight", "grad_norm/head"),
        ("extra.0.weight", "grad_norm/head"),
        ("classifier.stages.0.weight", "grad_norm/head"),
    ],
)
def test_gradient_norm__is_named_after_the_part(parameter, name):
    assert logged.gradient_norm(parameter) == name


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


def test_callbacks__change_neither_the_training_nor_the_random_numbers(tmp_path, config, batches):
    states, randoms = [], []
    for callbacks in ([], None):
        L.seed_everything(0, verbose=False)
        network = Classifier(DoTCoM(config), 3)
        learner = Classification(network, partial(torch.optim.AdamW, lr=1e-2), constant, num_classes=3)
        fit(tmp_path, learner, batches, WandbLogger(experiment=Recorder()), callbacks, max_epochs=2)
        states.append(network.state_dict())
        randoms.append((torch.rand(4), np.random.random()))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert torch.equal(randoms[0][0], randoms[1][0])
    assert randoms[0][1] == randoms[1][1]


SMALL = ["hardware=cpu", "data.batch_size=2"]
RUNS = {
    "all": ["co_bias=true"],
    "first": ["co_bias=first"],
    "second": ["co_bias=second"],
    "false": ["co_bias=false"],
    "peer": ["model=timm", "name=test_efficientnet"],
    "boxes": ["data=fashion_boxes", "co_bias=first"],
    "masks": ["data=fashion_masks", "data.val_batch_size=2"],
    "mobilevit": ["data=fashion_masks", "head=mobilevit", "co_bias=false", "data.val_batch_size=2"],
}


@pytest.mark.parametrize("run", RUNS)
def test_names__are_those_that_a_run_logs(tmp_path, run):
    config = config_of(*SMALL, *RUNS[run])
    recorder = Recorder()
    fit(tmp_path, instantiate(config["task"]), instantiate(config["data"]), WandbLogger(experiment=recorder))
    extra = {name for row in recorder.rows for name in row if name.startswith(("grad_norm", "co_bias", "activations"))}
    extra |= {logged.CONFUSION_TABLE for row in recorder.rows if logged.CONFUSION in row}
    assert extra == set(logged.names(config))
    steps = [row["trainer/global_step"] for row in recorder.rows]
    assert steps == sorted(steps)


def test_names__of_the_blocks_and_stages_are_those_of_the_network():
    with torch.device("meta"):
        backbone = DoTCoM.from_variant("tiny")
    assert tuple(name for name, block in backbone.named_modules() if isinstance(block, DoTBlock)) == logged.DOT_BLOCKS
    stages = dict.fromkeys(logged.gradient_norm(f"backbone.{name}") for name, _ in backbone.named_parameters())
    assert tuple(stages) == tuple(f"grad_norm/{stage}" for stage in logged.STAGES)


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


def test_run__leaves_these_names_in_the_file_of_wandb_and_in_metrics(train, photos, tmp_path):
    small = [
        "data=image_folder",
        "image_size=64",
        "data.batch_size=4",
        "hardware=cpu",
        "epochs=2",
        f"data.root={photos}",
    ]
    done = train(*small, "logger=wandb", WANDB_MODE="offline")
    (run,) = tmp_path.glob("runs/*/*/metrics.csv")
    (file,) = run.parent.glob("wandb/offline-run-*/run-*.wandb")
    (saved,) = [torch.load(path, weights_only=True)["config"] for path in run.parent.glob("best.ckpt")]
    content, names = file.read_bytes(), logged.names(saved)
    assert [name for name in names if name.encode() not in content] == []
    assert {name for name in names if name.startswith("grad_norm/")} <= set(next(csv.reader(run.open())))
    assert "grad_norm" not in done.stdout  # the line of an epoch stays short
