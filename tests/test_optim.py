"""The schedule at its first, peak, middle and last step."""

import pytest
import torch

from dotcom.optim import constant, warmup_cosine


def rates(steps: int, **settings) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = warmup_cosine(optimizer, total_steps=steps, **settings)
    seen = []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


def test_warmup_cosine__rises_to_the_peak_and_falls_to_the_floor():
    lr = rates(101, warmup=0.1, floor=0.01)
    assert lr[0] == pytest.approx(2.0 / 10)
    assert max(lr) == lr[10] == pytest.approx(2.0)
    assert lr[55] == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert lr[100] == pytest.approx(0.02)


def test_warmup_cosine__works_without_warmup():
    assert rates(3, warmup=0.0)[0] == pytest.approx(2.0)


def test_warmup_cosine__wants_a_fraction():
    with pytest.raises(ValueError, match="fraction"):
        rates(3, warmup=10)


def test_constant__stays():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    assert constant(optimizer, total_steps=5).get_last_lr() == [2.0]
