"""ONNX, int8: a pair of QuantizeLinear and DequantizeLinear around each layer, for ONNX Runtime.

Note: ONNX Runtime on x86 takes longer for this file than for the float one (``experiments/int8`` has the ratio).
"""

import logging
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dotcom.deploy.formats import Array, onnx
from dotcom.deploy.graph import Graph
from dotcom.deploy.int8.draft import Draft
from dotcom.deploy.int8.layers import all_found, key_of

OPERATIONS = ("Conv", "Gemm", "MatMul")
PERCENTILE = 99.99  # of the values of a tensor are within its range; what is beyond is cut off


class Quantiser:
    """A graph as a float file, and which of its nodes are layers.

    Args:
        graph: In float32.
        keys: Of all layers with weights, see ``layers.key_of``.
        calibration: Images, float32 (1, 3, N, N), normalised.
    """

    selective = True

    def __init__(self, graph: Graph, keys: Collection[str], calibration: Sequence[Array]) -> None:
        from onnx import load, numpy_helper
        from onnxruntime.quantization import quant_pre_process

        self.folder = TemporaryDirectory()
        self.source = Path(self.folder.name) / "float.onnx"
        onnx.write(graph, self.source)
        # its optimisation finds nothing left to fold, but could change the weights by which layers are known
        quant_pre_process(self.source, self.source, skip_optimization=True, skip_symbolic_shape=True)
        self.calibration = calibration
        content = load(self.source).graph
        weights = {weight.name: key_of(numpy_helper.to_array(weight)) for weight in content.initializer}
        self.nodes = {
            node.name: next((weights[name] for name in node.input if weights.get(name) in keys), None)
            for node in content.node
            if node.op_type in OPERATIONS
        }
        all_found(keys, self.nodes.values())

    def draft(self, kept: Collection[str]) -> Draft:
        """Quantise all layers but the ``kept``; products of two activations, in attention, stay float32 too."""
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        path = Path(self.folder.name) / f"{len(kept)}.onnx"
        with silent():
            quantize_static(
                self.source,
                path,
                Reader(self.calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATIONS),
                nodes_to_exclude=[name for name, key in self.nodes.items() if key is None or key in kept],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": PERCENTILE},
            )
        return Draft(onnx.load(path), partial(shutil.copyfile, path))


@contextmanager
def silent() -> Iterator[None]:
    """Hold back what ``quantize_static`` prints, and its advice to prepare the model, which has been done."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


class Reader:
    """Images, one at a time, as ``quantize_static`` asks for them."""

    def __init__(self, images: Sequence[Array]) -> None:
        self.images: Iterator[Array] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next image by the name of the input, None after the last."""
        image = next(self.images, None)
        return None if image is None else {"images": image}
