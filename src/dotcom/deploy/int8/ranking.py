"""Which layers suffer from int8: each is quantised alone, in PyTorch, and the damage at the outputs is measured.

A runtime's arithmetic differs in details, but the range of a tensor and the steps it is cut into are the same
everywhere, and they decide the order. The accuracy is another question, for the file itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from dotcom.deploy.int8.layers import Layer

Array = np.ndarray[Any, Any]
Range = tuple[float, float]

RANKED_ON = 8  # images; the order of the worst layers is settled long before that of the best
SMALLEST = 1e-12  # of a scale


def sqnr(references: Sequence[Sequence[Array]], outputs: Sequence[Sequence[Array]]) -> float:
    """Signal to quantisation noise, in dB: 10 log10(sum of r^2 / sum of (r - o)^2); the lowest of the outputs.

    Args:
        references: Per image, the outputs of the float network.
        outputs: Likewise, of the quantised one.
    """
    ratios = []
    for index in range(len(references[0])):
        signal = sum(float((image[index].astype(np.float64) ** 2).sum()) for image in references)
        noise = sum(
            float(((image[index].astype(np.float64) - other[index]) ** 2).sum())
            for image, other in zip(references, outputs, strict=True)
        )
        ratios.append(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30)))
    return float(min(ratios))


def quantised_weight(weight: Tensor) -> Tensor:
    """The weight, symmetric int8, one scale per output channel (the first axis)."""
    largest = weight.flatten(1).abs().amax(dim=1).clamp(min=SMALLEST * 127)
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, largest / 127, zeros, 0, -127, 127)


def quantised_activation(x: Tensor, low: float, high: float) -> Tensor:
    """A tensor in 256 steps from the lowest to the highest value seen, 0 among them."""
    scale = max((high - low) / 255, SMALLEST)
    return torch.fake_quantize_per_tensor_affine(x, scale, round(-128 - low / scale), -128, 127)


class Rehearsal:
    """A traced network whose layers can be quantised one at a time.

    Args:
        module: From ``traced``.
        layers: Those that can be quantised.
        calibration: Images, float32 (1, 3, N, N), normalised.
    """

    def __init__(self, module: GraphModule, layers: Sequence[Layer], calibration: Sequence[Array]) -> None:
        self.interpreter = Interpreter(module, garbage_collect_values=False)
        self.nodes = list(module.graph.nodes)
        self.layers = layers
        self.images = [torch.from_numpy(image) for image in calibration]
        self.ranges: dict[Node, Range] = {}

    @torch.inference_mode()
    def ranked(self) -> list[tuple[Layer, float]]:
        """The layers and the SQNR at the outputs with only this one in int8, the most damaging first."""
        for image in track(self.images, "calibrating", transient=True):
            self._float(image)
            for layer in self.layers:
                self._widen(layer.node)
                self._widen(layer.node.args[0])
        references: list[list[Array]] = []
        outputs: dict[str, list[list[Array]]] = {layer.name: [] for layer in self.layers}
        for image in track(self.images[:RANKED_ON], "quantising each layer alone", transient=True):
            references.append(self._float(image))
            for layer in self.layers:
                outputs[layer.name].append(self._with_one(layer))
        damage = [(layer, sqnr(references, outputs[layer.name])) for layer in self.layers]
        return sorted(damage, key=lambda pair: pair[1])

    def _float(self, image: Tensor) -> list[Array]:
        """Run an image through, and keep every value in between."""
        self.interpreter.env = {}
        return arrays(self.interpreter.run(image, enable_io_processing=True))

    def _widen(self, node: Any) -> None:
        value = self.interpreter.env[node]
        low, high = self.ranges.get(node, (0.0, 0.0))
        self.ranges[node] = min(low, float(value.min())), max(high, float(value.max()))

    def _with_one(self, layer: Layer) -> list[Array]:
        """The outputs for the image of the last ``_float``, with one layer quantised; only what it reaches is run."""
        before = self.interpreter.env
        source, _, *rest = layer.node.args
        assert isinstance(source, Node)
        arguments = [quantised_activation(before[source], *self.ranges[source]), quantised_weight(layer.weight)]
        others = [before[arg] if isinstance(arg, Node) else arg for arg in rest]
        result = layer.node.target(*arguments, *others, **layer.node.kwargs)  # type: ignore[operator]
        self.interpreter.env = before | {layer.node: quantised_activation(result, *self.ranges[layer.node])}
        changed = {layer.node}
        for node in self.nodes[self.nodes.index(layer.node) + 1 :]:
            if not changed.isdisjoint(node.all_input_nodes):
                changed.add(node)
                self.interpreter.env[node] = self.interpreter.run_node(node)
        outputs = arrays(self.interpreter.env[self.nodes[-1]])
        self.interpreter.env = before
        return outputs


def arrays(outputs: Any) -> list[Array]:
    """Outputs of a graph as NumPy arrays."""
    return [output.numpy() for output in outputs]
