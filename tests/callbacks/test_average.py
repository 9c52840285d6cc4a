"""The average of the best epochs is what it says, survives a stop, and is measured."""

import math
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn
from train import measured_average

from dotcom.callbacks import AverageBest
from dotcom.callbacks.average import averaged
from test_resume import assert_equal

SCORES = [0.3, 0.9, 0.5, 0.9, 0.1, 0.7]


class Learner(L.LightningModule):
    """Its weights say which epoch it is."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def learn(self, epoch: int) -> None:
        self.norm.weight.data.fill_(epoch)
        self.norm.running_var.fill_(10 * epoch)
        self.norm.num_batches_tracked.fill_(epoch)


def kept(tmp_path, scores: list[float], best: int = 2, mode: str = "max", callback: AverageBest | None = None):
    callback = callback or AverageBest(str(tmp_path), best, "val/x", mode)
    learner = Learner()
    for epoch, score in enumerate(scores):
        learner.learn(epoch)
        metrics = {"val/x": torch.tensor(score)}
        state = SimpleNamespace(fn="fit")
        trainer = SimpleNamespace(state=state, sanity_checking=False, callback_metrics=metrics, current_epoch=epoch)
        callback.on_validation_end(trainer, learner)
    return callback


@pytest.mark.parametrize(
    ("best", "mode", "epochs"),
    [(1, "max", [1]), (2, "max", [1, 3]), (3, "max", [1, 3, 5]), (2, "min", [4, 0]), (9, "max", [1, 3, 5, 2, 0, 4])],
)
def test_kept__are_the_best_epochs_the_earlier_of_equals_first(best, mode, epochs, tmp_path):
    callback = kept(tmp_path, SCORES, best, mode)
    assert [epoch for _, epoch, _ in callback.kept] == epochs
    for _, epoch, weights in callback.kept:  # a copy of that time, not a view of weights that went on learning
        assert weights["norm.weight"].item() == epoch


def test_scores_that_are_no_numbers__are_passed_over(tmp_path):
    assert [epoch for _, epoch, _ in kept(tmp_path, [0.1, math.nan, 0.0]).kept] == [0, 2]


def test_averaged__takes_the_mean_of_floats_and_the_whole_numbers_of_the_best(tmp_path):
    callback = kept(tmp_path, SCORES, best=3)
    mean = averaged([weights for _, _, weights in callback.kept])
    assert mean["norm.weight"].item() == pytest.approx((1 + 3 + 5) / 3)
    assert mean["norm.running_var"].item() == pytest.approx(10 * (1 + 3 + 5) / 3)
    assert mean["norm.num_batches_tracked"].item() == 1
    assert mean["norm.weight"].dtype == torch.float32
    big = [{"x": torch.tensor([value], dtype=torch.float16)} for value in (60000.0, 60000.0, 3.0)]
    assert averaged(big)["x"].item() == pytest.approx(40001, rel=1e-3)  # their sum is beyond float16


def test_state__goes_on_with_all_of_them(tmp_path):
    whole = kept(tmp_path, SCORES, best=3)
    first = kept(tmp_path, SCORES[:3], best=3)
    second = AverageBest(str(tmp_path), 3, "val/x", "max")
    second.load_state_dict(first.state_dict())
    learner = Learner()
    for epoch in range(2, 6):  # the third validation is repeated, as after a stop within it
        learner.learn(epoch)
        metrics = {"val/x": torch.tensor(SCORES[epoch])}
        trainer = SimpleNamespace(
            state=SimpleNamespace(fn="fit"), sanity_checking=False, callback_metrics=metrics, current_epoch=epoch
        )
        second.on_validation_end(trainer, learner)
    assert_equal(second.kept, whole.kept)


def test_nothing_asked_for__keeps_and_writes_nothing(tmp_path):
    callback = kept(tmp_path, SCORES, best=None)
    assert callback.state_dict() == {}
    callback.on_train_end(None, None)
    assert not list(tmp_path.iterdir())


def test_average__is_measured_by_all_processes_or_by_none(tmp_path):
    config = {"fit": True, "average_best": 3, "output_dir": str(tmp_path)}
    for there, expected in ((True, {"average/top1": 0.5}), (False, {})):  # of the first, whose folder this one lacks
        trainer = SimpleNamespace(
            strategy=SimpleNamespace(broadcast=lambda own, there=there: there),
            validate=lambda *args, **options: [{"val/top1": 0.5}],
        )
        assert measured_average(config, trainer, None, None) == expected
