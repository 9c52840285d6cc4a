"""With everything that a run has by default, no device waits for Python outside the steps that are logged."""

from typing import Any

import lightning as L
import pytest
import torch

from dotcom.bench.overhead import fit, waits
from dotcom.bench.waits import Waits
from dotcom.callbacks.finite import AHEAD, Losses

CARELESS = [
    (lambda loss: loss.item(), "item"),
    (lambda loss: float(loss), "item"),
    (lambda loss: 1 if loss > 0 else 0, "item"),
    (lambda loss: loss.tolist(), "tolist"),
    (lambda loss: loss.detach().numpy(), "numpy"),
    (lambda loss: loss.cpu(), "cpu"),
    (lambda loss: torch.tensor(1.0, device=loss.device), "tensor"),
    (lambda loss: loss[None][loss[None] > 0], "index with a mask"),
]


class Careless(L.Callback):
    """Does in each step something else that nobody should."""

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx < len(CARELESS):
            CARELESS[batch_idx][0](outputs["loss"])


class Count(L.Callback):
    """Tells ``Waits`` the number of each step."""

    def __init__(self, counted: Waits) -> None:
        self.counted = counted

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.counted.step = batch_idx + 1


@pytest.mark.parametrize(("live", "ema"), [(False, None), (True, 0.9)])
def test_step__makes_no_device_wait(monkeypatch, live, ema):
    monkeypatch.setattr("rich.console.Console.is_terminal", live)
    monkeypatch.setattr("dotcom.callbacks.progress.BLINK", 0.0)  # the bar is drawn in every step
    assert waits(12, ema=ema, every=5) == []


def test_step_that_reads__is_found():
    found = waits(12, [Careless()], every=20)
    assert found == [(step, what) for step, (_, what) in enumerate(CARELESS, start=1)]


def test_waits__are_there_in_the_steps_that_are_logged():
    counted = Waits()
    with counted:
        fit(12, [Count(counted)], every=5)
    assert sorted({step for step, _ in counted.seen} - {0}) == [5, 10, 12]


class Event:
    """Stands for that of a GPU, which gets to it when the test says so."""

    done = 0
    made = 0

    def record(self) -> None:
        Event.made += 1
        self.number = Event.made

    def query(self) -> bool:
        return self.number <= Event.done

    def synchronize(self) -> None:
        Event.done = max(Event.done, self.number)


@pytest.fixture
def losses(monkeypatch) -> Losses:
    monkeypatch.setattr(Event, "done", 0)
    monkeypatch.setattr(Event, "made", 0)
    return Losses(Event)


def test_losses__are_looked_at_when_they_have_arrived(losses):
    steps = [{"loss": torch.tensor(value)} for value in (1.0, torch.nan, 2.0)]
    for step in steps:
        losses.add(step)
        assert losses.bad() is None
    Event.done = 1
    assert losses.bad() is None
    Event.done = 2
    assert losses.bad() is steps[1]


def test_losses__are_waited_for_before_a_checkpoint_and_when_too_many_are_not_there(losses):
    bad = {"loss": torch.tensor(torch.inf)}
    losses.add(bad)
    for _ in range(AHEAD - 1):
        losses.add({"loss": torch.tensor(1.0)})
        assert losses.bad() is None
    losses.add({"loss": torch.tensor(1.0)})
    assert losses.bad() is bad
    assert Event.done == 1  # it waited for that step alone
    assert losses.bad(wait=True) is None
    assert Event.done == AHEAD + 1
