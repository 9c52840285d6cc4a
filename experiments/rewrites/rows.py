"""Files of each form for each runtime, and functions that run them on one thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from experiments.rewrites.forms import DEPLOYED, FORMS, PUBLISHED
from torch import nn

from dotcom.bench.export import in_openvino, onnx_nodes
from dotcom.deploy import formats
from dotcom.deploy.formats import Runner
from dotcom.deploy.int8.draft import runner

EAGER = "torch eager"
BF16 = "openvino bf16"
RUNTIMES = {  # the format that each runs, and what of the ladder makes sense for it
    "onnx": ("onnx", tuple(FORMS)),
    "executorch": ("executorch", tuple(FORMS)),
    "openvino": ("openvino", tuple(FORMS)),
    BF16: ("openvino", (PUBLISHED, DEPLOYED)),
    "litert": ("litert", tuple(FORMS)),
    "torch": ("torch", tuple(FORMS)),
    EAGER: ("torch", tuple(FORMS)),
}
SOME = (PUBLISHED, DEPLOYED)  # of a size for which the whole ladder would take too long


@dataclass(frozen=True)
class Row:
    """One form in one runtime.

    Args:
        variant: Size of the network.
        runtime: A key of ``RUNTIMES``.
        form: A key of ``FORMS``.
        nodes: What the runtime has to call, in its own terms.
        run: Images to outputs.
    """

    variant: str
    runtime: str
    form: str
    nodes: str
    run: Runner


def skipped(runtime: str) -> str | None:
    """Why a runtime is left out, in a few words; None if it is not."""
    name = RUNTIMES[runtime][0]
    if gone := formats.missing(name):
        return f"{' and '.join(gone)} not installed; pip install 'dotcom[{formats.module(name).EXTRA}]'"
    if runtime == BF16:
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "this CPU has no bf16 instructions"
    return formats.unrunnable(name)


def row(network: nn.Module, variant: str, runtime: str, form: str, size: int, folder: Path) -> Row:
    """Convert, unless the file is there, and load."""
    name = RUNTIMES[runtime][0]
    graph = FORMS[form](network, size, name)
    if runtime == EAGER:
        return Row(variant, runtime, form, "as torch", runner(graph, graph.outputs))
    module = formats.module(name)
    place = "".join(letter if letter.isalnum() else "-" for letter in form)
    path = folder / f"{variant}-{size}-{name}-{place}{module.SUFFIX}"
    if not path.exists():
        module.write(graph, path)
    if runtime == BF16:
        return Row(variant, runtime, form, *in_openvino(path, "bf16"))
    return Row(variant, runtime, form, NODES[name](path), module.load(path, 1))


def executorch_calls(path: Path) -> str:
    """Delegates, and kernels called one by one between them."""
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.exir.schema import DelegateCall, KernelCall

    read: Any = deserialize_pte_binary(path.read_bytes())
    chains = getattr(read, "program", read).execution_plan[0].chains
    called = [instruction.instr_args for chain in chains for instruction in chain.instructions]
    counts = [sum(isinstance(call, kind) for call in called) for kind in (DelegateCall, KernelCall)]
    return f"{counts[0]} delegates, {counts[1]} kernels"


def litert_nodes(path: Path) -> str:
    """Operations of the file."""
    from ai_edge_litert.interpreter import Interpreter

    return str(len(Interpreter(str(path))._get_ops_details()))


def torch_nodes(path: Path) -> str:
    """Calls in the traced graph."""
    return str(sum(node.op == "call_function" for node in torch.export.load(path).graph.nodes))


NODES: dict[str, Callable[[Path], str]] = {
    "onnx": lambda path: str(onnx_nodes(path)),
    "executorch": executorch_calls,
    "openvino": lambda path: in_openvino(path, "f32")[0],
    "litert": litert_nodes,
    "torch": torch_nodes,
}


def forms(variant: str, runtime: str, whole: Sequence[str]) -> tuple[str, ...]:
    """What of the ladder is measured."""
    return RUNTIMES[runtime][1] if variant in whole else SOME
