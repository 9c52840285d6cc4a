"""OpenVINO, int8, by NNCF: the fastest of the int8 files on x86."""

import logging
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dotcom.deploy.formats import Array, openvino, quiet
from dotcom.deploy.graph import Graph
from dotcom.deploy.int8.draft import Draft
from dotcom.deploy.int8.layers import all_found, key_of

OPERATIONS = ("Convolution", "GroupConvolution", "MatMul")


class Quantiser:
    """A graph as a float model of OpenVINO, and which of its nodes are layers.

    Args:
        graph: In float32.
        keys: Of all layers with weights, see ``layers.key_of``.
        calibration: Images, float32 (1, 3, N, N), normalised.
    """

    selective = True

    def __init__(self, graph: Graph, keys: Collection[str], calibration: Sequence[Array]) -> None:
        self.folder = TemporaryDirectory()
        source = Path(self.folder.name) / f"float{openvino.SUFFIX}"
        openvino.write(graph, source)
        self.model = openvino.core().read_model(source)
        self.calibration = list(calibration)
        self.nodes = {
            node.get_friendly_name(): key if (key := weight_key(node)) in keys else None
            for node in self.model.get_ordered_ops()
            if node.get_type_name() in OPERATIONS
        }
        all_found(keys, self.nodes.values())

    def draft(self, kept: Collection[str]) -> Draft:
        """Quantise all layers but the ``kept``; products of two activations, in attention, stay float32 too."""
        from openvino import save_model

        with quiet():
            import nncf

            logging.getLogger("nncf").setLevel(logging.ERROR)
            ignored = [name for name, key in self.nodes.items() if key is None or key in kept]
            images = nncf.Dataset(self.calibration)
            scope = nncf.IgnoredScope(names=ignored, types=["ScaledDotProductAttention"], validate=False)
            model = nncf.quantize(self.model, images, subset_size=len(self.calibration), ignored_scope=scope)
        path = Path(self.folder.name) / f"{len(kept)}{openvino.SUFFIX}"
        save_model(model, path, compress_to_fp16=False)
        return Draft(openvino.load(path), partial(save_model, model, compress_to_fp16=False))


def weight_key(node: Any) -> str | None:
    """The key of the constant that a node multiplies by; None if there is none."""
    source = node.input_value(1).get_node()
    while source.get_type_name() in ("Convert", "Reshape"):
        source = source.input_value(0).get_node()
    return key_of(source.get_data()) if source.get_type_name() == "Constant" else None
