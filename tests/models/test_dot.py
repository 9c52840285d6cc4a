"""The DoT block: patches, attention, Co-Bias."""

import pytest
import torch

from dotcom.models.dot import Attention, CoBias, DoTBlock, fold, unfold


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_fold__undoes_unfold(memory_format):
    x = torch.rand(2, 3, 4, 6).contiguous(memory_format=memory_format)
    assert torch.equal(fold(unfold(x), 4, 6), x)


def test_unfold__groups_pixels_by_their_place_in_the_patch():
    pixels = torch.arange(16.0).reshape(1, 1, 4, 4)
    groups = {frozenset(group.flatten().tolist()) for group in unfold(pixels)}
    assert groups == {
        frozenset({0.0, 2.0, 8.0, 10.0}),
        frozenset({1.0, 3.0, 9.0, 11.0}),
        frozenset({4.0, 6.0, 12.0, 14.0}),
        frozenset({5.0, 7.0, 13.0, 15.0}),
    }


def test_attention__equals_softmax_of_scaled_products():
    torch.manual_seed(0)
    attention = Attention(16).double()
    x = torch.rand(4, 5, 16, dtype=torch.float64)
    q, k, v = (part.reshape(4, 5, 4, 8).transpose(1, 2) for part in attention.qkv(attention.norm(x)).chunk(3, -1))
    mixed = (q @ k.transpose(-1, -2) * 8**-0.5).softmax(-1) @ v
    torch.testing.assert_close(attention(x), attention.out(mixed.transpose(1, 2).reshape(4, 5, 32)))


def test_attention__is_in_float32_where_a_cpu_trains_in_bfloat16_and_unchanged_elsewhere(monkeypatch):
    seen = []
    attention, real = Attention(16), torch.nn.functional.scaled_dot_product_attention
    spy = lambda q, k, v: seen.append(q.dtype) or real(q, k, v)  # noqa: E731
    monkeypatch.setattr("dotcom.models.dot.F.scaled_dot_product_attention", spy)
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(torch.rand(2, 5, 16)).dtype == torch.bfloat16
    attention.bfloat16()(torch.rand(2, 5, 16, dtype=torch.bfloat16))
    assert seen == [torch.float32, torch.bfloat16]


def test_co_bias__adds_one_number_per_channel():
    co_bias = CoBias(3)
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(co_bias(x), x)
    co_bias.bias.data = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal((co_bias(x) - x).round(), torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("co_bias", "biased"), [(True, {"bias_in", "bias_out"}), (False, set()), ("first", {"bias_in"})]
)
def test_co_bias__stands_where_it_was_asked_for(co_bias, biased):
    block = DoTBlock(8, 1, co_bias)
    assert {name for name, child in block.named_children() if isinstance(child, CoBias)} == biased


def test_dot__uses_no_tensor_of_more_than_four_dimensions():
    program = torch.export.export(DoTBlock(8, 1).eval(), (torch.rand(1, 8, 4, 4),)).run_decompositions({})
    ranks = [node.meta["val"].dim() for node in program.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    assert max(ranks) == 4
