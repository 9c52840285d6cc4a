"""Classification learns, measures what it says, and averages its weights."""

from functools import partial

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dotcom.models import Classifier
from dotcom.optim import constant, warmup_cosine
from dotcom.tasks import Classification
from dotcom.tasks.base import Average

ADAMW = partial(torch.optim.AdamW, lr=3e-3)


class Fixed(nn.Module):
    """Gives the logits it was given, whatever the images."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(images)]


def task(model: nn.Module, num_classes: int = 3, **settings) -> Classification:
    return Classification(model, ADAMW, constant, num_classes=num_classes, **settings)


def trainer(tmp_path, **settings) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings = {"enable_checkpointing": False, "max_epochs": 1, "num_sanity_val_steps": 0} | settings
    return L.Trainer(accelerator="cpu", default_root_dir=tmp_path, **quiet | settings)


def loader(size: int = 4, batch_size: int = 4) -> DataLoader:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(size) % 3
    images = torch.rand(size, 3, 32, 32, generator=rng) + labels[:, None, None, None]
    return DataLoader(list(zip(images, labels, strict=True)), batch_size)


def test_training__learns_a_batch_by_heart(classifier: Classifier, tmp_path):
    losses = []
    for epochs in (1, 25):
        run = trainer(tmp_path, max_epochs=epochs)
        run.fit(task(classifier), loader())
        losses.append(run.callback_metrics["train/loss"].item())
    assert losses[1] < losses[0] / 4


def test_metrics__equal_those_worked_out_by_hand(tmp_path):
    logits = [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [9.0, 1.0, 2.0, 3.0, 4.0, 5.0], [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]]
    labels = torch.tensor([0, 1, 0])  # sixth, sixth and first place: a top-1 and a top-5 of 1/3
    batches = DataLoader(list(zip(torch.rand(3, 3, 32, 32), labels, strict=True)), batch_size=3)
    (scores,) = trainer(tmp_path).validate(task(Fixed(logits), num_classes=6), batches, verbose=False)
    expected = nn.functional.cross_entropy(torch.tensor(logits), labels).item()
    assert scores["val/top1"] == pytest.approx(1 / 3)
    assert scores["val/top5"] == pytest.approx(1 / 3)
    assert scores["val/loss"] == pytest.approx(expected)


def test_metrics__weigh_a_smaller_last_batch_by_its_size(classifier, tmp_path):
    whole, parts = (trainer(tmp_path).validate(task(classifier), loader(5, size), verbose=False)[0] for size in (5, 3))
    assert parts == pytest.approx(whole, rel=1e-5)


def test_label_smoothing__is_of_the_training_loss_only(classifier, tmp_path):
    plain, smooth = (
        trainer(tmp_path).validate(task(classifier, label_smoothing=value), loader(), verbose=False)[0]
        for value in (0.0, 0.5)
    )
    assert plain == smooth
    logits, labels = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    assert task(classifier, label_smoothing=0.5).loss(logits, labels) > task(classifier).loss(logits, labels)


def test_soft_labels__are_trained_on(classifier, tmp_path):
    blended = DataLoader(list(zip(torch.rand(4, 3, 32, 32), torch.full((4, 3), 1 / 3), strict=True)), 4)
    run = trainer(tmp_path)
    run.fit(task(classifier), blended)
    assert run.callback_metrics["train/loss"].isfinite()


@pytest.mark.parametrize("accumulate", [1, 3])
def test_schedule__ends_with_the_last_optimiser_step(classifier, tmp_path, accumulate):
    learner = Classification(classifier, ADAMW, partial(warmup_cosine, warmup=0.0, floor=0.25), num_classes=3)
    run = trainer(tmp_path, max_epochs=2, accumulate_grad_batches=accumulate)
    run.fit(learner, loader(12, 2))
    assert run.global_step == 12 // accumulate
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(3e-3 / 4)


def test_average__warms_up_then_decays_and_copies_counters():
    average, value = torch.zeros(2), torch.ones(2)
    counter, steps = torch.tensor(1), torch.tensor(8)
    Average(0.9)([average], [value], 0)
    assert average.tolist() == pytest.approx([0.9, 0.9])  # decay (1 + 0) / (10 + 0)
    Average(0.9)([average], [value * 2], 1000)
    assert average.tolist() == pytest.approx([0.9 * 0.9 + 0.1 * 2] * 2)
    Average(0.9)([counter], [steps], 5)
    assert counter.item() == 8


def test_ema__is_measured_beside_the_network(classifier, tmp_path):
    learner = task(classifier, ema=0.5)
    run = trainer(tmp_path, max_epochs=3)
    run.fit(learner, loader(), loader())
    assert {"val/loss", "val/top1", "val_ema/loss", "val_ema/top1", "val_ema/top5"} <= set(run.callback_metrics)
    assert run.callback_metrics["val/loss"] != run.callback_metrics["val_ema/loss"]
    assert learner.ema.n_averaged == 3


def test_ema__counts_optimiser_steps_not_batches(classifier, tmp_path):
    learner = task(classifier, ema=0.5)
    trainer(tmp_path, accumulate_grad_batches=2).fit(learner, loader(8, 2))
    assert learner.ema.n_averaged == 2


def test_ema__and_raw_weights_survive_an_exception_in_validation(classifier, tmp_path):
    before = []

    class Stop(L.Callback):
        def on_validation_start(self, trainer, pl_module):
            before.extend(w.clone() for w in (pl_module.model.head.weight, pl_module.ema.module.head.weight))

        def on_validation_batch_end(self, trainer, pl_module, *args):
            raise RuntimeError("stop here")

    learner = task(classifier, ema=0.9)
    run = trainer(tmp_path, callbacks=[Stop()])
    with pytest.raises(RuntimeError, match="stop here"):
        run.fit(learner, loader(), loader())
    assert run.optimizers[0].param_groups[0]["params"][0] is next(classifier.parameters())
    assert torch.equal(before[0], classifier.head.weight)
    assert torch.equal(before[1], learner.ema.module.head.weight)


def test_resume__ends_where_the_uninterrupted_run_ends(config, tmp_path):
    from dotcom.models import DoTCoM

    def fit(epochs: int, path=None, stop: int | None = None) -> tuple[Classification, L.Trainer]:
        L.seed_everything(0, verbose=False)
        learner = task(Classifier(DoTCoM(config), 3), ema=0.9)
        run = trainer(tmp_path, max_epochs=stop or epochs)
        run.fit(learner, loader(), ckpt_path=path)
        return learner, run

    whole, _ = fit(4)
    _, first = fit(4, stop=2)
    first.save_checkpoint(tmp_path / "half.ckpt")
    rest, _ = fit(4, path=tmp_path / "half.ckpt")
    assert all(torch.equal(value, rest.state_dict()[name]) for name, value in whole.state_dict().items())


def test_resume__for_more_epochs_starts_on_the_longer_schedule(config, tmp_path):
    from dotcom.models import DoTCoM

    def fit(epochs: int, path=None) -> list[float]:
        rates = []

        class Watch(L.Callback):
            def on_train_batch_start(self, trainer, *args):
                rates.append(trainer.optimizers[0].param_groups[0]["lr"])

        cosine = partial(warmup_cosine, warmup=0.0)
        learner = Classification(Classifier(DoTCoM(config), 3), ADAMW, cosine, num_classes=3)
        run = trainer(tmp_path, max_epochs=epochs, callbacks=[Watch()])
        run.fit(learner, loader(), ckpt_path=path)
        run.save_checkpoint(tmp_path / "last.ckpt")
        return rates

    whole = fit(6)
    fit(2)
    assert fit(6, tmp_path / "last.ckpt") == pytest.approx(whole[2:])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_clip__bounds_the_gradient_that_a_fused_optimiser_sees(classifier, tmp_path, precision):
    norms = []

    class Watch(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            norms.append(torch.stack([p.grad.norm() for p in pl_module.model.parameters()]).norm().item())

    class Learner(Classification):
        def optimizer_step(self, *args, **kwargs):
            super().optimizer_step(*args, **kwargs)
            norms.append(torch.stack([p.grad.norm() for p in self.model.parameters()]).norm().item())

    learner = Learner(classifier, partial(ADAMW, fused=True), constant, num_classes=3)
    run = trainer(tmp_path, callbacks=[Watch()], gradient_clip_val=1e-3, precision=precision)
    run.fit(learner, loader())
    before, after = norms
    assert before > 1e-3 >= after * 0.999


def test_compile__leaves_the_names_of_the_weights(classifier):
    names = set(classifier.state_dict())
    assert set(task(classifier, compile=True).model.state_dict()) == names


def test_channels_last__lays_out_the_weights(classifier):
    weight = task(classifier, channels_last=True).model.backbone.stem[0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_logging__happens_at_least_once_in_a_short_epoch(classifier, tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    run = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=CSVLogger(tmp_path, "", ""), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=50,
    )  # fmt: skip
    run.fit(task(classifier), loader(4, 2))
    assert "train/loss" in (tmp_path / "metrics.csv").read_text()
