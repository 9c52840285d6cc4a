"""ExecuTorch: PyTorch's runtime for phones, with the XNNPACK kernels for ARM and x86 CPUs."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dotcom.deploy.formats import Array, Runner, named, quiet, require

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from dotcom.deploy.graph import Graph

SUFFIX = ".pte"
EXTRA = "executorch"
MODULES = ("executorch",)
RUNTIME = ("executorch",)


def write(graph: "Graph", path: Path) -> None:
    """Write a graph, float32, with as much of it as XNNPACK takes handed to XNNPACK."""
    require("executorch", MODULES, EXTRA)
    from dotcom.deploy.formats.torch import exported

    path.write_bytes(lowered(exported(graph)))


def lowered(program: "ExportedProgram") -> bytes:
    """Compile a traced graph, float32 or quantised, to the content of a ``.pte`` file."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        content: bytes = edge.to_executorch().buffer
    return content


def load(path: Path, threads: int | None = None) -> Runner:
    """Make a function of images from a file.

    Args:
        path: A file from ``write``.
        threads: Of every ExecuTorch program of this process from now on; default: as it is, at first one per core.
    """
    require("executorch", RUNTIME, EXTRA)
    import torch

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
        from executorch.runtime import Runtime

        if threads:
            _unsafe_reset_threadpool(threads)
        method = Runtime.get().load_program(path).load_method("forward")

    def run(images: Array) -> dict[str, Array]:
        # in C order, for the runtime takes the memory as it lies; copies, for the next image goes to the same place
        outputs = method.execute([torch.from_numpy(images).contiguous()])
        return named([output.numpy().copy() for output in outputs])

    return run
