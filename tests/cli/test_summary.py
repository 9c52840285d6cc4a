"""The stages add up to what dotcom.models.cost counts, whatever the network."""

import pytest
import torch

from dotcom.cli import main
from dotcom.inference.stages import stages
from dotcom.models import Classifier, Detector, DoTCoM, Segmenter, TimmBackbone, from_checkpoint
from dotcom.models.cost import macs, parameters

TASKS = ("classification", "detection", "segmentation")
PEERS = {"repvit_m0_9": True, "shvit_s1": True, "deit_tiny_patch16_224": False, "mobilevit_xxs": True}


def sums(answer):
    *parts, whole = answer["stages"]
    kinds = ("convolution", "linear", "attention")
    assert whole["parameters"] == sum(part["parameters"] for part in parts)
    assert whole["macs"] == {kind: sum(part["macs"][kind] for part in parts) for kind in kinds}
    return parts, whole


def test_dotcom__has_the_published_stages_and_counts(answers):
    (answer,), _ = answers("summary", "dotcom_tiny")
    parts, whole = sums(answer)
    network = Classifier(DoTCoM.from_variant("tiny"), 1000)
    assert (whole["parameters"], whole["macs"]) == (1_731_064, macs(network, 256))
    assert [part["name"] for part in parts] == ["backbone.stem", *(f"backbone.stages.{i}" for i in range(4)), "head"]
    assert [part["stride"] for part in parts] == [2, 4, 8, 16, 32, None]
    assert [part["shape"] for part in parts[1:]] == [[24, 64, 64], [64, 32, 32], [96, 16, 16], [384, 8, 8], [1000]]
    assert parts[2]["macs"]["attention"] > 0
    assert parts[1]["macs"]["attention"] == 0


@pytest.mark.parametrize(
    ("task", "kind", "size", "classes"), [("detection", Detector, 320, 80), ("segmentation", Segmenter, 512, 21)]
)
def test_task__brings_its_head_and_size(task, kind, size, classes, answers):
    (answer,), _ = answers("summary", "dotcom_small", "--task", task)
    parts, whole = sums(answer)
    assert answer["image_size"] == size
    with torch.device("meta"):
        assert whole["parameters"] == parameters(kind(DoTCoM.from_variant("small"), classes))
    strides = [part["stride"] for part in parts if part["name"].startswith("backbone.stages")]
    assert strides == [4, 8, 16, 32 if task == "detection" else 16]


@pytest.mark.parametrize("name", PEERS)
def test_peer__is_cut_where_timm_says(name):
    network = Classifier(TimmBackbone(name, pyramid=False), 10)
    *parts, whole = stages(network, 224)
    assert (whole.parameters, whole.macs) == (parameters(network), macs(network, 224))
    assert sum(part.parameters for part in parts) == whole.parameters
    assert sum(part.all for part in parts) == whole.all
    strides = [part.stride for part in parts if ".stages." in part.name and part.stride]
    assert strides == sorted(strides)
    assert (len(strides) > 2) is PEERS[name]


def test_choice__timm_and_checkpoint_are_all_understood(answers, checkpoints):
    (peer,), _ = answers("summary", "repvit_m0_9", "--size", 64, "--classes", 10)
    (named,), _ = answers("summary", "timm:repvit_m0_9", "--size", 64, "--classes", 10)
    assert peer["stages"] == named["stages"]
    for task in TASKS:
        (saved,), _ = answers("summary", checkpoints(task))
        assert saved["image_size"] == 64
        assert sums(saved)[1]["parameters"] == parameters(from_checkpoint(checkpoints(task)))


def test_network_of_one_size__is_shown_at_it(answers):
    (answer,), _ = answers("summary", "deit_tiny")
    assert answer["image_size"] == 224


def test_table__has_both_conventions_and_that_of_the_readme(capsys):
    assert main(["summary", "dotcom_tiny"]) == 0
    said = capsys.readouterr().out
    for words in ("stride", "1,731,064", "605.0", "693.1", "convolutions alone: 463.6 M"):
        assert words in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dotcom_bse"], "did you mean dotcom_base?"),
        (["timm:repvit_m0"], "timm has no such model; did you mean repvit_m0"),
        (["gone.ckpt"], "gone.ckpt: no such file"),
        (["dotcom_tiny", "--size", "100"], "must be multiples of 32, got 100x100; nearest: 96x96 and 128x128"),
        (["dotcom_tiny", "--size", "0"], "--size=0: expected a number above 0"),
        (["crossvit_9", "--size", "256"], "--size=256: crossvit_9 cannot take it"),
    ],
)
def test_mistake__is_one_line(arguments, said, refused):
    assert said in refused("summary", *arguments)
