"""One file for one runtime: written, run on real images, described, and put in its place only if it is right."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from torch import nn

from dotcom.deploy import card, formats, suppression
from dotcom.deploy.agreement import Judge, judge_of
from dotcom.deploy.formats import Runner
from dotcom.deploy.graph import Graph, deployed
from dotcom.deploy.samples import Sample, samples, sized
from dotcom.deploy.verify import TOLERANCES, Fidelity, compare, scored
from dotcom.errors import UsageError
from dotcom.inference.saved_run import SavedRun
from dotcom.models import Detector, from_checkpoint
from dotcom.models.cost import macs, parameters
from dotcom.record import hash_of, write_json

CALIBRATION = 64  # images, of which the ranges of activations are taken

SUPPRESSION = {"onnx": suppression.append_to_onnx, "openvino": suppression.append_to_openvino}


class RejectedError(Exception):
    """A file was written, and is not what it should be; it is gone. One line for each reason."""


@dataclass(frozen=True)
class Written:
    """A file in its place.

    Attributes:
        path: The file, or the first of a pair.
        fidelity: None if this machine cannot run such files.
        why: Then the reason.
    """

    path: Path
    fidelity: Fidelity | None
    why: str | None


class Source:
    """A checkpoint, opened once for all formats.

    Args:
        run: The checkpoint.
        data: ``data`` of a configuration, where the images to check files on come from.
        image_size: N.
        images: How many to check on, at most.
        int8: Draw others for calibration, too.

    Raises:
        UsageError: If the weights cannot be loaded, or the network takes other sizes only.
    """

    def __init__(self, run: SavedRun, data: Mapping[str, Any], image_size: int, images: int, int8: bool) -> None:
        self.run, self.data, self.image_size, self.images, self.int8 = run, data, image_size, images, int8
        self.network: nn.Module = from_checkpoint(run.path)
        fixed = getattr(self.network.backbone, "fixed_size", None)
        if fixed and tuple(fixed) != (image_size, image_size):
            raise UsageError(f"--size={image_size}: this network is made for {fixed[0]} pixels alone")
        self.judge: Judge = judge_of(self.network)

    def graph(self, runtime: str) -> Graph:
        """The network in the form that a runtime likes."""
        return deployed(self.network, self.image_size, runtime)

    @cached_property
    def drawn(self) -> tuple[list[Sample], list[Sample]]:
        """Images to check on and, for int8, others to calibrate on: ``CALIBRATION``, or half of all if that is less."""
        found = samples(
            self.data, self.run.task, self.image_size, self.images + CALIBRATION * self.int8, self.run.classes
        )
        others = min(CALIBRATION, len(found) // 2) if self.int8 else 0
        count = min(self.images, len(found) - others)
        return found[:count], found[count:]

    @property
    def checked_on(self) -> list[Sample]:
        """Images to check on."""
        return self.drawn[0]

    @property
    def calibration(self) -> list[formats.Array]:
        """Images that nothing is checked on."""
        return [sample.image for sample in self.drawn[1]]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the cards of all formats say."""
        return {
            "checkpoint": {"name": self.run.path.name, "sha256": hash_of(self.run.path)},
            "run": self.run.config.get("run_name"),
            "task": self.run.task,
            "classes": self.run.classes,
            "preprocessing": card.preprocessing(sized(self.data, self.image_size), self.run.task, self.image_size),
            "parameters": parameters(self.network),
            "macs": macs(self.network, self.image_size),
        }


def export(name: str, source: Source, folder: Path) -> Written:
    """Write one format into a folder, with its card.

    Raises:
        RejectedError: If the file does not agree with the network; then there is neither file nor card.
        UsageError: If int8 is out of reach.
    """
    module = formats.module(name)
    with unseen(folder, f"{stem(source)}{module.SUFFIX}") as path:
        quantised = write(name, source, path)
        precision = "int8" if source.int8 else "float16" if name == "coreml" else "float32"
        why = formats.unrunnable(name)
        run = None if why else module.load(path)
        fidelity = run and checked(source, run, precision)
        outputs = example(source, run)
        del run  # before the file moves
        made = sorted(path.parent.iterdir(), key=lambda file: file.suffix == ".xml")  # the graph after its weights
        content = {"format": name, "precision": precision, **source.facts}
        content |= card.tensors(outputs, source.image_size, source.run.task)
        raw = not card.returns_detections(outputs)
        content |= {"postprocessing": card.postprocessing(source.run.task, raw)}
        content |= {"int8": quantised, "fidelity": fidelity and asdict(fidelity), "not_run": why}
        content |= {"tolerance": TOLERANCES[precision].as_json() if fidelity else None} | card.origin(name, made)
        (folder / f"{path.name}.json").unlink(missing_ok=True)  # a kill leaves no card beside another file
        for file in made:
            move(file, folder / file.name)
    write_json(folder / f"{path.name}.json", content)
    return Written(folder / path.name, fidelity, why)


@contextmanager
def unseen(folder: Path, name: str) -> Iterator[Path]:
    """Where to write a file of this name until it is checked; what a kill has left there is swept away."""
    temporary = folder / f".{name}.tmp"
    rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary / name
    finally:
        rmtree(temporary, ignore_errors=True)


def write(name: str, source: Source, path: Path) -> dict[str, Any] | None:
    """Write a file that has not been checked; returns what int8 has to say of itself."""
    if name == "timm":
        formats.module(name).write(source.network, source.run, source.facts["preprocessing"], path)
        return None
    graph, quantised = source.graph(name), None
    if source.int8:
        from dotcom.deploy import int8 as quantisation

        judge = partial(scored, source.judge, samples=source.checked_on)
        floor = quantisation.lowest(judge(source.judge.published))
        quantised = quantisation.write(name, graph, path, source.calibration, judge, floor)
        quantised |= {"images": {"calibrated": len(source.calibration), "judged": len(source.checked_on)}}
    else:
        formats.module(name).write(graph, path)
    if isinstance(source.network, Detector) and name in SUPPRESSION:
        SUPPRESSION[name](path)
    return quantised


def checked(source: Source, run: Runner, precision: str) -> Fidelity:
    """The file on real images, or RejectedError."""
    limits = TOLERANCES[precision]
    fidelity = compare(source.judge, run, source.checked_on, limits.least)
    if failures := fidelity.failures(limits):
        raise RejectedError("\n".join(failures))
    return fidelity


def example(source: Source, run: Runner | None) -> dict[str, Any]:
    """The outputs for an empty image, of the file, or of the graph if the file cannot be run here."""
    if run is not None:
        return run(np.zeros((1, 3, source.image_size, source.image_size), np.float32))
    graph = source.graph("torch")
    with torch.no_grad():
        return dict(zip(graph.outputs, (output.numpy() for output in graph(graph.example)), strict=True))


def stem(source: Source) -> str:
    """The name of a file without its suffix: run, size, precision."""
    name = re.sub(r"[^\w.-]+", "_", str(source.run.config.get("run_name") or source.run.path.stem))
    return f"{name}-{source.image_size}{'-int8' if source.int8 else ''}"


def move(source: Path, target: Path) -> None:
    """Put a file or a folder where an older one may be."""
    if target.is_dir():
        rmtree(target)
    source.replace(target)
