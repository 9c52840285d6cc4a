"""Weights move between runs, numbers of classes and networks, and say what did not fit."""

import argparse
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from dotcom.checkpoint import check_weights
from dotcom.errors import UsageError
from dotcom.models import Classifier, DoTCoM, DoTCoMConfig, TimmBackbone, load_weights
from dotcom.plain_pickle import read_plain


@pytest.fixture
def other(config: DoTCoMConfig) -> Classifier:
    """The same backbone with other initial weights and another number of classes."""
    torch.manual_seed(1)
    return Classifier(DoTCoM(config), num_classes=7)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("form", ["lightning", "network", "backbone"])
def test_load__takes_the_backbone_and_leaves_a_head_of_other_width(form, classifier, other, tmp_path, capsys):
    saved = {
        "lightning": {"state_dict": {f"model.{k}": v for k, v in classifier.state_dict().items()}},
        "network": classifier.state_dict(),
        "backbone": classifier.backbone.state_dict(),
    }[form]
    torch.save(saved, tmp_path / "w.pt")
    head = other.head.weight.clone()
    load_weights(other, tmp_path / "w.pt")
    assert same(other.backbone, classifier.backbone)
    assert torch.equal(other.head.weight, head)
    said = capsys.readouterr().out
    assert "2 missing (head.weight, head.bias); 100.0% of the backbone" in said
    assert ("0 skipped" if form == "backbone" else "2 skipped (head.weight, head.bias)") in said


def test_load__prefers_the_moving_average(classifier, other, tmp_path):
    average = {f"ema.module.{k}": v + 1.0 for k, v in classifier.state_dict().items()}
    torch.save({"state_dict": {f"model.{k}": v for k, v in classifier.state_dict().items()} | average}, tmp_path / "w")
    load_weights(other, tmp_path / "w")
    assert torch.equal(other.backbone.stem[0][0].weight, classifier.backbone.stem[0][0].weight + 1.0)


def test_load__refuses_another_size_and_changes_nothing(config, classifier, tmp_path):
    torch.save(classifier.state_dict(), tmp_path / "w.pt")
    wider = Classifier(DoTCoM(replace(config, last=32, inner=(32, 32, 32))), 3)
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    with pytest.raises(ValueError, match=r"w\.pt: .* of the backbone; at least 90 % expected"):
        load_weights(wider, tmp_path / "w.pt")
    assert all(torch.equal(before[name], value) for name, value in wider.state_dict().items())


def test_load__executes_nothing(classifier, tmp_path):
    torch.save({"state_dict": classifier.state_dict(), "trap": print}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt: it asks for builtins\.print, which could run code"):
        load_weights(classifier, tmp_path / "w.pt")


def named(network: torch.nn.Module, prefix: str = "", plus: float = 0.0) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value + plus for name, value in network.state_dict().items()}


