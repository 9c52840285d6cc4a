"""Core ML: an ML program for iPhones and Macs, written anywhere, run on macOS only."""

import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dotcom.deploy.formats import Array, Runner, quiet, require
from dotcom.errors import UsageError

if TYPE_CHECKING:
    from dotcom.deploy.graph import Graph

SUFFIX = ".mlpackage"
EXTRA = "coreml"
MODULES = ("coremltools",)
RUNTIME = ("coremltools",)


def write(graph: "Graph", path: Path) -> None:
    """Write a graph as an ML program for iOS 17 and macOS 14: a folder; weights and arithmetic in float16.

    Source: the tracing of coremltools fails with NumPy 2.4, hence ``torch.export``.
    """
    require("coreml", MODULES, EXTRA)
    from dotcom.deploy.formats.torch import exported

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools

        logging.getLogger("coremltools").setLevel(logging.ERROR)
        model = coremltools.convert(
            exported(graph).run_decompositions({}),
            convert_to="mlprogram",
            minimum_deployment_target=coremltools.target.iOS17,
            outputs=[coremltools.TensorType(name=name) for name in graph.outputs],
        )
        model.save(str(path))


def load(path: Path, threads: int | None = None) -> Runner:
    """Make a function of images from a file, on macOS.

    Args:
        path: A folder from ``write``.
        threads: Left to the system, which also chooses between CPU, GPU and Neural Engine.
    """
    if sys.platform != "darwin":
        raise UsageError(f"{path}: Core ML runs on macOS only; here it can be written, not run")
    require("coreml", RUNTIME, EXTRA)
    import coremltools

    model = coremltools.models.MLModel(str(path))

    def run(images: Array) -> dict[str, Array]:
        found: dict[str, Array] = model.predict({"images": images})
        return found

    return run
