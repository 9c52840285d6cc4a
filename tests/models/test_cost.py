"""Counted costs are those of the original's README, as far as it says how it counted."""

import math

import pytest

from dotcom.models import Classifier, DoTCoM
from dotcom.models.cost import macs, parameters


@pytest.mark.parametrize(
    ("variant", "numbers", "convolutions", "everything"),
    [
        ("tiny", 1_731_064, 0.4, 0.6931),
        ("small", 2_870_440, 0.8, 1.2312),
        ("base", 5_895_864, 1.6, 2.1862),
        ("large", 11_169_592, 3.3, 4.5462),
    ],
)
def test_costs__are_those_of_the_readme(variant, numbers, convolutions, everything):
    network = Classifier(DoTCoM.from_variant(variant), 1000).train()
    counted = macs(network, 256)
    assert parameters(network) == numbers
    assert math.trunc(counted["convolution"] / 1e8) / 10 == convolutions  # its "FLOPs": convolutions alone, cut off
    assert sum(counted.values()) / 1e9 == pytest.approx(everything, abs=5e-5)
    assert network.training
