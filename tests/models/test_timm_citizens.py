"""``import dotcom.timm``: our sizes behave as timm's own networks do, and are the networks of our runs."""

import importlib
import sys
from copy import deepcopy
from fnmatch import fnmatch

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2

import dotcom.timm
from dotcom.models import Classifier, DoTCoM, TimmBackbone, from_checkpoint
from dotcom.models.matching import names_of_ours
from models.oracle import original_state

NAMES = [f"dotcom_{size}" for size in ("base", "large", "small", "tiny")]


def images(size: int = 64, batch: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def tiny(**options):
    return timm.create_model("dotcom_tiny", **{"num_classes": 5} | options)


def test_sizes__are_listed_without_weights():
    assert timm.list_models("dotcom*") == NAMES
    assert timm.list_models("dotcom*", pretrained=True) == []
    with pytest.raises(RuntimeError, match="No pretrained weights exist for dotcom_tiny"):
        tiny(pretrained=True)


@pytest.mark.parametrize("name", NAMES)
def test_size__has_the_names_and_shapes_of_our_own_network(name):
    with torch.device("meta"):
        theirs = timm.create_model(name)
        ours = Classifier(DoTCoM.from_variant(name.removeprefix("dotcom_")), 1000)
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (theirs, ours)]
    assert shapes[0] == shapes[1]
    assert theirs.num_features == theirs.head_hidden_size == ours.backbone.channels[-1]


@pytest.mark.parametrize("options", [{}, {"block": "qg", "co_bias": "first"}, {"co_bias": False}])
@torch.no_grad()
def test_logits__are_those_of_our_own_network_bit_for_bit(options):
    torch.manual_seed(3)
    theirs = tiny(**options).eval()
    torch.manual_seed(3)
    ours = Classifier(DoTCoM.from_variant("tiny", **options), 5).eval()
    assert torch.equal(theirs(images()), ours(images()))


def test_backward__reaches_every_parameter():
    network = tiny(block="mv2").train()
    logits = network(images(96))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@torch.no_grad()
def test_default_cfg__says_what_the_network_is():
    network = timm.create_model("dotcom_tiny", block="mv2").eval()
    cfg, state = network.default_cfg, network.state_dict()
    assert cfg is network.pretrained_cfg
    assert cfg["input_size"] == (3, 256, 256)
    assert {f"{cfg['classifier']}.weight", f"{cfg['first_conv']}.weight"} <= state.keys()
    assert state[f"{cfg['first_conv']}.weight"].shape[1] == cfg["input_size"][0]
    x = images(256, batch=1)
    assert network.forward_features(x).shape == (1, network.num_features, *cfg["pool_size"])
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    assert (transform.transforms[0].size, transform.transforms[1].size) == (288, (256, 256))
    network.reset_classifier(0)
    assert network(x).shape == (1, network.num_features)
    network.reset_classifier(0, "")
    assert network(x).shape == (1, network.num_features, *cfg["pool_size"])


@torch.no_grad()
def test_head__can_be_read_replaced_and_left_out():
    network = tiny(block="mv2", drop_rate=0.5).eval()
    x = images()
    maps = network.forward_features(x)
    embedding = network.forward_head(maps, pre_logits=True)
    assert torch.equal(embedding, maps.mean(dim=(2, 3)))
    assert torch.equal(network.get_classifier()(embedding), network(x))
    assert network.train().forward_head(maps, pre_logits=True).eq(0).any()  # dropout
    network.eval().reset_classifier(7)
    assert network(x).shape == (2, 7)
    assert network.num_classes == 7
    assert isinstance(tiny(num_classes=0).get_classifier(), torch.nn.Identity)
    network.double().reset_classifier(3)
    assert network(x.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"global_pool": "max"}, "global_pool must be one of"),
        ({"global_pool": ""}, "leaves a map"),
        ({"output_stride": 8}, "output_stride must be 32 or 16, got 8"),
        ({"block": "mv3"}, "block must be one of"),
    ],
)
def test_option__out_of_range_is_named(options, said):
    with pytest.raises(ValueError, match=said):
        tiny(**options)


def test_option__that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="drop_path"):
        tiny(drop_path=0.1)


