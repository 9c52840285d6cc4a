"""Weights move between runs, numbers of classes and networks, and say what did not fit."""

from dataclasses import replace

import pytest
import torch

from dotcom.models import Classifier, DoTCoM, DoTCoMConfig, load_weights


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
    with pytest.raises(ValueError, match="could run code"):
        load_weights(classifier, tmp_path / "w.pt")
