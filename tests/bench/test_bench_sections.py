"""What the bench compares computes the same, and each section answers for a tiny network."""

import copy

import pytest
import torch
from torchvision.ops import batched_nms

from dotcom.bench import detections, evaluation, export, infer
from dotcom.bench.networks import Subject
from dotcom.bench.randomised import randomised
from dotcom.bench.reference import PlainDoT, reference
from dotcom.bench.watch import Watch
from dotcom.deploy.graph import deployed
from dotcom.models.suppression import FEW, suppressed

PIXELS = 64


@pytest.fixture
def watch(monkeypatch) -> Watch:
    monkeypatch.setattr("dotcom.bench.watch.ROUNDS", {"quick": 1})
    return Watch("quick", work=lambda: None)


@torch.no_grad()
def test_reference__equals_ours_in_float64(classifier):
    network = randomised(classifier).double()
    plain = reference(network)
    images = torch.randn(2, 3, PIXELS, PIXELS, dtype=torch.float64)
    assert any(isinstance(module, PlainDoT) for module in plain.modules())
    assert (plain(images) - network(images)).abs().max() < 1e-12
    (logits,) = deployed(network, PIXELS, None).double()(images[:1])
    assert (logits - network(images[:1])).abs().max() < 1e-12


def test_reference__leaves_the_network_alone(classifier):
    before = copy.deepcopy(classifier.state_dict())
    reference(classifier)
    assert not any(isinstance(module, PlainDoT) for module in classifier.modules())
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_subject__would_show_a_wrong_fold(config):
    subject = Subject(config, PIXELS)
    assert subject.error(subject.plain(subject.images)) < 1e-5
    with torch.no_grad():
        for name, parameter in subject.plain.named_parameters():
            if "bias_in" in name:
                parameter.zero_()
    assert subject.error(subject.plain(subject.images)) > 1e-4


def test_infer__measures_speed_and_equality_of_every_form(config, watch):
    rows = {row.name: row for row in infer.measured({"tiny": config}, PIXELS, watch)}
    assert list(rows) == ["tiny reference", "tiny deployed", "tiny deployed bf16"]
    assert rows["tiny deployed"].ratio is not None
    assert rows["tiny deployed"].difference < 1e-5
    assert "GFLOP/s" in rows["tiny deployed"].facts[0]


def test_infer__says_why_there_is_no_bf16():
    assert infer.no_bf16("avx2 avx512f avx512_bf16") is None
    assert "no bf16 instructions" in infer.no_bf16("avx2 avx512f")


def test_export__measures_what_is_installed(config, watch, monkeypatch):
    monkeypatch.setattr(export.formats, "missing", lambda name: ["openvino"] if name == "openvino" else [])
    rows = {row.name: row for row in export.measured({"tiny": config}, PIXELS, ("onnx", "openvino f32"), watch)}
    assert rows["tiny onnx"].difference < 1e-5
    assert rows["tiny onnx"].numbers["nodes"] > 100
    assert rows["tiny onnx"].ratio is not None
    assert rows["tiny openvino f32"].skipped == "openvino not installed; pip install 'dotcom[openvino]'"


def test_evaluation__gives_the_value_of_pycocotools(watch):
    theirs, ours = evaluation.metric(5, 1, watch)
    assert ours.difference <= 1e-8
    assert theirs.value > 0
    assert "float32 recall thresholds" in ours.facts[0]


def test_evaluation__without_pycocotools_says_so(watch, monkeypatch):
    monkeypatch.setattr(evaluation, "absent", lambda names: list(names))
    (row,) = evaluation.metric(5, 1, watch)
    assert "pycocotools not installed" in row.skipped


def test_detections__are_those_of_torchvision_in_every_regime(watch):
    rows = [row for row in evaluation.suppression(watch, tuple(detections.REGIMES)) if row.ratio]
    assert [row.difference for row in rows] == ["identical"] * 3
    assert [row.numbers["different"] for row in rows] == [0, 0, 0]


@pytest.mark.parametrize("wanted", [5, 100, 3000])
def test_suppression__looks_further_until_it_has_enough(wanted):
    """Boxes that almost all cover each other: the best thousand leave a few."""
    rng = torch.Generator().manual_seed(0)
    boxes = torch.tensor([0.0, 0.0, 50.0, 50.0]) + torch.rand(2000, 1, generator=rng) * 60
    scores = torch.rand(2000, 3, generator=rng)
    found, _, labels = suppressed(boxes, scores, 0.1, 0.8, 1500, wanted)
    best, index = scores.topk(1500, dim=0)
    rank, label = (best > 0.1).nonzero(as_tuple=True)
    assert len(label) > FEW
    keep = batched_nms(boxes[index[rank, label]], best[rank, label], label, 0.8)[:wanted]
    assert torch.equal(found, boxes[index[rank, label]][keep])
    assert torch.equal(labels, label[keep])