@pytest.mark.parametrize("options", [{}, {"out_indices": (1, -1)}, {"out_indices": (0, 2)}, {"output_stride": 16}])
@torch.no_grad()
def test_features__have_the_widths_and_strides_that_they_announce(options):
    network = timm.create_model("dotcom_tiny", block="mv2", features_only=True, **options).eval()
    maps = network(images())
    info = network.feature_info
    assert [found.shape[1] for found in maps] == info.channels()
    assert [64 // found.shape[2] for found in maps] == info.reduction()
    assert len(maps) == len(options.get("out_indices", range(4)))
    hooked = timm.create_model("dotcom_tiny", block="mv2", features_only=True, feature_cls="hook", **options).eval()
    assert all(torch.equal(a, b) for a, b in zip(maps, hooked(images()), strict=True))


@torch.no_grad()
def test_intermediates__are_the_maps_of_the_stages():
    network = tiny(block="mv2").eval()
    x, stages = images(), network.backbone(images())
    last, maps = network.forward_intermediates(x)
    assert torch.equal(last, stages[-1])
    assert all(torch.equal(a, b) for a, b in zip(maps, stages, strict=True))
    last, maps = network.forward_intermediates(x, indices=[1], stop_early=True)
    assert torch.equal(last, stages[1])
    assert torch.equal(maps[0], last)
    assert len(network.forward_intermediates(x, indices=2, intermediates_only=True)) == 2
    with pytest.raises(ValueError, match=r"some of 4 stages, got \[4\]"):
        network.forward_intermediates(x, indices=[4])
    assert network.prune_intermediate_layers([0, -2]) == [0, 2]
    assert network.num_features == stages[2].shape[1]
    assert torch.equal(network(x), stages[2])
    network.reset_classifier(3, "avg")
    assert network(x).shape == (2, 3)


def kept(network) -> int:
    """Numbers that a forward pass keeps for the backward pass, which follows."""
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        loss = network(images()).square().mean()
    loss.backward()
    return sum(sizes)


def test_recomputing__keeps_less_and_changes_neither_gradients_nor_statistics():
    plain = tiny(block="mv2").train()
    saving = deepcopy(plain)
    saving.set_grad_checkpointing()
    assert kept(saving) < kept(plain) / 2
    gradients = [[parameter.grad for parameter in network.parameters()] for network in (plain, saving)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in saving.state_dict().items())


def test_decay__spares_co_bias_and_falls_towards_the_stem():
    network = tiny()
    spared = network.no_weight_decay()
    names = dict(network.named_parameters())
    assert spared == {name for name in names if fnmatch(name, "*.bias_in.bias") or fnmatch(name, "*.bias_out.bias")}
    assert len(spared) == 6
    groups = create_optimizer_v2(network, "adamw", weight_decay=0.05, layer_decay=0.75).param_groups
    scale = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    order = [scale[id(parameter)] for parameter in network.parameters()]  # stands in forward order
    assert order == sorted(order)
    assert len(set(order)) == 1 + 2 + 8 + 4 + 1 + 1
    coarse = timm.models.group_parameters(network, network.group_matcher(coarse=True))
    assert len(coarse) == 1 + 4 + 1
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert all(decays[id(names[name])] == 0 for name in spared)


@torch.no_grad()
def test_weights__of_the_original_repository_load_as_they_are():
    state = {name: value.float() for name, value in original_state("tiny").items()}
    network, ours = timm.create_model("dotcom_tiny").eval(), Classifier(DoTCoM.from_variant("tiny"), 1000).eval()
    network.load_state_dict(state)
    ours.load_state_dict(names_of_ours(state, ours))
    assert torch.equal(network(images()), ours(images()))


@torch.no_grad()
def test_channels__of_images_can_be_others():
    network = tiny(block="mv2", in_chans=1).eval()
    assert network(images(channels=1)).shape == (2, 5)
    assert network.in_chans == 1


def test_checkpoint__of_a_run_loads_with_its_moving_average(checkpoints):
    path = checkpoints("classification")
    ours = from_checkpoint(path)
    options = {"num_classes": 2, "block": "mv2"}
    direct = timm.create_model("dotcom_tiny", checkpoint_path=path, **options).eval()
    x = images()
    with torch.no_grad():
        expected = ours(x)
        assert torch.equal(direct(x), expected)
    overlay = {"file": str(path), "num_classes": 2}
    load = {"pretrained": True, "pretrained_cfg_overlay": overlay, "block": "mv2"}
    grey = timm.create_model("dotcom_tiny", in_chans=1, **load)
    first = ours.backbone.stem[0][0].weight
    torch.testing.assert_close(grey.backbone.stem[0][0].weight, first.sum(dim=1, keepdim=True))
    other = timm.create_model("dotcom_tiny", num_classes=9, **load)
    assert other.head.out_features == 9
    assert torch.equal(other.backbone.stem[0][0].weight, first)


def test_name__of_ours_is_sent_to_our_own_choice():
    with pytest.raises(ValueError, match="name=dotcom_tiny: a network of ours; use model=dotcom_tiny"):
        TimmBackbone("dotcom_tiny")


def test_timm__when_missing_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.models", None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"^dotcom.timm needs timm: pip install 'dotcom\[timm\]'$"):
        importlib.reload(dotcom.timm)
