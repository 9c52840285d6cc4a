"""Post-training int8: a file about a quarter as large, as accurate as asked for, or no file.

Weights get one scale per output channel, activations one per tensor, from calibration images. If that costs more
accuracy than allowed, layers stay float32: those first that do the most damage when they alone are quantised
(``ranking``), and as few as suffice (``search``). The score that counts is that of the file.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dotcom.deploy import formats
from dotcom.deploy.formats import Array, Runner
from dotcom.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from dotcom.deploy.graph import Graph

LOST = 0.01  # of the score, at most
METHODS: dict[str, tuple[str, ...]] = {  # what each takes to be written, beyond what its format does
    "onnx": (),
    "executorch": ("torchao",),
    "openvino": ("nncf",),
    "litert": ("ai_edge_quantizer",),
    "coreml": (),
}


def write(
    name: str,
    graph: "Graph",
    path: Path,
    calibration: Sequence[Array],
    judge: Callable[[Runner], float],
    floor: float,
) -> dict[str, Any]:
    """Write an int8 file of a graph whose score reaches ``floor``.

    Args:
        name: Of the format, one of ``METHODS``.
        graph: In float32.
        path: With the suffix of the format.
        calibration: Images, float32 (1, 3, N, N), normalised, for the ranges of activations; some tens of them, and
            none that ``judge`` looks at.
        judge: Gives the score of a network, more being better: accuracy, or agreement with the float one.
        floor: The lowest score that is good enough.

    Returns:
        For the card: ``float_layers`` (names of the layers left in float32), ``quantised`` (number of those in int8),
        ``score``, ``float_score``, ``sqnr_db`` (of the outputs, on the calibration images; the lowest of them) and
        ``judged`` (``"file"``, or ``"simulation"`` where this machine cannot run such files).

    Raises:
        UsageError: If the format has no int8 here, or the floor is out of reach; then there is no file.
    """
    require(name)
    if not calibration:
        raise UsageError(f"{path.name}: int8 needs images to calibrate on, and there are none")
    from dotcom.deploy.int8.draft import runner
    from dotcom.deploy.int8.layers import layers_of, traced
    from dotcom.deploy.int8.ranking import Rehearsal
    from dotcom.deploy.int8.search import Search, fidelity, moved

    reference = runner(graph, graph.outputs)
    float_score = judge(reference)
    if float_score < floor:
        raise UsageError(f"{path.name}: the float32 network itself scores {float_score:.4f}, below {floor:.4f}")
    module = traced(graph)
    layers = layers_of(module)
    quantiser = import_module(f"dotcom.deploy.int8.{name}").Quantiser(
        graph, {layer.key for layer in layers}, calibration
    )
    search = Search(quantiser, Rehearsal(module, layers, calibration), judge)
    load = None if formats.unrunnable(name) else formats.module(name).load
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        count, score, run = search.write(Path(folder) / path.name, load, floor)
        decibels = fidelity(reference, run, calibration)
        moved(Path(folder), path)
    return {
        "float_layers": [layer.name for layer in search.kept(count)],
        "quantised": len(layers) - count,
        "score": score,
        "score_all_int8": search.scores[0],
        "float_score": float_score,
        "sqnr_db": decibels,
        "judged": "file" if load else "simulation",
    }


def lowest(score: float) -> float:
    """The floor for a network that scores ``score``: ``LOST`` below it, but never more than a tenth of the score.

    A point of top-1 is little; of a detector's mAP of 0.05 it would be a fifth, and of 0.01 all.
    """
    return score - min(LOST, score / 10)


def needed(name: str) -> tuple[str, ...]:
    """The modules that int8 of a format takes."""
    return (*formats.module(name).MODULES, *METHODS[name])


def require(name: str) -> None:
    """Raise UsageError, naming what to install, unless int8 files of a format can be written here; cheap."""
    if name not in METHODS:
        raise UsageError(f"--int8: not for {name}; expected one of {', '.join(METHODS)}{did_you_mean(name, METHODS)}")
    formats.require(f"int8 for {name}", needed(name), formats.module(name).EXTRA)
