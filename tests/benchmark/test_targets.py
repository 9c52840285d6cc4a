"""What the command is asked for is understood without torch, from names, checkpoints and the cards of files."""

import json

import pytest

from dotcom.benchmark.table import total
from dotcom.benchmark.targets import SIZES, known_models, targets
from dotcom.errors import SHARED


def test_targets__are_the_four_sizes_if_nothing_is_named():
    assert [target.source for target in targets([])] == list(SIZES)


def test_models__are_the_networks_of_conf():
    known = known_models()
    assert known[:4] == list(SIZES)
    assert not set(known) & {*SHARED["model"], "timm"}
    assert {"repvit_m1_0", "deit_tiny", "resnet101"} <= set(known)


@pytest.mark.parametrize(
    "card", [{"image_size": 96}, {"inputs": [{"name": "images", "shape": [1, 3, 96, 96]}], "macs": {"linear": 1}}]
)
def test_file__says_its_size_on_its_card(tmp_path, card):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    path.with_name("net.onnx.json").write_text(json.dumps(card))
    (target,) = targets([str(path)])
    assert (target.name, target.kind, target.image_size) == ("net.onnx", "file", 96)


def test_file__without_a_card_leaves_the_size_open(tmp_path):
    path = tmp_path / "net.openvino.xml"
    path.write_bytes(b"")
    (target,) = targets([str(path)])
    assert target.image_size is None


def test_total__adds_what_a_card_counts_by_kind():
    assert (total({"convolution": 5, "linear": 2}), total(7), total(None)) == (7, 7, None)
