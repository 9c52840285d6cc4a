"""PyTorch's own: the traced graph as ``.pt2``, for ``torch.export.load``; what the other exporters start from, too."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dotcom.deploy.formats import Array, Runner, named

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from dotcom.deploy.graph import Graph

SUFFIX = ".pt2"
EXTRA = None
MODULES = ()
RUNTIME = ()


def exported(graph: "Graph") -> "ExportedProgram":
    """Trace a graph at its one size."""
    import torch

    return torch.export.export(graph, (graph.example,), strict=False)


def write(graph: "Graph", path: Path) -> None:
    """Write the traced graph, float32."""
    import torch

    program = exported(graph)
    with path.open("wb") as file, warnings.catch_warnings():  # by a name, it would insist on its suffix
        warnings.filterwarnings("ignore", "No complete tensor found")  # of weights that are parts of one tensor
        torch.export.save(program, file)


def load(path: Path, threads: int | None = None) -> Runner:
    """Make a function of images from a file.

    Note: a .pt2 file is a zip of JSON and tensors, but the reader evaluates strings of it (guards and symbols) as
        Python. Load files that you have written, as with any program.

    Args:
        path: A file from ``write``.
        threads: Of this process from now on; default: as it is.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    network = torch.export.load(path).module()

    @torch.inference_mode()
    def run(images: Array) -> dict[str, Array]:
        return named([output.numpy() for output in network(torch.from_numpy(images))])

    return run