BESIDE = {
    "epoch": 3,
    "arch": "dotcom_tiny",
    "args": argparse.Namespace(model="dotcom_tiny", lr=0.1, out=Path("runs"), betas=(0.9, 0.999)),
    "best_acc1": np.float64(81.5),
    "counts": np.arange(3),
    "history": {"when": [datetime(2024, 7, 31, tzinfo=UTC)], "kinds": {"a"}, "more": Counter("ab")},
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": np.float32(0.1)}]},
}
CASES = {  # the file, what is said of it, and what was added to the tensors that have to be taken
    "timm": (lambda c: {"state_dict": named(c), "state_dict_ema": named(c, plus=1)}, "state_dict_ema taken", 1),
    "timm without average": (lambda c: {"state_dict": named(c), "state_dict_ema": None}, "state_dict taken; ", 0),
    "torchvision": (
        lambda c: {
            "model": named(c, "module."),
            "model_ema": {"n_averaged": torch.tensor(3)} | named(c, "module.", plus=1),
        },
        "model_ema taken (also there: model), module of its names taken",
        1,
    ),
    "original": (lambda c: {"model_state_dict": named(c), "optimizer_state_dict": {}}, "model_state_dict taken; ", 0),
    "compiled": (lambda c: {"net": named(c, "_orig_mod.")}, "net taken; ", 0),
    "compiled in parallel": (lambda c: named(c, "module._orig_mod."), "module of its names taken; ", 0),
    "a compiled part": (lambda c: named(c.backbone, "model.backbone._orig_mod."), "model of its names taken; ", 0),
    "wrapped thrice": (
        lambda c: {"checkpoint": 1, "model": {"state_dict": named(c.backbone, "module.network.backbone.")}},
        "model.state_dict taken, module.network of its names taken; ",
        0,
    ),
    "average within": (lambda c: {"state_dict": named(c, "net.") | named(c, "ema_model.", 1)}, "ema_model of its", 1),
    "both within a key": (
        lambda c: {"params": {"model": named(c), "ema": {"state_dict": named(c, plus=1)}}},
        "params.ema.state_dict taken (also there: params.model); ",
        1,
    ),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_load__takes_what_other_programs_write(case, legacy, classifier, other, tmp_path, capsys):
    make, said, plus = CASES[case]
    content = make(classifier)
    if "stem" not in str(list(content)[:2]):
        content |= BESIDE
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    check_weights(str(tmp_path / "w.pth"), read_plain("weights", str(tmp_path / "w.pth")))
    load_weights(other, tmp_path / "w.pth")
    told = capsys.readouterr().out
    assert said in told
    assert "100.0% of the backbone" in told
    for ours, theirs in zip(other.backbone.parameters(), classifier.backbone.parameters(), strict=True):
        assert torch.equal(ours, theirs + plus)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.backbone.network."])
@pytest.mark.parametrize("name", ["mobilenetv2_100", "volo_d1_224"])  # volo's own names begin with network.
def test_load__takes_networks_of_timm_however_wrapped(prefix, name, tmp_path, capsys):
    with torch.device("meta"):
        backbone = TimmBackbone(name, pyramid=False)
    network = Classifier(backbone.to_empty(device="cpu"), 3)
    theirs = {n: torch.full_like(v, 2) for n, v in network.backbone.network.state_dict().items()}
    theirs |= {"classifier.weight": torch.zeros(1000, 4)}
    content = {"state_dict": {f"{prefix}{n}": v for n, v in theirs.items()}, "args": argparse.Namespace()}
    torch.save(content, tmp_path / "w.pth.tar")
    load_weights(network, tmp_path / "w.pth.tar")
    assert "1 skipped (" in (said := capsys.readouterr().out)
    assert "100.0% of the backbone" in said
    assert all(bool((value == 2).all()) for value in network.backbone.parameters())


def test_load__of_another_network_says_what_it_found(classifier, tmp_path):
    larger = Classifier(DoTCoM.from_variant("small", block="mv2"), 3)
    asked = Classifier(DoTCoM.from_variant("tiny"), 3)
    torch.save({"model": named(larger, "module.")}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt: model taken, module of its names taken; ") as error:
        load_weights(asked, tmp_path / "w.pt")
    said = str(error.value)
    assert "It holds " in said
    assert "tensors (module.backbone.stem.0.0.weight" in said
    assert re.search(r"; backbone\.\S+ is [0-9x]+ in the file, [0-9x]+ in the network; ", said)
    assert said.endswith("it looks like model=dotcom_small block=mv2")
    torch.save({"arch": "convnext_tiny", "state_dict": {"stages.0.weight": torch.zeros(3, 3)}}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"the network's names are such as .*; it says that it is of convnext_tiny"):
        load_weights(asked, tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"student": {"w": torch.zeros(1)}, "epoch": 3}, r"it holds student \(1 tensor such as w\), epoch; expected a"),
        ({"epoch": 3}, "no weights under a known key; it holds epoch"),
        ([torch.zeros(1)], "it holds a list"),
        ({}, "it holds nothing"),
    ],
)
def test_weights__that_are_none_are_refused_before_torch_is_needed(content, said, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UsageError, match=said):
        check_weights("w.pt", read_plain("weights", str(tmp_path / "w.pt")))
    with pytest.raises(UsageError, match=said.partition("; expected")[0]):
        load_weights(torch.nn.Linear(1, 1), tmp_path / "w.pt")
