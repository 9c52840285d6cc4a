"""What Co-Bias does to the activations of a trained network, in each DoT block.

    python -m experiments.co_bias.activations RUN/best.ckpt

A bias shifts a distribution by definition, so two more things are measured. The *control* adds random biases of the
same mean and standard deviation over channels, hence of the same norm: what the learned one does beyond them was
learned. And all is measured again *normalised*, as the next layer gets it: after the LayerNorm of the first attention
for ``bias_in``; for ``bias_out`` after the fusing 1x1 convolution and its batch norm, with the statistics of the same
images, as in training. (The running mean holds the learned bias; with it one would see the bias missing, not at work.)

Source: DoTCoM README, Fig. 3, which does not say which tensors, network and images it shows.
"""

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.co_bias.distributions import Place, activations, places
from experiments.co_bias.figure import draw, number
from rich import box
from rich.progress import track
from rich.table import Table
from torch import Tensor

from dotcom.checkpoint import config_of
from dotcom.data.checkpoint import data_of
from dotcom.data.module import DataModule
from dotcom.errors import UsageError, one_line_errors, spelled
from dotcom.models import from_checkpoint
from dotcom.plain_pickle import read_plain
from dotcom.record import whole
from dotcom.text import make_console

HEADINGS = ("block", "bias", "norm", "where", "mean", "variance", "skewness", "W1", "W1, random biases")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.co_bias.activations", description=__doc__.splitlines()[0]
    )
    parser.add_argument("checkpoint", type=Path, help="best.ckpt or last.ckpt of a run with Co-Bias")
    parser.add_argument("--images", type=int, default=64, help="how many of the validation split, the first ones")
    parser.add_argument("--out", type=Path, help="folder for activations.csv, .md, .svg and .png; default: the run's")
    parser.add_argument("--root", help="where the data are now, if not where the run found them")
    options = parser.parse_args(arguments)
    if options.images < 1:
        raise UsageError(f"--images {options.images}: expected a number above 0")
    config = checked_config(options.checkpoint)
    if (root := options.root or config["data"]["root"]) and not Path(root).expanduser().is_dir():
        raise UsageError(f"data.root={root}: no such folder; say where the data are now with --root")
    data = data_of(config, num_workers=0, root=root)
    data.val_batch_size = min(data.val_batch_size, options.images)
    network = from_checkpoint(options.checkpoint)
    batches = list(track(images_of(data, options.images), "reading images", transient=True))
    seen = activations(network, track(batches, "running the network", transient=True))
    found = list(track(places(network, seen), "measuring", total=2 * len(seen), transient=True))
    title = f"{config['run_name']}, co_bias={spelled(config['co_bias'])}, {sum(map(len, batches))} validation images"
    folder = options.out or options.checkpoint.parent
    save(folder, found, title)
    make_console().print((folder / "activations.md").read_text(), soft_wrap=True)
    print(f"written to {folder / 'activations'}.csv, .md, .svg, .png")


def checked_config(checkpoint: Path) -> dict[str, Any]:
    """The configuration of a run with Co-Bias."""
    setting, path = "checkpoint", str(checkpoint)
    config = config_of(setting, path, read_plain(setting, path))
    if not config["model"].get("co_bias"):
        what = "co_bias=false" if "co_bias" in config["model"] else "a network of timm"
        raise UsageError(f"{checkpoint}: a run of {what}; expected one of co_bias=true, first or second")
    return config


def images_of(data: DataModule, count: int) -> Iterator[Tensor]:
    """The first images of the validation split, normalised, in batches."""
    data.setup("validate")
    for batch in data.val_dataloader():
        images, _ = data.on_after_batch_transfer(batch, 0)
        yield images[:count]
        count -= len(images)
        if count <= 0:
            return


def save(folder: Path, found: Sequence[Place], title: str) -> None:
    """Write the numbers with all digits, the table and the pictures, each whole."""
    figure = draw(found, title)
    writers: dict[str, Callable[[Path], None]] = {
        "csv": lambda path: write_csv(path, found),
        "md": lambda path: write_markdown(path, found, title),
        "svg": lambda path: figure.savefig(path, format="svg", metadata={"Date": None}),
        "png": lambda path: figure.savefig(path, format="png", dpi=150),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for ending, write in writers.items():
        with whole(folder / f"activations.{ending}") as temporary:
            write(temporary)


def write_csv(path: Path, found: Sequence[Place]) -> None:
    """One row for each distribution."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["block", "bias", "norm", "where", "what", "mean", "variance", "skewness", "wasserstein_1"])
        for place in found:
            for d in place.distributions:
                numbers = (d.mean, d.variance, d.skewness, d.distance)
                writer.writerow([place.block, place.site, place.norm, place.kind, d.name, *numbers])


def write_markdown(path: Path, found: Sequence[Place], title: str) -> None:
    """One row for each place, ``before -> after``; random biases as mean ± standard deviation over draws."""
    table = Table(*HEADINGS, box=box.MARKDOWN)
    for place in found:
        before, after = place.distributions[:2]
        pairs = ((getattr(d, name) for d in (before, after)) for name in ("mean", "variance", "skewness"))
        cells = [f"{old:.3g} -> {new:.3g}" for old, new in pairs]
        random = f"{number(place.controls.mean(), digits=3)} ± {number(place.controls.std(ddof=1), digits=1)}"
        table.add_row(
            place.block, place.site, f"{place.norm:.3g}", place.kind, *cells, number(after.distance, digits=3), random
        )
    with path.open("w") as file:
        file.write(f"{title}\n")
        make_console(file=file, width=200).print(table)


if __name__ == "__main__":
    with one_line_errors():
        main()
