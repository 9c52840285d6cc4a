"""Exported files in their runtimes, one thread, batch 1, against the plain mode in PyTorch."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dotcom.bench.infer import no_bf16
from dotcom.bench.networks import SIZE, Subject, configs, inference
from dotcom.bench.row import Effort, Row, skipped
from dotcom.bench.watch import Times, Watch, shown
from dotcom.benchmark.host import host
from dotcom.benchmark.statistics import paired_ratio
from dotcom.deploy import formats
from dotcom.deploy.formats import Array, Runner
from dotcom.deploy.formats.openvino import core
from dotcom.deploy.graph import Graph, deployed
from dotcom.models.dotcom import DoTCoMConfig

REFERENCE = "reference"
ONNX, NAIVE = "onnx", "onnx as published"
OPENVINO = {"openvino f32": "f32", "openvino bf16": "bf16"}


def rows(effort: Effort, watch: Watch) -> Iterator[Row]:
    """Every size of the effort at 256 pixels; OpenVINO where there is time for it."""
    runtimes = (ONNX, NAIVE) if effort == "quick" else (ONNX, NAIVE, *OPENVINO)
    yield from measured(configs(effort), SIZE, runtimes, watch)


def measured(sizes: Mapping[str, DoTCoMConfig], pixels: int, runtimes: tuple[str, ...], watch: Watch) -> Iterator[Row]:
    """Every size in the runtimes that are here, in turns."""
    reasons = {name: unusable(name) for name in runtimes}
    usable = [name for name, reason in reasons.items() if not reason]
    for name, config in sizes.items():
        subject = Subject(config, pixels)
        with TemporaryDirectory() as folder:
            files = {
                usable[number]: converted(subject, usable[number], Path(folder))
                for number in shown(range(len(usable)), f"converting {name}")
            }
            yield from turns(name, subject, files, watch)
        for runtime, reason in reasons.items():
            if reason:
                yield skipped("export", f"{name} {runtime}", reason)


def unusable(runtime: str) -> str | None:
    """Why a runtime is left out, in a few words; None if it is not."""
    format_ = runtime.split()[0]
    if gone := formats.missing(format_):
        return f"{' and '.join(gone)} not installed; pip install 'dotcom[{formats.module(format_).EXTRA}]'"
    return no_bf16(host()["instructions"]) if runtime == "openvino bf16" else None


def converted(subject: Subject, runtime: str, folder: Path) -> tuple[Runner, int]:
    """The function of a file, and how many nodes it has."""
    format_ = runtime.split()[0]
    module = formats.module(format_)
    path = folder / f"{'naive' if runtime == NAIVE else format_}{module.SUFFIX}"
    if not path.exists():
        graph = Graph(subject.plain, subject.size) if runtime == NAIVE else deployed(subject.network, subject.size)
        module.write(graph, path)
    if runtime in OPENVINO:
        nodes, run = in_openvino(path, OPENVINO[runtime])
        return run, int(nodes)
    return module.load(path, 1), onnx_nodes(path)


def turns(name: str, subject: Subject, files: Mapping[str, tuple[Runner, int]], watch: Watch) -> Iterator[Row]:
    """The rows of a size."""
    images = subject.images.numpy()
    calls: dict[str, Callable[[], Any]] = {REFERENCE: inference(subject.plain, subject.images)}
    calls |= {runtime: partial(logits, run, images) for runtime, (run, _) in files.items()}
    errors = {form: subject.error(torch.as_tensor(call())) for form, call in calls.items()}
    times = watch.turns(calls, f"{name} exported", plain=(REFERENCE,))
    for form in calls:
        nodes = {"nodes": float(files[form][1])} if form in files else {}
        numbers = nodes | (against_naive(times) if form == ONNX and NAIVE in files else {})
        yield Row(
            "export",
            f"{name} {form}",
            times.ms(form),
            ratio=None if form == REFERENCE else times.ratio(REFERENCE, form),
            difference=errors[form],
            numbers=numbers,
            facts=(*subject.limits(times.ms(form), precision(form)), *(f"{key} {n:.3g}" for key, n in numbers.items())),
        )


def logits(run: Runner, images: Array) -> Array:
    """What a file says of images."""
    return run(images)["logits"]


def against_naive(times: Times) -> dict[str, float]:
    """Time of the network exported as published over that of the deployed form."""
    return {"naive": paired_ratio(times.rounds[NAIVE], times.rounds[ONNX]).median}


def precision(form: str) -> torch.dtype:
    """In which the products of a form are."""
    return torch.bfloat16 if form.endswith("bf16") else torch.float32


def in_openvino(path: Path, precision: str) -> tuple[str, Runner]:
    """Operations after OpenVINO has fused what it can, and its function, one thread, products in ``precision``."""
    settings = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    compiled = core().compile_model(path, "CPU", settings)
    return str(len(compiled.get_runtime_model().get_ops())), lambda images: {"logits": compiled(images)[0].copy()}


def onnx_nodes(path: Path) -> int:
    """Nodes of the file, before the runtime fuses some."""
    import onnx

    return len(onnx.load(str(path)).graph.node)
