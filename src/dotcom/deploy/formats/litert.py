"""LiteRT, formerly TensorFlow Lite: ``.tflite``, for Android."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dotcom.deploy.formats import Array, Runner, named, quiet, require

if TYPE_CHECKING:
    from dotcom.deploy.graph import Graph

SUFFIX = ".tflite"
EXTRA = "litert"
MODULES = ("litert_torch",)
RUNTIME = ("ai_edge_litert",)


def write(graph: "Graph", path: Path) -> None:
    """Write a graph, float32."""
    require("litert", MODULES, EXTRA)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litert_torch

        model = litert_torch.convert(graph, sample_kwargs={"images": graph.example})
        model.export(str(path))


def load(path: Path, threads: int | None = None) -> Runner:
    """Make a function of images from a file, by the XNNPACK kernels.

    Args:
        path: A file from ``write``.
        threads: That one image may take; default: one per core.
    """
    require("litert", RUNTIME, "litert-runtime")
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()  # now, for it announces its kernels
        signature = interpreter.get_signature_runner()
    (entry,) = signature.get_input_details()
    order = sorted(signature.get_output_details())  # output_0, output_1

    def run(images: Array) -> dict[str, Array]:
        found = signature(**{entry: images})
        return named([found[name] for name in order])

    return run
