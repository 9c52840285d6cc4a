"""Raw boxes and scores become the same detections in NumPy, in ONNX Runtime and in OpenVINO as in the detector."""

import io
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from dotcom.deploy import detections, suppression
from dotcom.deploy.formats.openvino import core
from dotcom.models import Detector, DoTCoM


def numpy_runner(anchors, classes):
    return lambda boxes, scores: detections.detect(boxes[0], scores[0])


def onnx_runner(anchors, classes):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: dotcom[onnx]")
    pytest.importorskip("onnx", reason="onnx is not installed: dotcom[onnx]")
    model = suppression.tail(anchors, classes).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = suppression.OUTPUTS
    return lambda *raw: dict(
        zip(names, session.run(names, dict(zip(("raw_boxes", "raw_scores"), raw, strict=True))), strict=True)
    )


@cache  # compiling takes a second
def openvino_runner(anchors, classes):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: dotcom[openvino]")
    pytest.importorskip("onnx", reason="onnx is not installed: dotcom[openvino]")
    model = openvino.convert_model(io.BytesIO(suppression.tail(anchors, classes).SerializeToString()))
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(boxes, scores):
        found = compiled({"raw_boxes": boxes, "raw_scores": scores})
        return {name: found[name].copy() for name in suppression.OUTPUTS}

    return run


def detected(runner, boxes, scores):
    return RUNNERS[runner](*scores.shape[1:])(boxes, scores)


RUNNERS = {"numpy": numpy_runner, "onnx": onnx_runner, "openvino": openvino_runner}


@pytest.fixture
def detector(backbone: DoTCoM) -> Detector:
    return Detector(backbone, num_classes=4, loss="focal", extra_channels=[16])


def outputs(anchors: int, classes: int, *, spread: float = 2.0, far: float = 300.0, seed: int = 0) -> dict:
    """Head outputs of a made-up network: anchors anywhere on 320 pixels, logits around -3."""
    rng = torch.Generator().manual_seed(seed)
    centres, halves = torch.rand(anchors, 2, generator=rng) * far, torch.rand(anchors, 2, generator=rng) * 40 + 5
    return {
        "bbox_regression": torch.randn(1, anchors, 4, generator=rng) * 2,
        "cls_logits": torch.randn(1, anchors, classes + 1, generator=rng) * spread - 3,
        "anchors": torch.cat([centres - halves, centres + halves], dim=1),
    }


def raw(detector: Detector, heads: dict, size: int = 320) -> tuple[np.ndarray, np.ndarray]:
    boxes = detector.box_coder.decode_single(heads["bbox_regression"][0], heads["anchors"]).clamp(0, size)
    return boxes[None].numpy(), heads["cls_logits"].sigmoid()[..., 1:].numpy()


def check_equal(found: dict, expected: dict) -> None:
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value.numpy(), err_msg=name)
        assert found[name].dtype == value.numpy().dtype


def test_numbers__are_those_of_the_detector(detector):
    mine = (detections.CANDIDATES, detections.THRESHOLD, detections.OVERLAP, detections.BEST)
    theirs = (detector.topk_candidates, detector.score_thresh, detector.nms_thresh, detector.detections_per_img)
    assert mine == theirs


CASES = {
    "usual": {"anchors": 600, "classes": 4},
    "fewer anchors than candidates": {"anchors": 90, "classes": 3},
    "many classes": {"anchors": 1500, "classes": 40, "spread": 3.0},
    "crowded": {"anchors": 800, "classes": 2, "far": 20.0},
}


@pytest.mark.parametrize(("case", "runner"), [*product(CASES, ["numpy", "onnx"]), ("usual", "openvino")])
def test_detections__are_those_of_the_detector(detector, case, runner):
    for seed in range(3):
        heads = outputs(**CASES[case], seed=seed)
        (expected,) = detector.detect(heads, (320, 320))
        assert len(expected["labels"]) > 5
        check_equal(detected(runner, *raw(detector, heads)), expected)


@pytest.mark.parametrize("runner", RUNNERS)
def test_nothing__above_the_threshold_is_no_detection(detector, runner):
    heads = outputs(600, 4)
    heads["cls_logits"] = heads["cls_logits"] - 100
    found = detected(runner, *raw(detector, heads))
    assert {name: value.shape for name, value in found.items()} == {"boxes": (0, 4), "scores": (0,), "labels": (0,)}


@pytest.mark.parametrize("runner", RUNNERS)
def test_equal_scores__give_the_same_set(detector, runner):
    heads = outputs(600, 4)
    heads["cls_logits"] = heads["cls_logits"].round()  # many ties, whose order is nobody's promise
    boxes, scores = raw(detector, heads)
    far = np.arange(600, dtype=np.float32)[None, :, None] * 400  # apart: no box is dropped because of another's order
    found = detected(runner, boxes + far, scores)
    assert len(found["scores"]) == 100
    np.testing.assert_array_equal(np.sort(found["scores"]), np.sort(scores.ravel())[-100:])
    assert (np.diff(found["scores"]) <= 0).all()


def test_boxes__without_area_do_not_suppress_each_other():
    boxes = np.array([[5, 5, 5, 9], [5, 5, 5, 9], [0, 0, 4, 4]], np.float32)
    found = detections.detect(boxes, np.array([[0.9], [0.8], [0.7]], np.float32))
    assert len(found["labels"]) == 3


def test_overlap__at_the_limit_is_judged_as_torch_does():
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 55]], np.float32)  # 0.55, which float32 rounds up
    scores = np.array([[0.9], [0.8]], np.float32)
    kept = nms(torch.from_numpy(boxes), torch.from_numpy(scores[:, 0]), detections.OVERLAP)
    assert len(detections.detect(boxes, scores)["labels"]) == len(kept) == 1
