"""Every row of the README's table on the phone has a network here that stands for it."""

import pytest
import torch

from dotcom.benchmark.networks import from_conf, only_size
from dotcom.benchmark.published import published, top1_of
from dotcom.benchmark.targets import SIZES, known_models
from dotcom.models.cost import parameters

FAMILIES = ("deit_tiny", "dotcom_base", "edgevit_xxs", "fat_b0", "repvit_m1_0")  # tests of conf/ build every choice
ROWS = published()


def test_published__has_29_rows_in_the_readmes_order():
    assert len(ROWS) == len({row.model for row in ROWS}) == 29
    assert [row.top1 for row in ROWS] == sorted(row.top1 for row in ROWS)
    assert [row.model for row in ROWS if row.model.startswith("dotcom")] == list(SIZES)


def test_published__rows_are_choices_of_conf():
    assert {row.model for row in ROWS} <= set(known_models())


@pytest.mark.parametrize("row", [row for row in ROWS if row.model in FAMILIES], ids=lambda row: row.model)
def test_published__row_is_a_network_of_its_parameters(row):
    with torch.device("meta"):
        network = from_conf(row.model)
    assert parameters(network) / 1e6 == pytest.approx(row.params_m, abs=0.1)
    assert network.head.out_features == 1000
    assert only_size(network) == (224 if row.model == "deit_tiny" else None)


def test_top1__is_known_by_the_models_own_name():
    assert top1_of("dotcom_base") == 80.1
    assert top1_of("best.ckpt") is None
