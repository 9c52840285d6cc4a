"""LiteRT, int8: the weights alone, one scale per output channel; activations are quantised as they come."""

import shutil
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from dotcom.deploy.formats import Array, litert, quiet
from dotcom.deploy.graph import Graph
from dotcom.deploy.int8.draft import Draft


class Quantiser:
    """A graph as a float file, whose weights are to be quantised.

    Args:
        graph: In float32.
        keys: Of all layers with weights, see ``layers.key_of``.
        calibration: Not needed: the runtime measures the range of each activation as it comes.
    """

    selective = False

    def __init__(self, graph: Graph, keys: Collection[str], calibration: Sequence[Array]) -> None:
        self.folder = TemporaryDirectory()
        self.source = Path(self.folder.name) / f"float{litert.SUFFIX}"
        litert.write(graph, self.source)

    def draft(self, kept: Collection[str]) -> Draft:
        """Quantise the weights of all layers."""
        path = self.source.with_name(f"int8{litert.SUFFIX}")
        with quiet():
            from ai_edge_quantizer import quantizer, recipe  # type: ignore[import-not-found]

            made = quantizer.Quantizer(str(self.source))
            made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
            made.quantize().export_model(str(path))
        return Draft(litert.load(path), partial(shutil.copyfile, path))
