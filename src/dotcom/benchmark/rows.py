"""From what was asked for to files that can be measured, each with its card."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from dotcom.benchmark.host import packages
from dotcom.benchmark.targets import Target, card_of, card_path
from dotcom.deploy import formats
from dotcom.errors import flat
from dotcom.record import commit, write_json

SIZE = 256  # pixels: of models, and of files whose card says nothing


@dataclass(frozen=True)
class Row:
    """A file to measure.

    Args:
        name: On the table.
        runtime: That runs it.
        path: Of the file.
        image_size: In pixels.
        card: What is known about it: parameters, MACs, versions; empty for files of others.
        own: Whether we have written it, and its card may be added to.
    """

    name: str
    runtime: str
    path: Path
    image_size: int
    card: dict[str, Any]
    own: bool

    @property
    def label(self) -> str:
        """Its name within one number of threads."""
        return f"{self.name} {self.runtime}"

    @property
    def bytes(self) -> int:
        """Of the file, with the weights of OpenVINO's beside it, or of the folder."""
        return formats.size(self.path)


def rows(
    targets: Sequence[Target], runtimes: Sequence[str], image_size: int | None, folder: Path, reuse: bool = False
) -> tuple[list[Row], dict[str, str]]:
    """Every file as it is, and every network written for every runtime.

    Args:
        targets: What to measure.
        runtimes: That can write here.
        image_size: In pixels; None: 256, or that of a checkpoint's run or of a file's card.
        folder: Where to write; made if there is none.
        reuse: Take a file that the same versions of the packages have written there before.

    Returns:
        The rows, and what could not be written with the reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    failed: dict[str, str] = {}
    for target in track(targets, "exporting", transient=True, disable=not sys.stderr.isatty()):
        if target.kind == "file":
            found.append(of_file(target, image_size))
        else:
            size = image_size or target.image_size or SIZE
            for row, runtime in written(target, runtimes, size, folder, reuse, failed):
                found.append(Row(target.name, runtime, row, card_of(row)["image_size"], card_of(row), own=True))
    return found, failed


def of_file(target: Target, image_size: int | None) -> Row:
    """The row of a file of the user."""
    path = Path(target.source)
    size = image_size or target.image_size or SIZE
    return Row(target.name, formats.of_file(path), path, size, card_of(path), own=False)


def written(
    target: Target, runtimes: Sequence[str], size: int, folder: Path, reuse: bool, failed: dict[str, str]
) -> Iterator[tuple[Path, str]]:
    """The files of one network; what fails is noted, and the rest goes on."""
    network = None
    for runtime in runtimes:
        suffix = formats.module(runtime).SUFFIX
        path = folder / f"{target.name.replace('/', '-')}-{size}{suffix}"
        used = packages({runtime})
        if reuse and path.exists() and card_of(path).get("versions") == used:
            yield path, runtime
            continue
        from dotcom.benchmark.networks import built
        from dotcom.deploy.graph import deployed

        try:
            network = network or built(target, size)
            graph = deployed(network.network, network.image_size, runtime)
            path = folder / f"{target.name.replace('/', '-')}-{network.image_size}{suffix}"
            formats.module(runtime).write(graph, path)
        except Exception as error:  # a converter may raise anything about a network; the others go on
            failed[f"{target.name} {runtime}"] = flat(f"{type(error).__name__}: {error}")[:300]
            continue
        facts = {key: getattr(network, key) for key in ("image_size", "own_size", "deployed_parameters", "macs")}
        facts |= {"parameters": network.parameters, "versions": used, "commit": commit()}
        write_json(card_path(path), {"name": target.name, "runtime": runtime, **facts})
        yield path, runtime
