"""The sections about training and GPUs, at a size at which they take no time."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dotcom.bench.device import copy_bandwidth
from dotcom.bench.floors import FLOORS, verdicts
from dotcom.bench.gpu import Setting, measured, rows
from dotcom.bench.overhead import per_step
from dotcom.bench.row import Row
from dotcom.bench.traffic import counting, traffic
from dotcom.bench.train import overhead, steps
from dotcom.bench.watch import Watch
from dotcom.models import Classifier, DoTCoM
from dotcom.models.dotcom import DoTCoMConfig

CPU = torch.device("cpu")


@pytest.fixture
def watch() -> Watch:
    return Watch("quick", work=lambda: None, load=lambda: 0.0)


def test_overhead__is_counted_from_the_end_of_the_warm_up():
    read = [0.0] * 20 + [1.0 + 0.002 * step for step in range(11)]
    assert per_step(read, 10) == pytest.approx(2.0)


def test_overhead__has_what_its_floors_ask_for(watch):
    row = overhead(watch, 3, rounds=1)
    assert {floor.what for floor, _ in verdicts(row)} == {"value", "waits"}
    assert row.number("waits") == 0
    assert row.ratio is None


def test_steps__compare_equal_networks_with_the_plain_loop(watch, config):
    found = {row.name: row for row in steps(watch, config, batch=4, pixels=64, rounds=1)}
    assert list(found)[:2] == ["plain loop", "preset"]
    assert found["preset"].difference < 1e-5
    if not found["preset bf16"].skipped:
        assert 0 < found["preset bf16"].difference < 0.3
    assert all(row.skipped or row.unit == "images/s" for row in found.values())
    assert {("train", name) for name in ("preset", "preset bf16", "overhead")} <= set(FLOORS)


def test_traffic__of_one_layer_is_what_one_adds_up_by_hand():
    with torch.device("meta"), counting() as count:
        layer = nn.Linear(8, 4, bias=False).bfloat16()
    begun = count.eager
    assert begun > 0  # its random weights
    with torch.device("meta"):
        x = torch.empty(16, 8, dtype=torch.bfloat16)
        with torch.no_grad(), counting() as count:
            y = layer(x).t().contiguous()
    product, copy = 2 * (16 * 8 + 8 * 4 + 16 * 4), 2 * 2 * 16 * 4
    assert y.shape == (4, 16)
    assert (count.products, count.eager, count.operations) == (product, product + copy, 2)


def test_traffic__takes_attention_for_one_operation():
    q, k, v = (torch.empty(2, 4, 256, 8, dtype=torch.bfloat16, device="meta") for _ in range(3))
    with counting() as count:
        F.scaled_dot_product_attention(q, k, v)
    assert count.operations == 1
    assert 4 * q.nbytes <= count.eager < 6 * q.nbytes  # one more number per query, in float32


def test_traffic__of_training_is_more_than_of_inference_and_products_are_a_part(config):
    with torch.device("meta"):
        network = Classifier(DoTCoM(config), 10)
    inference, training = (traffic(network, 4, 64, training) for training in (False, True))
    assert inference.products < inference.eager < training.eager
    assert training.products < training.eager
    assert training.per_second(4, 1e9) == 4 * 1e9 / training.eager


def test_gpu__is_measured_by_the_same_code_on_a_cpu(config: DoTCoMConfig):
    setting = Setting(CPU, batch=2, size=32, rounds=1, steps=1, compiled=False)
    found = {row.name: row for row in measured("tiny", config, setting)}
    assert list(found) == ["tiny reference training", "tiny training", "tiny profile", "tiny inference"]
    assert found["tiny training"].ratio is not None
    assert found["tiny profile"].facts
    for name in ("tiny training", "tiny inference"):
        asked = [floor.what for floor in FLOORS["gpu", name]]
        assert all(found[name].number(what) is not None for what in asked)
    assert copy_bandwidth(CPU) > 1e8


def test_gpu__without_one_says_so_and_prints_the_limits(watch, monkeypatch):
    """Worked out before, with another count: 7145, 20.3e3, 18.0e3 and 52.5e3 images/s."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found: list[Row] = list(rows("quick", watch))
    assert [row.name for row in found] == ["tiny training", "tiny inference"]
    said = [
        re.fullmatch(r"no GPU; limits on paper at 3.0 TB/s: A (\d+) images/s, C (\d+) images/s", row.skipped)
        for row in found
    ]
    limits = [int(number) for match in said for number in match.groups()]
    assert limits == pytest.approx((7145, 20.3e3, 18.0e3, 52.5e3), rel=0.01)
