"""Every row of the README's table on the phone has a network here that stands for it."""

import pytest
import torch

from dotcom.benchmark.networks import from_conf
from dotcom.benchmark.published import published, top1_of
from dotcom.benchmark.targets import SIZES, known_models
from dotcom.models.cost import parameters

OTHERS = {"mobilenetv2_100": 0.95, "fastvit_t8": 0.5, "fastvit_t12": 0.8, "fastvit_s12": 0.7, "fastvit_sa12": 0.7}
ROWS = published()


def test_published__has_29_rows_in_the_readmes_order():
    assert len(ROWS) == len({row.model for row in ROWS}) == 29
    assert [row.top1 for row in ROWS] == sorted(row.top1 for row in ROWS)
    assert [row.model for row in ROWS if row.model.startswith("dotcom")] == list(SIZES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.model)
def test_published__row_is_a_network_of_about_its_parameters(row):
    if row.model not in known_models():
        pytest.skip(f"conf/model has no {row.model} yet")
    with torch.device("meta"):
        found = parameters(from_conf(row.model)) / 1e6
    assert found == pytest.approx(row.params_m, abs=OTHERS.get(row.model, 0.15))


def test_top1__is_known_by_the_models_own_name():
    assert top1_of("dotcom_base") == 80.1
    assert top1_of("best.ckpt") is None
