"""Each block kind keeps its call: channels, stride, skip."""

from typing import get_args

import pytest
import torch

from dotcom.models.blocks import BLOCKS, BlockKind, MV2Block, QIBBlock, ResidualBlock


@pytest.mark.parametrize("kind", get_args(BlockKind))
@pytest.mark.parametrize("stride", [1, 2])
def test_block__maps_channels_and_strides(kind, stride):
    out = BLOCKS[kind](8, 12, stride, 6)(torch.rand(2, 8, 16, 24))
    assert out.shape == (2, 12, 16 // stride, 24 // stride)


def test_blocks__are_exactly_the_published_four():
    assert set(BLOCKS) == set(get_args(BlockKind)) == {"basic", "mv2", "qg", "qib"}


def test_qib__is_qg_then_mv2():
    qg, mv2 = QIBBlock(8, 12, 2)
    assert isinstance(qg, ResidualBlock)
    assert qg.conv1[0].groups == qg.conv2[0].groups == 4
    assert isinstance(mv2, MV2Block)


@pytest.mark.parametrize(("stride", "residual"), [(1, True), (2, False)])
def test_qib__keeps_the_inner_skip_only_at_stride_1(stride, residual):
    assert QIBBlock(8, 12, stride)[1].residual is residual


@pytest.mark.parametrize("kind", get_args(BlockKind))
def test_block__has_no_in_place_operation(kind):
    graph = torch.export.export(BLOCKS[kind](8, 8, 1, 6).eval(), (torch.rand(2, 8, 8, 8),)).graph
    assert [str(n.target) for n in graph.nodes if n.op == "call_function" and "_." in str(n.target)] == []
