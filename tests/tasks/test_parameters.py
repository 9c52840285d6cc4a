"""Which parameters learn how fast, and which of them weight decay leaves alone."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from dotcom.models import Classifier, Detector, Segmenter, TimmBackbone
from dotcom.tasks.parameters import grouped_optimizer

ADAMW = partial(torch.optim.AdamW, lr=1.0, weight_decay=0.1)


def rates(network: nn.Module, **settings) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter by its name."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    optimizer = grouped_optimizer(ADAMW, network, **settings)
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_defaults__are_one_group_in_the_order_of_the_network(classifier):
    (group,) = grouped_optimizer(ADAMW, classifier).param_groups
    assert all(one is other for one, other in zip(group["params"], classifier.parameters(), strict=True))


def test_state_of_an_optimizer_without_groups__is_taken_over(classifier):
    plain = ADAMW(classifier.parameters())
    classifier(torch.rand(2, 3, 32, 32)).sum().backward()
    plain.step()
    grouped = grouped_optimizer(ADAMW, classifier)
    grouped.load_state_dict(copy.deepcopy(plain.state_dict()))
    for parameter in classifier.parameters():
        assert torch.equal(grouped.state[parameter]["exp_avg"], plain.state[parameter]["exp_avg"])


def test_matrices__leave_norms_biases_and_co_bias_without_decay(classifier):
    decays = {name: decay for name, (_, decay) in rates(classifier, decayed="matrices").items()}
    assert decays.keys() == dict(classifier.named_parameters()).keys()
    for name, parameter in classifier.named_parameters():
        assert decays[name] == (0.1 if parameter.ndim > 1 else 0.0), name
    assert [name for name in decays if "bias_in" in name]
    assert all(decays[name] == 0.0 for name in decays if name.endswith((".bias", "bias_in", "bias_out")))


def test_vectors__keep_their_length_where_matrices_shrink(classifier):
    optimizer = grouped_optimizer(ADAMW, classifier, decayed="matrices")
    before = {name: value.detach().clone() for name, value in classifier.named_parameters()}
    for parameter in classifier.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in classifier.named_parameters():
        expected = before[name] * (0.9 if value.ndim > 1 else 1.0)
        assert torch.allclose(value, expected, rtol=1e-5), name


@pytest.mark.parametrize("make", [Classifier, Detector, Segmenter])
def test_layer_decay__slows_each_stage_more_the_farther_it_is_from_the_head(make, backbone):
    network = make(backbone, 3)
    found = rates(network, layer_decay=0.5, backbone_lr=0.1)
    layers = [network.backbone.stem, *network.backbone.stages]
    names = {parameter: name for name, parameter in network.named_parameters()}
    for distance, layer in enumerate(reversed(layers), start=1):
        (rate,) = {found[names[parameter]][0] for parameter in layer.parameters()}
        assert rate == pytest.approx(0.1 * 0.5**distance)
    heads = [rate for name, (rate, _) in found.items() if not name.startswith("backbone.")]
    assert set(heads) == {1.0}
    assert len(found) == len(names)


@pytest.mark.parametrize("name", ["resnet18", "repvit_m1_0"])
def test_layer_decay__knows_the_layers_of_timm(name):
    network = Classifier(TimmBackbone(name, pyramid=False), 3)
    found = rates(network, layer_decay=0.5)
    assert found.keys() == dict(network.named_parameters()).keys()
    first = next(iter(dict(network.named_parameters())))
    assert found["head.weight"][0] == 1.0
    assert found[first][0] == min(rate for rate, _ in found.values()) < 0.1


def test_matrices__spare_what_a_network_of_timm_names():
    network = Classifier(TimmBackbone("deit_tiny_patch16_224", pyramid=False, image_size=32), 3)
    found = rates(network, decayed="matrices")
    assert found["backbone.network.pos_embed"][1] == found["backbone.network.cls_token"][1] == 0.0
    assert found["backbone.network.blocks.0.attn.qkv.weight"][1] == 0.1


def test_decayed__refuses_what_it_does_not_know(classifier):
    with pytest.raises(ValueError, match="decayed must be one of"):
        grouped_optimizer(ADAMW, classifier, decayed="some")
