"""Non-maximum suppression inside a detector's file, for runtimes that have it: ONNX Runtime and OpenVINO.

What is appended computes ``detections.detect``: the file itself returns ``boxes`` (M, 4), ``scores`` (M,) and
``labels`` (M,), int64, the best first.
"""

from pathlib import Path
from typing import Any

from dotcom.deploy.detections import BEST, CANDIDATES, OVERLAP, THRESHOLD

OUTPUTS = ("boxes", "scores", "labels")

# Each class is one image of NonMaxSuppression's batch, so that it works on the candidates of that class alone.
TAIL = """
<ir_version: 10, opset_import: ["" : 18]>
tail (float[1,{anchors},4] raw_boxes, float[1,{anchors},{classes}] raw_scores)
    => (float[M,4] boxes, float[M] scores, int64[M] labels)
{{
    nms_zero = Constant<value = int64[1] {{0}}>()
    nms_one = Constant<value = int64[1] {{1}}>()
    nms_candidates = Constant<value = int64[1] {{{candidates}}}>()
    nms_best = Constant<value = int64[1] {{{best}}}>()
    nms_overlap = Constant<value = float[1] {{{overlap}}}>()
    nms_threshold = Constant<value = float[1] {{{threshold}}}>()
    nms_place = Constant<value = int64[2] {{0, 2}}>()
    nms_class = Constant<value = int64 {{0}}>()
    nms_of_classes = Transpose<perm = [0, 2, 1]>(raw_scores)
    nms_all_scores = Squeeze(nms_of_classes, nms_zero)
    nms_all_boxes = Squeeze(raw_boxes, nms_zero)
    nms_top, nms_index = TopK<axis = 1, largest = 1, sorted = 1>(nms_all_scores, nms_candidates)
    nms_boxes = Gather<axis = 0>(nms_all_boxes, nms_index)
    nms_scores = Unsqueeze(nms_top, nms_one)
    nms_kept = NonMaxSuppression(nms_boxes, nms_scores, nms_best, nms_overlap, nms_threshold)
    nms_places = Gather<axis = 1>(nms_kept, nms_place)
    nms_labels = Gather<axis = 1>(nms_kept, nms_class)
    nms_kept_scores = GatherND(nms_top, nms_places)
    nms_kept_boxes = GatherND(nms_boxes, nms_places)
    nms_count = Shape(nms_kept_scores)
    nms_least = Min(nms_count, nms_best)
    scores, nms_order = TopK<axis = 0, largest = 1, sorted = 1>(nms_kept_scores, nms_least)
    boxes = Gather<axis = 0>(nms_kept_boxes, nms_order)
    labels = Gather<axis = 0>(nms_labels, nms_order)
}}
"""


def tail(anchors: int, classes: int) -> Any:
    """An ONNX model from ``raw_boxes`` (1, A, 4) and ``raw_scores`` (1, A, K) to the detections."""
    import onnx

    return onnx.parser.parse_model(
        TAIL.format(
            anchors=anchors,
            classes=classes,
            candidates=min(CANDIDATES, anchors),
            best=BEST,
            overlap=OVERLAP,
            threshold=THRESHOLD,
        )
    )


def append_to_onnx(path: Path) -> None:
    """Let an ONNX file with raw ``boxes`` and ``scores`` return detections."""
    import onnx

    model = onnx.load(path)
    _, anchors, classes = (dimension.dim_value for dimension in model.graph.output[1].type.tensor_type.shape.dim)
    names = {"boxes": "raw_boxes", "scores": "raw_scores"}
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]
    end = tail(anchors, classes).graph
    model.graph.node.extend(end.node)
    del model.graph.output[:]
    model.graph.output.extend(end.output)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def append_to_openvino(path: Path) -> None:
    """Let an OpenVINO file with raw ``boxes`` and ``scores`` return detections."""
    import io

    import openvino

    from dotcom.deploy.formats.openvino import core

    model = core().read_model(path)
    _, anchors, classes = model.output("scores").shape
    end = openvino.convert_model(io.BytesIO(tail(anchors, classes).SerializeToString()))
    for name in ("boxes", "scores"):
        end.input(f"raw_{name}").replace(model.output(name).get_node().input_value(0))
    whole = openvino.Model(end.get_results(), model.get_parameters())
    written = path.with_name(f"whole-{path.name}")  # the weights of the first are mapped into memory until it is gone
    openvino.save_model(whole, written, compress_to_fp16=False)
    del model, end, whole
    for suffix in (".bin", ".xml"):
        written.with_suffix(suffix).replace(path.with_suffix(suffix))
