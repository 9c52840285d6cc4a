"""ONNX, for ONNX Runtime and the many tools that read it: opset 18, one file with its weights."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dotcom.deploy.formats import Array, Runner, quiet, require

if TYPE_CHECKING:
    from dotcom.deploy.graph import Graph

SUFFIX = ".onnx"
EXTRA = "onnx"
MODULES = ("onnx", "onnxscript", "onnxruntime")
RUNTIME = ("onnxruntime",)
OPSET = 18


def write(graph: "Graph", path: Path) -> None:
    """Write a graph, float32, checked by ONNX's own checker."""
    require("onnx", MODULES, EXTRA)
    import onnx
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (graph.example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=list(graph.outputs),
            verbose=False,
        )
    assert program is not None
    program.save(path, external_data=False)
    onnx.checker.check_model(str(path), full_check=True)


def load(path: Path, threads: int | None = None) -> Runner:
    """Make a function of images from a file, by ONNX Runtime on the CPU with all its optimisations.

    Args:
        path: A file from ``write``, or one that was quantised or extended.
        threads: That one image may take; default: one per core.
    """
    require("onnx", RUNTIME, EXTRA)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Array) -> dict[str, Array]:
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return run
