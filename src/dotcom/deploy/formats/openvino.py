"""OpenVINO: a pair of files, ``.xml`` with the graph and ``.bin`` with the weights."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotcom.deploy.formats import Array, Runner, require

if TYPE_CHECKING:
    from dotcom.deploy.graph import Graph

SUFFIX = ".openvino.xml"
EXTRA = "openvino"
MODULES = ("openvino", "onnx")  # ONNX for the detections inside a file
RUNTIME = ("openvino",)


@cache
def core() -> Any:
    """The ``openvino.Core`` of this process, the only one.

    Each further one would replace the stack on which signals are heard and free it at its end; where they do not end in
    reverse order the next signal (Ctrl-C, the end of a child) finds no stack, and the process dies without a word.
    """
    require("openvino", RUNTIME, EXTRA)
    import openvino

    return openvino.Core()


def write(graph: "Graph", path: Path) -> None:
    """Write a graph, float32, and its weights beside it, named as ``path`` with ``.bin``."""
    require("openvino", MODULES, EXTRA)
    import openvino

    from dotcom.deploy.formats.torch import exported

    model = openvino.convert_model(exported(graph))
    model.reshape([*graph.example.shape])  # conversion alone forgets the size, and guesses inner shapes wrongly
    model.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(model.outputs, graph.outputs, strict=True):
        output.get_tensor().set_names({name})
    openvino.save_model(model, path, compress_to_fp16=False)


def load(path: Path, threads: int | None = None) -> Runner:
    """Make a function of images from a file, on the CPU in float32 unless the file says int8.

    Args:
        path: The ``.xml`` of a pair of files.
        threads: That one image may take; default: one per core.
    """
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core().compile_model(path, "CPU", settings)
    names = [output.get_any_name() for output in compiled.outputs]

    def run(images: Array) -> dict[str, Array]:
        found = compiled(images)
        return {name: found[index].copy() for index, name in enumerate(names)}

    return run
