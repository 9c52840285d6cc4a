"""Gradient norms beside the metrics, and the names of all that is logged there."""

import csv
import subprocess
import sys
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from torch.utils.data import DataLoader

from dotcom import logged
from dotcom.callbacks import GradientNorms
from dotcom.callbacks.gradients import scale_of_gradients
from dotcom.models import Classifier, DoTCoM
from dotcom.models.dot import DoTBlock
from dotcom.tasks import Classification
from recorded import SMALL, Recorder, config_of, fit, learner, noise


@pytest.fixture
def task(classifier: Classifier) -> Classification:
    return learner(classifier)


@pytest.fixture
def batches() -> DataLoader:
    return noise()


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


def test_callbacks__change_neither_the_training_nor_the_random_numbers(tmp_path, config, batches):
    states, randoms = [], []
    for callbacks in ([], None):
        L.seed_everything(0, verbose=False)
        network = Classifier(DoTCoM(config), 3)
        fit(tmp_path, learner(network), batches, WandbLogger(experiment=Recorder()), callbacks, max_epochs=2)
        states.append(network.state_dict())
        randoms.append((torch.rand(4), np.random.random()))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert torch.equal(randoms[0][0], randoms[1][0])
    assert randoms[0][1] == randoms[1][1]


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


def test_names__are_known_without_torch():
    code = "import sys, dotcom.logged; print([m for m in ('torch', 'lightning', 'wandb', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
