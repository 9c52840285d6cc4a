"""Core ML, int8: the weights alone, one scale per output channel; arithmetic stays float16.

Note: written anywhere, run on macOS only. What is judged elsewhere is the network in PyTorch with all its weights
    quantised likewise; coremltools itself leaves those of fewer than 2,048 numbers alone.
"""

import copy
import logging
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dotcom.deploy.formats import Array, coreml, quiet
from dotcom.deploy.graph import Graph
from dotcom.deploy.int8.draft import Draft, runner
from dotcom.deploy.int8.layers import layers_of, traced
from dotcom.deploy.int8.ranking import quantised_weight


class Quantiser:
    """A graph whose weights are to be quantised.

    Args:
        graph: In float32.
        keys: Of all layers with weights, see ``layers.key_of``.
        calibration: Not needed: there are no ranges to find.
    """

    selective = False

    def __init__(self, graph: Graph, keys: Collection[str], calibration: Sequence[Array]) -> None:
        self.graph = graph

    def draft(self, kept: Collection[str]) -> Draft:
        """Quantise the weights of all layers."""
        module = traced(copy.deepcopy(self.graph))  # which shares its weights with what was traced
        for layer in layers_of(module):
            layer.weight.copy_(quantised_weight(layer.weight))

        return Draft(runner(module, self.graph.outputs), self._save)

    def _save(self, path: Path) -> None:
        with TemporaryDirectory() as folder, quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import coremltools
            from coremltools.optimize import coreml as optimize

            logging.getLogger("coremltools").setLevel(logging.ERROR)
            source = Path(folder) / f"float{coreml.SUFFIX}"
            coreml.write(self.graph, source)
            model = coremltools.models.MLModel(str(source), skip_model_load=True)
            rule = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_channel")
            optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=rule)).save(str(path))
