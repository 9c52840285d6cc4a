"""ExecuTorch, int8, by PyTorch's quantisation of exported graphs, in the form that XNNPACK's int8 kernels take.

Compiling such a graph takes a minute, running it in PyTorch does not: the search judges the graph, and what is
reported in the end is the file's.
"""

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch.fx import GraphModule, Node

from dotcom.deploy.formats import Array, executorch, quiet
from dotcom.deploy.formats.torch import exported
from dotcom.deploy.graph import Graph
from dotcom.deploy.int8.draft import Draft, runner
from dotcom.deploy.int8.layers import layers_of

RELU = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)  # goes into the convolution before it


class Quantiser:
    """A traced graph, and which of its nodes are layers.

    Args:
        graph: In float32.
        keys: Of all layers with weights, see ``layers.key_of``.
        calibration: Images, float32 (1, 3, N, N), normalised.
    """

    selective = True

    def __init__(self, graph: Graph, keys: Collection[str], calibration: Sequence[Array]) -> None:
        self.graph = graph
        self.program = exported(graph)
        self.calibration = [torch.from_numpy(image) for image in calibration]
        module: Any = self.program.module()
        self.layers = {layer.node.name: layer.key for layer in layers_of(module) if layer.key in keys}

    def draft(self, kept: Collection[str]) -> Draft:
        """Quantise all layers but the ``kept``; sums, products and attention in between stay float32."""
        quantised = {name for name, key in self.layers.items() if key not in kept}

        def chosen(node: Node) -> bool:
            return node.op != "call_function" or node.target in RELU or node.name in quantised

        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

            config = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
            quantizer = xnnpack_quantizer.XNNPACKQuantizer().set_global(config).set_filter_function(chosen)
            observed = prepare_pt2e(self.program.module(), quantizer)
            for image in track(self.calibration, "calibrating", transient=True):
                observed(image)
            module = convert_pt2e(observed)
        return Draft(runner(module, self.graph.outputs), lambda path: self._save(module, path))

    def _save(self, module: GraphModule, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (self.graph.example,), strict=False)
        path.write_bytes(executorch.lowered(program))
