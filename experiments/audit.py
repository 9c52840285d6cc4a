"""Which parameters of the ablation switches matter, and which change nothing whatever their values.

    python -m experiments.audit
    python -m experiments.audit --model dotcom_tiny --switch block=mv2 --out runs/audit

A switch owns the parameters that not all of its arms have. Each is tried alone, in float64, on embedded photos with the
cross-entropy of a classifier with random weights; ``experiments/dead_parameters.py`` says what "no effect" means.
"""

import argparse
import csv
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from experiments.dead_parameters import Finding, audit
from rich import box
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from dotcom.data import fashion, resize_and_crop
from dotcom.errors import UsageError, did_you_mean, one_line_errors, spelled
from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD
from dotcom.models import Classifier, DoTCoM
from dotcom.models.blocks import BlockKind
from dotcom.models.dot import CoBiasKind
from dotcom.models.dotcom import VARIANTS
from dotcom.record import whole
from dotcom.text import make_console

SWITCHES: dict[str, tuple[Any, ...]] = {"co_bias": get_args(CoBiasKind), "block": get_args(BlockKind)}
MODELS = {f"dotcom_{variant}": variant for variant in VARIANTS}
SHOWN = 6  # rows per model and switch; of those without an effect, all
WIDE = 200  # characters, enough for any row
COLUMNS = ("model", "switch", "parameter", "numbers", "gradient", "training", "evaluation", "outdated", "verdict")

Row = tuple[str, str, Finding]  # model, switch=arm, what was found of one parameter


def owned(variant: Any, switch: str, arm: Any) -> list[str]:
    """Parameters of a classifier that it has with ``switch=arm`` and not with every other arm."""
    with torch.device("meta"):
        arms = {each: DoTCoM.from_variant(variant, **{switch: each}) for each in SWITCHES[switch]}
    shapes = {each: {name: p.shape for name, p in network.named_parameters()} for each, network in arms.items()}
    own = [name for name, shape in shapes[arm].items() if any(other.get(name) != shape for other in shapes.values())]
    if not own:
        raise UsageError(f"--switch {switch}={spelled(arm)}: this arm has no parameters of its own")
    return [f"backbone.{name}" for name in own]


def photos(image_size: int, count: int = 4) -> tuple[Tensor, Tensor]:
    """The first photos of the embedded training split, normalised, with their labels."""
    samples = [fashion("train", resize_and_crop(image_size, image_size))[index] for index in range(count)]
    images = torch.stack([image for image, _ in samples]).double() / 255
    return normalize(images, list(IMAGENET_MEAN), list(IMAGENET_STD)), torch.tensor([label for _, label in samples])


def audited(model: str, switch: str, arm: Any, names: Sequence[str], image_size: int) -> Iterator[Row]:
    """One row for each of the named parameters, with random weights of seed 0."""
    torch.manual_seed(0)
    network = Classifier(DoTCoM.from_variant(MODELS[model], **{switch: arm}), num_classes=10)
    images, labels = photos(image_size)
    for finding in audit(network, images, lambda logits: nn.functional.cross_entropy(logits, labels), names):
        yield model, f"{switch}={spelled(arm)}", finding


def chosen(given: str) -> tuple[str, Any]:
    """A switch and its arm from ``switch=arm``."""
    switch, _, word = given.partition("=")
    if switch not in SWITCHES:
        raise UsageError(f"--switch {given}: expected {' | '.join(SWITCHES)}{did_you_mean(switch, SWITCHES)}")
    arms = {spelled(arm): arm for arm in SWITCHES[switch]}
    if word not in arms:
        raise UsageError(f"--switch {given}: expected {switch}={' | '.join(arms)}{did_you_mean(word, arms)}")
    return switch, arms[word]


def shown(rows: Sequence[Row]) -> list[Row]:
    """Of each model and switch everything without an effect, and what comes nearest to it, in the order given."""
    kept = []
    for group in dict.fromkeys(row[:2] for row in rows):
        own = sorted((row for row in rows if row[:2] == group), key=lambda row: row[2].share)
        dead = [row for row in own if row[2].verdict != "has an effect"]
        kept += dead + [row for row in own if row not in dead][: max(0, SHOWN - len(dead))]
    return [row for row in rows if row in kept]


def table(rows: Sequence[Row]) -> Table:
    """Changes and gradients to one digit; ``outdated`` is evaluation with the statistics of the old values."""
    drawn = Table(*COLUMNS, box=box.MARKDOWN, show_edge=True)
    for model, switch, finding in rows:
        changes = (finding.training, finding.evaluation, finding.outdated)
        gradient = "none" if finding.gradient is None else f"{finding.gradient:.0e}"
        cells = (str(finding.numbers), gradient, *(f"{change:.0e}" for change in changes))
        drawn.add_row(model, switch, finding.name.removeprefix("backbone."), *cells, finding.verdict)
    return drawn


def summary(rows: Sequence[Row]) -> list[str]:
    """One line for each model, role of a parameter and verdict, such as ``bias_out: no effect, removable``."""
    roles: dict[tuple[str, ...], list[Finding]] = {}
    for model, switch, finding in rows:
        role = next(part for part in reversed(finding.name.split(".")[:-1]) if not part.isdigit())
        roles.setdefault((model, switch, role, finding.verdict), []).append(finding)
    return [
        f"{model} {switch}, {role}: {verdict} ({len(found)} parameters, {sum(f.numbers for f in found)} numbers)"
        for (model, switch, role, verdict), found in roles.items()
    ]


def save(folder: Path, rows: Sequence[Row]) -> None:
    """Write audit.csv, with all rows and digits, and audit.md."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole(folder / "audit.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS[:5], "share", *COLUMNS[5:]])
        for model, switch, found in rows:
            changes = (found.training, found.evaluation, found.outdated)
            writer.writerow(
                [model, switch, found.name, found.numbers, found.gradient, found.share, *changes, found.verdict]
            )
    with whole(folder / "audit.md") as temporary, temporary.open("w") as file:
        console = make_console(file=file, width=WIDE)
        console.print(table(shown(rows)))
        console.print(*(f"- {line}" for line in summary(rows)), sep="\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and the summary."""
    parser = argparse.ArgumentParser(prog="python -m experiments.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=list(MODELS), help="default: all four sizes")
    parser.add_argument("--switch", nargs="+", default=["co_bias=true"], help="the arm whose parameters are tried")
    parser.add_argument("--image-size", type=int, default=64, help="a multiple of 32")
    parser.add_argument("--out", type=Path, help="folder for audit.csv and audit.md")
    options = parser.parse_args(arguments)
    for model in options.model:
        if model not in MODELS:
            raise UsageError(f"--model {model}: expected {' | '.join(MODELS)}{did_you_mean(model, MODELS)}")
    arms = [chosen(given) for given in options.switch]
    jobs = [(model, *arm, owned(MODELS[model], *arm)) for model in options.model for arm in arms]
    found = itertools.chain.from_iterable(audited(*job, options.image_size) for job in jobs)
    rows = list(track(found, "auditing", total=sum(len(job[-1]) for job in jobs), transient=True))
    console = make_console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table(shown(rows)), *summary(rows), sep="\n")
    if options.out:
        save(options.out, rows)
        print(f"written to {options.out}")


if __name__ == "__main__":
    with one_line_errors():
        main()
